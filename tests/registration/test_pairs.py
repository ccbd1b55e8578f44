import os
from pathlib import Path

import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import registration
from hyperlab.errors import DataError
from hyperlab.nn.spatial_transformer import folding, warp, warp_labels
from hyperlab.registration import load, synthetic
from hyperlab.registration.datasets import downsampled, fit_to
from hyperlab.registration.pairs import build, subject_pairs


def given_settings(**changes):
    data = registration.get_config().data
    with data.ignore_type():
        data.update(ml_collections.ConfigDict(changes))
    return data


# -- pairs --------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(count=st.integers(2, 7), slots=st.integers(1, 3), partners=st.integers(0, 9))
def test_pairs_are_of_different_subjects_in_the_same_slot(count, slots, partners):
    subjects, places = np.repeat(np.arange(count), slots), np.tile(np.arange(slots), count)
    pairs = subject_pairs(subjects, places, partners)
    assert (subjects[pairs[:, 0]] != subjects[pairs[:, 1]]).all()
    assert (places[pairs[:, 0]] == places[pairs[:, 1]]).all()
    assert len({tuple(pair) for pair in pairs.tolist()}) == len(pairs)
    each = count - 1 if partners == 0 else min(partners, count - 1)
    for column in (0, 1):  # every image moves and is fixed equally often
        assert (np.bincount(pairs[:, column], minlength=len(subjects)) == each).all()


def test_a_subject_in_two_parts_and_a_part_without_pairs_are_refused():
    images, labels, subjects = np.zeros((4, 4, 4, 1), np.float32), np.zeros((4, 4, 4), np.int32), np.arange(4)
    shared = {"train": np.array([0, 1]), "validation": np.array([1, 2]), "test": np.array([2, 3])}
    options = (images, labels, subjects, np.zeros(4, int))
    with pytest.raises(DataError, match=r"subjects \[1\] are in train and in validation"):
        build("x", *options, shared, ("a",), given_settings(task="subjects"))
    alone = {"train": np.array([0, 1]), "validation": np.array([2]), "test": np.array([3])}
    with pytest.raises(DataError, match="no pairs in the validation part"):
        build("x", *options, alone, ("a",), given_settings(task="subjects"))


# -- known warps --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(24, 20), (12, 14, 10)])
def test_a_known_warp_takes_the_moving_image_to_the_fixed_one(shape):
    images, labels = synthetic.shapes(3, shape, noise=0.02, seed=1)
    options = {"amplitude": 1.5, "smoothness": 4.0, "seed": 2}
    fixed, fixed_labels, fields = synthetic.known_warps(images, labels, noise=0.0, **options)
    np.testing.assert_allclose(fixed, warp(jnp.asarray(images), fields), atol=1e-6)
    moved = warp_labels(jnp.asarray(labels), jnp.asarray(fields), method="linear", classes=4)
    np.testing.assert_array_equal(fixed_labels, moved)
    assert float(folding(jnp.asarray(fields)).max()) == 0
    noisy, _, again = synthetic.known_warps(images, labels, noise=0.1, **options)
    np.testing.assert_array_equal(fields, again)
    assert 0.05 < (noisy - fixed)[fixed > 0.3].std() < 0.12
    other = synthetic.known_warps(images, labels, noise=0.0, stream=1, **options)[2]
    assert np.abs(other - fields).max() > 0.5


def test_velocities_have_the_given_amplitude_and_depend_on_their_number_alone():
    options = {"amplitude": 2.0, "smoothness": 3.0, "seed": 0, "stream": 0}
    fields = synthetic.velocities(3, (16, 18), **options)
    np.testing.assert_allclose(np.sqrt((fields**2).sum(-1).mean((1, 2))), 2.0, rtol=1e-5)
    np.testing.assert_array_equal(fields[:2], synthetic.velocities(2, (16, 18), **options))


def test_shapes_are_nested_and_deterministic():
    images, labels = synthetic.shapes(4, (32, 32), noise=0.03, seed=0)
    assert images.dtype == np.float32 and images.min() >= 0 and images.max() <= 1
    assert sorted(np.unique(labels)) == [0, 1, 2, 3]
    sizes = [(labels == value).mean((1, 2)) for value in (1, 2, 3)]
    assert all((size > 0.01).all() for size in sizes)
    means = [images[..., 0][labels == value].mean() for value in range(4)]
    assert means == sorted(means)
    np.testing.assert_array_equal(images[:2], synthetic.shapes(2, (32, 32), noise=0.03, seed=0)[0])


def test_the_default_set_leaves_room_for_registration():
    """The dial of difficulty: without registration the shapes overlap neither well nor badly."""
    study = load(given_settings(subjects=24))
    part, scores = study.test, []
    for moving, fixed in part.pairs:
        for value in (1, 2, 3):
            a, b = part.labels[moving] == value, part.labels[fixed] == value
            scores.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    assert 0.6 < np.mean(scores) < 0.85
    assert part.fields.shape == (len(part), 48, 48, 2) and len(study.train) == 2 * 24
    subjects = [set(part.subjects.tolist()) for part in study.parts().values()]
    assert not (subjects[0] & subjects[1] or subjects[0] & subjects[2] or subjects[1] & subjects[2])


# -- files --------------------------------------------------------------------------------------------------------


def test_blocks_become_their_mean_and_their_commonest_label():
    images = np.array([[[0.0, 1.0, 5.0], [1.0, 2.0, 5.0]]], np.float32)
    labels = np.array([[[2, 1, 0], [2, 0, 0]]])
    mean, common = downsampled(images, labels, 2, 3)
    assert mean.tolist() == [[[1.0]]] and common.tolist() == [[[2]]]
    assert downsampled(images, np.array([[[2, 1, 0], [1, 2, 0]]]), 2, 3)[1].item() == 1


def test_cutting_and_padding_keep_the_centre():
    image = np.arange(30).reshape(1, 5, 6)
    np.testing.assert_array_equal(fit_to(fit_to(image, (9, 8)), (5, 6)), image)
    np.testing.assert_array_equal(fit_to(image, (3, 4)), image[:, 1:4, 1:5])
    with pytest.raises(DataError, match="expected 2 numbers"):
        fit_to(image, (3, 4, 5))


def write_brain(folder, subjects=60):
    rng = np.random.default_rng(0)
    shape = (subjects, 4, 12, 10)
    np.savez(
        folder / "slices.npz", image=rng.integers(0, 255, shape, np.uint8), label=rng.integers(0, 5, shape, np.uint8)
    )


@pytest.mark.parametrize("task", ["subjects", "warps"])
def test_brain_slices_are_split_by_subject_and_paired_by_slice(task, tmp_path):
    write_brain(tmp_path)
    study = load(
        given_settings(name="brain_t1_ptbp", root=str(tmp_path), task=task, size=(8, 6), subjects=0, amplitude=1.0)
    )
    for part, (first, last) in {"train": (1, 40), "validation": (41, 50), "test": (51, 60)}.items():
        assert sorted(set(study.parts()[part].subjects.tolist())) == list(range(first, last + 1))
    assert study.shape == (8, 6, 1) and len(study.classes) == 5
    expected = {"subjects": (40 * 39 * 4, 40, 40), "warps": (2 * 160, 40, 40)}[task]
    assert tuple(len(part) for part in study.parts().values()) == expected
    assert (study.test.fields is None) == (task == "subjects")
    fewer = given_settings(name="brain_t1_ptbp", root=str(tmp_path), task=task, size=(8, 6), subjects=12, amplitude=1.0)
    assert set(load(fewer).test.subjects.tolist()) == {51, 52}


def test_hippocampus_volumes_are_split_by_scan_and_paired_on_the_same_side(tmp_path):
    nibabel = pytest.importorskip("nibabel", reason="needs the extra medical")
    rng = np.random.default_rng(0)
    for number in range(1, 25):
        for kind, top in (("images", 200), ("labels", 3)):
            (tmp_path / kind).mkdir(exist_ok=True)
            volume = rng.integers(0, top, (7, 9, 8)).astype(np.uint8)
            nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / kind / f"hippocampus_{number:03d}.nii.gz")
    data = given_settings(name="msd_hippocampus", root=str(tmp_path), task="subjects", size=(8, 8, 8), subjects=0)
    study = load(data)
    scans = [set(part.subjects.tolist()) for part in study.parts().values()]
    assert set.union(*scans) == set(range(1, 13)) and sum(map(len, scans)) == 12
    assert study.shape == (8, 8, 8, 1)
    # Both volumes of a scan are there, and an odd one is never paired with an even one: 2 sides, ordered pairs.
    assert len(study.train) == 2 * len(scans[0]) * (len(scans[0]) - 1)
    (tmp_path / "labels" / "hippocampus_003.nii.gz").unlink()
    with pytest.raises(DataError, match=r"labels/hippocampus_003.nii.gz does not exist"):
        load(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "brain"}, "valid: 'brain_t1_ptbp'|did you mean 'brain_t1_ptbp'"),
        ({"task": "warp"}, "did you mean 'warps'"),
        ({"task": "subjects"}, "'warps'"),
        ({"name": "brain_t1_ptbp"}, "--config.data.root=DIR"),
        ({"name": "brain_t1_ptbp", "root": "nowhere"}, "nowhere/slices.npz does not exist"),
        ({"name": "msd_hippocampus", "root": "nowhere"}, "nowhere/images holds no hippocampus"),
    ],
)
def test_data_that_cannot_be_read_are_refused(changes, message):
    with pytest.raises(DataError, match=message):
        load(given_settings(**changes))


def test_a_file_of_another_form_is_named(tmp_path):
    write_brain(tmp_path, subjects=3)
    data = given_settings(name="brain_t1_ptbp", root=str(tmp_path), task="subjects", size=(8, 6))
    with pytest.raises(DataError, match="3 subjects"):
        load(data)
    np.savez(tmp_path / "slices.npz", image=np.zeros((60, 4, 8, 8), np.uint8))
    with pytest.raises(DataError, match=r"no array \['label'\]"):
        load(data)
    np.savez(
        tmp_path / "slices.npz", image=np.zeros((60, 4, 8, 8), np.uint8), label=np.full((60, 4, 8, 8), 7, np.uint8)
    )
    with pytest.raises(DataError, match="expected 0 to 4"):
        load(data)


@pytest.mark.parametrize(("name", "size", "identity"), [("brain_t1_ptbp", (108, 91), (0.64, 0.74))])
def test_the_real_pairs_overlap_as_published(name, size, identity):
    root = Path(os.environ.get("HYPERLAB_DATA", "no-data")) / name
    if not root.is_dir():
        pytest.skip(f"no {name} in the folder that HYPERLAB_DATA names")
    study = load(given_settings(name=name, root=str(root), task="subjects", size=size, downsample=2, subjects=0))
    part, scores = study.test, []
    for moving, fixed in part.pairs:
        pair = []
        for value in range(1, len(study.classes)):
            a, b = part.labels[moving] == value, part.labels[fixed] == value
            pair.append(2 * (a & b).sum() / (a.sum() + b.sum()) if (a | b).any() else np.nan)
        scores.append(np.nanmean(pair))
    assert identity[0] < np.mean(scores) < identity[1]


def test_names_of_before_are_known_with_a_warning():
    from hyperlab import registration

    for old, new in (("Study", registration.PairDataset), ("Part", registration.PairSplit)):
        with pytest.warns(FutureWarning, match=f"registration.{old} is hyperlab.registration.{new.__name__} now"):
            assert getattr(registration, old) is new
    with pytest.raises(AttributeError):
        _ = registration.Studies


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b[:-30] + bytes(30), lambda b: b"PK\x03\x04"])
def test_damaged_brain_slices_are_named_and_no_file_stays_open(damage, tmp_path):
    write_brain(tmp_path)
    path = tmp_path / "slices.npz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="slices.npz is truncated or damaged"):
        load(given_settings(name="brain_t1_ptbp", root=str(tmp_path), task="subjects", size=(8, 6)))
    assert not [link for link in Path("/proc/self/fd").iterdir() if link.exists() and link.resolve() == path]
