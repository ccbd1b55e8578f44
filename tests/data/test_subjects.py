"""Whom cases show: guessed from all names of a set, or said by a pattern."""

import numpy as np
import pytest
import segmentation_files as files

from hyperlab.data import load
from hyperlab.data.check import check, examine, main
from hyperlab.data.labelled_pixels import folder_options, load_segmented, optional_keys
from hyperlab.data.layouts import detect
from hyperlab.errors import DataError

pytestmark = pytest.mark.fast


def write(root, names):
    for i, name in enumerate(names):
        image, mask = files.blob(i, (16, 18), labels=2)
        files.picture(root / "images" / f"{name}.png", image)
        files.picture(root / "labels" / f"{name}.png", mask)
    return root


def slices(pattern, subjects="012345"):
    return [pattern.format(subject, slice_) for subject in subjects for slice_ in (0, 3, 6, 9, 12)]


@pytest.mark.parametrize(
    ("names", "subjects"),
    [
        (slices("volume-{}_{:03d}"), 6),  # LiTS, sliced
        (slices("scan{}_S{:03d}"), 6),
        (slices("CASE{}S{:03d}"), 6),
        (slices("{}_S{:02d}", ("smith", "jones", "brown")), 3),
        (slices("TCGA_CS_494{}_19960909_{}"), 6),  # LGG segmentation on Kaggle
        (slices("{}-{:02d}"), 6),
        (slices("TCGA-18-559{}-01Z_x0_y{:03d}") + slices("TCGA-18-559{}-01Z_x256_y{:03d}"), 6),  # tiles
        (slices("slide{}_r1_c{}") + slices("slide{}_r2_c{}"), 6),
        (slices("patient{}_frame{:02d}"), 6),
        ([f"wbc_{i}" for i in range(8)], 8),
        ([f"img_{i:03d}" for i in range(8)], 8),
        ([f"CASE2_{i:03d}" for i in range(8)], 8),  # all share one stem: one subject would say nothing
        ([f"{i:03d}" for i in range(8)], 8),
        ([f"a{i}b" for i in range(8)], 8),
    ],
)
def test_names_alike_but_for_a_last_number_are_slices_of_one_subject(tmp_path, names, subjects):
    layout = detect(write(tmp_path, names))
    assert len({case.subject for case in layout.cases}) == subjects and layout.problems == ()
    if subjects >= 6:
        parts = [set(part.groups) for part in load("folder", tmp_path).parts().values()]
        assert sum(map(len, parts)) == len(set.union(*parts))


def test_folders_of_several_sets_are_no_subjects(tmp_path):
    for folder in ("Dataset 1", "Dataset 2"):
        for i in range(4):
            image, mask = files.blob(i + 10 * (folder == "Dataset 2"), (16, 18), labels=2)
            files.picture(tmp_path / folder / f"CASE2_{i}.png", image)
            files.picture(tmp_path / folder / f"CASE2_{i}_mask.png", mask)
    assert len({case.subject for case in detect(tmp_path).cases}) == 8


def test_kinds_of_image_are_asked_about_and_left_apart(tmp_path):
    """`benign (1)` and `normal (1)` of BUSI may be kinds of image as well as subjects."""
    write(tmp_path, [f"{kind} ({i})" for kind in ("benign", "normal") for i in range(4)])
    (row,) = check(tmp_path)
    assert not row.fatal and "'benign' (4), 'normal' (4)" in row.what and "--subjects" in row.fix
    assert "8 subjects by their names" in examine(tmp_path).summary
    assert check(tmp_path, subjects=r"(.+)") == []


def test_subjects_that_are_alike_themselves_are_asked_about(tmp_path):
    """`slide1_0_256` may be a tile of a slide, or the third number of a second visit."""
    write(tmp_path, [f"slide{i}_{x}_{y}" for i in range(3) for x in (0, 256) for y in (0, 256)])
    (row,) = check(tmp_path)
    assert not row.fatal and "'slide0_0', 'slide0_256'" in row.what
    assert check(tmp_path, subjects=row.fix.split("'")[1]) == []
    assert "3 subjects" in examine(tmp_path, subjects=row.fix.split("'")[1]).summary


def test_a_pattern_goes_before_names(tmp_path, capsys):
    write(tmp_path, slices("volume-{}_{:03d}"))
    assert "6 subjects by their names (30 names are alike but for a last number, as those of 'volume-0')" in (
        examine(tmp_path).summary
    )
    assert main([str(tmp_path), "--subjects", r"_(\d+)"]) == 0
    assert r"5 subjects by _(\d+)" in capsys.readouterr().out
    splits = load("folder", tmp_path, subjects=r"_(\d+)")
    for part in splits.parts().values():
        assert len({name[-3:] for name in part.names}) == len(np.unique(part.groups))
    assert "(5 subjects by " in splits.notes[-1]
    with pytest.raises(DataError, match=r"in 1 group \(subjects, near-copies\) is empty"):
        load("folder", tmp_path, subjects=r"(volume)")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(volume", "is no regular expression: missing"),
        (r"volume-\d", "has no group; its first group names the subject"),
        (r"volume-([01])_", r"does not fit the names of 20 of 30 cases, for instance 'volume-2_000'"),
        (r"volume-\d+_(x)?", "does not fit the names of 30 of 30 cases"),
    ],
)
def test_a_pattern_that_does_not_fit_is_refused(tmp_path, pattern, message):
    write(tmp_path, slices("volume-{}_{:03d}"))
    with pytest.raises(DataError, match=message):
        check(tmp_path, subjects=pattern)


def test_every_layout_takes_a_pattern(tmp_path):
    pytest.importorskip("nibabel")
    files.nnunet(tmp_path / "n", names=[f"c{i % 5}x{i}" for i in range(10)], cases=10, shape=(16, 18), ending=".png")
    assert "5 subjects by" in examine(tmp_path / "n", subjects=r"(c\d)").summary
    assert len(np.unique(load("nnunet", tmp_path / "n", subjects=r"(c\d)").train.groups)) == 3
    files.decathlon(tmp_path / "d")
    assert len({case.subject for case in detect(tmp_path / "d", subjects=r"organ_00(\d)").cases}) == 10
    assert len({case.subject for case in detect(tmp_path / "d", subjects="(organ)").cases}) == 1
    image, mask = files.blob(0, (4, 8, 8), labels=2)
    np.savez(tmp_path / "set.npz", image=image, label=mask, subject=[0, 0, 1, 1])
    assert "2 subjects by the archive's array" in examine(tmp_path / "set.npz").summary
    assert "4 subjects by" in examine(tmp_path / "set.npz", subjects=r"\[(\d)\]").summary


def test_a_config_may_name_them_and_need_not(tmp_path):
    from types import SimpleNamespace

    from experiments import rescaling
    from hyperlab import launch
    from hyperlab.train import config as configs

    write(tmp_path, slices("volume-{}_{:03d}"))
    settings = {"name": "folder", "root": str(tmp_path), "split_seed": 0, "limit": 0, "size": (16, 16)}
    splits = load_segmented(SimpleNamespace(**settings, subjects=r"_(\d+)"))
    assert len(np.unique(splits.train.groups)) == 3 and folder_options(SimpleNamespace(**settings)) == {}
    _, config = launch.parse("rescaling", [r"--config.data.subjects=(volume-\d+)_", "--config.data.masks", "labels"])
    assert folder_options(config.data) == {"masks": "labels", "subjects": r"(volume-\d+)_"}
    # a run folder from before these keys holds none of them, and goes on
    assert configs.difference(launch.parse("rescaling", [])[1], rescaling.get_config()) == {}
    assert not set(optional_keys()) & set(configs.flat(rescaling.get_config()))
