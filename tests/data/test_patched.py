"""A prepared set as a study sees it: patches by their numbers, whole cases one at a time, and the way back to scans."""

import numpy as np
import pytest
from segmentation_files import blob, nifti, write_json

from hyperlab.data import patched
from hyperlab.data.prepared import Channel, Preprocessing, Windowed, forward, open_store, prepare
from hyperlab.data.readers.scan import Scan, read_scan
from hyperlab.errors import ConfigError, DataError
from hyperlab.inference.tiles import tiled, tiled_rows

pytestmark = pytest.mark.fast
SHAPE = (14, 10, 12)


def volumes(root, cases=8):
    """An nnU-Net folder of volumes whose voxels are longest along axis 1, some of them of another spacing."""
    for case in range(cases):
        image, mask = blob(case, SHAPE)
        image = np.pad(image.astype(np.float32) + 1, 2)  # what is empty is cut off
        affine = np.diag([1.0, 3.0, 1.0 if case % 4 else 1.25, 1.0])
        nifti(root / "imagesTr" / f"c{case}_0000.nii.gz", image, affine)
        nifti(root / "labelsTr" / f"c{case}.nii.gz", np.pad(mask, 2), affine)
    labels = {"background": 0, "left": 1, "right": 2}
    write_json(root / "dataset.json", {"channel_names": {"0": "T1"}, "labels": labels, "numTraining": cases,
                                       "file_ending": ".nii.gz"})  # fmt: skip
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patched")
    prepare(volumes(folder / "set"), folder / "store")
    return folder / "store"


def test_patches_are_read_by_their_numbers_and_a_process_may_read_its_own(root):
    data = patched.load(root, (6, 5, 4))
    assert data.image_shape == (6, 5, 4, 1) and data.limits is None and data.axis is None
    reader = data.reader(batch_size=6, seed=3)
    numbers = reader.numbers(5)
    images, labels = reader(numbers)
    whole = reader.patches(5)
    np.testing.assert_array_equal(images, whole[0])
    np.testing.assert_array_equal(labels, whole[1])
    parts = [reader(numbers[:3]), reader(numbers[3:])]
    np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), images)
    assert [reader.rows(numbers[3:]).tolist(), reader.rows(numbers).dtype] == [[3, 4, 5], np.int32]


def test_two_numbers_take_planes_across_the_longest_voxels(root):
    data = patched.load(root, (6, 5))
    assert data.axis == 1 and data.image_shape == (6, 5, 1) and data.window == (1, 6, 5)
    reader = data.reader(batch_size=4, seed=0)
    images, labels = reader(reader.numbers(2))
    assert images.shape == (4, 6, 5, 1) and labels.shape == (4, 6, 5)
    for image, (number, window) in zip(images, reader.patches.windows(2), strict=True):
        np.testing.assert_array_equal(image, data.store.read(number, window)[0][:, 0])


def test_a_case_is_read_whole_with_its_planes_first(root):
    data = patched.load(root, (6, 5))
    cases = data.test
    one, case = cases.read(1), data.store.case(int(cases.numbers[1]))
    image, labels = data.store.read(case.number)
    np.testing.assert_array_equal(one.images[0], np.moveaxis(image, 1, 0))
    np.testing.assert_array_equal(one.labels[0], np.moveaxis(labels, 1, 0))
    spacing = case.placement.image_spacing
    np.testing.assert_allclose(one.spacing, [[spacing[1], spacing[0], spacing[2]]])
    assert one.names.tolist() == [case.name] and len(cases.take(np.array([0]))) == 1
    parts = [set(part.index.tolist()) for part in data.parts().values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 8


def test_masks_come_back_on_the_scans_own_grid(root):
    store = open_store(root)
    for case in store.cases:
        truth = store.mask(case.number)
        assert truth.shape == tuple(n + 4 for n in SHAPE) and set(np.unique(truth)) == {0, 1, 2}
    path = store.source / store.cases[0].label
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert store.mask(0) is None  # damaged since: nobody measures on it
    path.write_bytes(content)
    assert store.mask(0) is not None


@pytest.mark.parametrize("size", [(6, 5, 4), (6, 5)])
def test_perfect_probabilities_are_the_mask_again(root, size):
    data = patched.load(root, size)
    how, store = data.preprocessing, data.store
    assert Windowed.of(how.record()) == how
    scan = read_scan(store.source / store.cases[1].images[0])
    images, placement = how.forward(scan)
    whole, _ = forward(scan, how.how)
    np.testing.assert_array_equal(images if data.axis is None else np.moveaxis(images, 0, 1)[None], whole[None])
    labels = data.train.__class__(store, [1], data.axis).read(0).labels
    answers = np.eye(3, dtype=np.float32)[labels if data.axis is None else labels[0]]
    found, truth = how.backward(answers, placement), store.mask(1)
    np.testing.assert_array_equal(how.backward(answers.argmax(-1), placement), found)  # classes in place of scores
    assert placement.size == placement.box  # of the spacing of the set: nothing is lost on the way
    np.testing.assert_array_equal(how.indices(found), truth)
    probabilities = how.restored(answers, placement)
    assert probabilities.shape == (*truth.shape, 3)
    np.testing.assert_array_equal(probabilities.argmax(-1), truth)
    np.testing.assert_allclose(probabilities.sum(-1), 1)


@pytest.mark.parametrize("spacing", [None, (1.0, 1.0, 1.0), (2.0, 0.7, 1.3), (0.4, 2.5, 1.0)])
@pytest.mark.parametrize(("size", "axis"), [((4, 4, 4), None), ((9, 20, 4), None), ((4, 4), 1), ((4, 20), 0)])
def test_rows_that_come_one_after_the_other_give_the_same_labels(spacing, size, axis):
    how = Windowed(Preprocessing((Channel("CT", "none"),), 3, spacing, ("no", "a", "b"), (0, 5, 9)), size, axis)
    scan = Scan(np.random.default_rng(0).random((7, 11, 6, 1), np.float32), (1.0, 1.0, 1.0))
    images, placement = how.forward(scan)

    def program(windows):  # three scores that differ from place to place
        return np.concatenate([windows, 1 - windows, 0.6 * np.ones_like(windows)], -1)

    whole = [tiled(program, image, size) for image in images]
    rows = (tiled_rows(program, image, size) for image in images)
    np.testing.assert_array_equal(how.backward_rows(rows, placement), how.backward(whole, placement))


def test_what_cannot_be_is_named(root, tmp_path):
    with pytest.raises(ConfigError, match=r"data.size is \(\): .* say how large, for instance"):
        patched.load(root, ())
    with pytest.raises(ConfigError, match=r"data.size is \(4,\), but the cases of .* have 3 axes"):
        patched.load(root, (4,))
    with pytest.raises(DataError, match="is no prepared set; make one with hyperlab prepare"):
        patched.load(tmp_path, (4, 4))
    how = patched.load(root, (6, 5)).preprocessing
    with pytest.raises(DataError, match="mine holds the label 9; the run was trained on 0, 1, 2"):
        how.indices(np.array([0, 9]), "mine")
    with pytest.raises(DataError, match="no preprocessing of this version"):
        Windowed.of({"form": "patches of a prepared set"})
