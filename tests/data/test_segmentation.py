"""The public sets, on small fake trees always and on the real ones where HYPERLAB_DATA names their folder."""

import os
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import segmentation_files as files

from hyperlab.data import load
from hyperlab.data.splits import check_splits
from hyperlab.errors import DataError

REAL = Path(os.environ.get("HYPERLAB_DATA", "/nowhere"))
fast = pytest.mark.fast


def real(name):
    if not (REAL / name).is_dir():
        pytest.skip(f"HYPERLAB_DATA names no folder with {name}")
    return REAL / name


def parts_of(splits):
    """Which split each case is in, by name."""
    return {str(name): key for key, part in splits.parts().items() for name in part.names}


def together(splits, *clusters):
    held = parts_of(splits)
    return all(len({held[name] for name in cluster}) == 1 for cluster in clusters)


def well_formed(splits, shape):
    check_splits(splits)
    for part in splits.parts().values():
        assert part.images.shape[1:] == shape and part.images.dtype == np.float32
        assert part.labels.shape == part.images.shape[:-1] and part.labels.dtype == np.int32
        assert set(np.unique(part.labels)) == set(range(len(splits.classes)))
        assert part.groups.dtype == np.int32 and len(set(part.names)) == len(part)


# -- fake trees ---------------------------------------------------------------------------------------------------


@fast
def test_wbc(tmp_path):
    files.wbc(tmp_path)
    for seed in range(8):
        splits = load("wbc", tmp_path, split_seed=seed)
        assert together(splits, ("003", "004"), ("007", "008"))
    well_formed(splits, (64, 64, 3))
    native = load("wbc", tmp_path / "Dataset 1", size=40)
    part = next(p for p in native.parts().values() if "005" in p.names)
    image = part.images[part.names == "005"][0]
    np.testing.assert_allclose(image[..., 2], files.blob(52, (40, 40))[0] / 255, atol=1e-6)
    mask = files.blob(50, (40, 40))[1].astype(int)
    mask[0, :2] = (1, 2)  # 120 is nearest to 128, 200 to 255
    np.testing.assert_array_equal(part.labels[part.names == "005"][0], mask)
    with pytest.raises(DataError, match="wbc has no option 'sizes'; did you mean 'size'"):
        load("wbc", tmp_path, sizes=3)
    with pytest.raises(DataError, match="wbc is read from files; name their folder"):
        load("wbc")
    files.picture(tmp_path / "Dataset 1" / "009.png", np.zeros((40, 41), np.uint8))
    with pytest.raises(DataError, match=r"009.png is \(40, 41\), its image .*009.bmp is \(40, 40\); resample the mask"):
        load("wbc", tmp_path)
    (tmp_path / "Dataset 1" / "009.png").unlink()
    with pytest.raises(DataError, match=r"009.png does not exist"):
        load("wbc", tmp_path)
    with pytest.raises(DataError, match=r"holds no \*.bmp image; expected the folder that holds 'Dataset 2'"):
        load("wbc", tmp_path, subset=2)
    with pytest.raises(DataError, match="nowhere is not a folder"):
        load("wbc", tmp_path / "nowhere")


@fast
def test_nuclei(tmp_path):
    files.nuclei(tmp_path)
    splits = load("dsb2018_nuclei", tmp_path, size=32)
    well_formed(splits, (32, 32, 3))
    assert splits.kinds == ("fluo", "colour") and splits.classes == ("background", "nucleus")
    for part in splits.parts().values():
        assert part.kinds.sum() == len(part) / 3  # both kinds in proportion
        np.testing.assert_array_equal(part.kinds, [int(name[1:]) >= 10 for name in part.names])
        assert all(image.min() == 0 and image.max() == 1 for image, kind in zip(part.images, part.kinds, strict=True)
                   if kind == 0)  # fmt: skip
    part = next(p for p in splits.parts().values() if "n02" in p.names)
    np.testing.assert_array_equal(part.labels[part.names == "n02"][0], files.blob(2, (32, 32), labels=6)[1] > 0)
    assert (splits.scale, splits.normalisation) == (1.0, "own range")  # most of the files are of 32x32
    assert load("dsb2018_nuclei", tmp_path, size=16).scale == 0.5
    fluo = load("dsb2018_nuclei", tmp_path, kind="fluo")
    assert fluo.kinds == ("fluo",) and sum(map(len, fluo.parts().values())) == 10
    with pytest.raises(DataError, match="unknown kind 'color'; did you mean 'colour'"):
        load("dsb2018_nuclei", tmp_path, kind="color")
    (tmp_path / "index.csv").unlink()
    with pytest.raises(DataError, match="index.csv does not exist"):
        load("dsb2018_nuclei", tmp_path)


def sections_apart(splits):
    """No section, and no neighbour of a section, is in two splits."""
    held = {key: {int(name.split("[")[0]) for name in part.names} for key, part in splits.parts().items()}
    return all(abs(i - j) > 1 for a, b in combinations(held.values(), 2) for i in a for j in b)


@fast
def test_membranes(tmp_path):
    files.membranes(tmp_path)
    for seed in range(6):
        splits = load("isbi2012_membrane", tmp_path, split_seed=seed, tiles=2)
        assert sections_apart(splits)
        assert sum(map(len, splits.parts().values())) == 40
    well_formed(splits, (16, 16, 1))
    whole = load("isbi2012_membrane", tmp_path, tiles=1)
    part = next(p for p in whole.parts().values() if "7[0,0]" in p.names)
    np.testing.assert_array_equal(part.labels[part.names == "7[0,0]"][0], files.blob(7, (32, 32), labels=2)[1] == 0)
    tiled = load("isbi2012_membrane", tmp_path, tiles=2)
    part = next(p for p in tiled.parts().values() if "7[1,0]" in p.names)
    image = files.blob(7, (32, 32))[0][16:, :16]
    np.testing.assert_allclose(part.images[part.names == "7[1,0]"][0, ..., 0], image / 255, atol=1e-6)
    assert load("isbi2012_membrane", tmp_path, size=8).image_shape == (8, 8, 1)
    with pytest.raises(DataError, match="do not divide into 5 x 5 tiles"):
        load("isbi2012_membrane", tmp_path, tiles=5)


def test_brains(tmp_path):
    files.brains(tmp_path)
    scans = [[f"ilist{i + 1}/slice{s}" for s in (6, 8, 10, 12)] for i in range(15)]
    for seed in range(8):
        splits = load("brain_t1_ptbp", tmp_path, split_seed=seed)
        # all slices of a scan, and all scans of a child
        assert together(splits, *scans, scans[2] + scans[3], scans[5] + scans[6] + scans[7])
    well_formed(splits, (112, 96, 1))
    assert "the 15 scans are taken to show 12 children" in splits.notes[0]
    np.testing.assert_allclose(splits.train.spacing[0], (44 / 112, 36 / 96))
    native = load("brain_t1_ptbp", tmp_path, size=(44, 36), slices=(1,))
    part = next(p for p in native.parts().values() if "ilist5/slice8" in p.names)
    np.testing.assert_allclose(part.images[part.names == "ilist5/slice8"][0, ..., 0],
                               files.blob(41, (44, 36), labels=5)[0] / np.float32(255), atol=1e-6)  # fmt: skip
    for options, message in (
        ({"slices": (4,)}, r"slices are \(4,\), expected some of 0 to 3"),
        ({"slices": ()}, "slices"),
    ):
        with pytest.raises(DataError, match=message):
            load("brain_t1_ptbp", tmp_path, **options)
    np.savez(tmp_path / "slices.npz", image=np.zeros((2, 4, 5, 5)))
    with pytest.raises(DataError, match="has no array 'label'"):
        load("brain_t1_ptbp", tmp_path)


@fast
def test_retinas(tmp_path):
    files.retinas(tmp_path)
    splits = load("chasedb1", tmp_path, size=(24, 26))
    well_formed(splits, (24, 26, 3))
    assert sorted(splits.test.names) == [f"Image_{i}{side}" for i in (11, 12, 13, 14) for side in "LR"]
    assert together(splits, *[(f"Image_{i:02d}L", f"Image_{i:02d}R") for i in range(1, 15)])
    other = load("chasedb1", tmp_path, size=(24, 26), annotator=2)
    np.testing.assert_array_equal(other.test.labels[0], files.blob(1102, (24, 26), labels=2)[1])
    np.testing.assert_array_equal(splits.test.labels[0], files.blob(1101, (24, 26), labels=2)[1])
    with pytest.raises(DataError, match="annotator is 3, expected 1 or 2"):
        load("chasedb1", tmp_path, annotator=3)


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_hippocampi(tmp_path, dtype):
    pytest.importorskip("nibabel", reason="the extra 'medical' is not installed")
    files.hippocampi(tmp_path, dtype=dtype)
    pairs = [(f"hippocampus_{i:03d}", f"hippocampus_{i + 1:03d}") for i in (1, 3, 7, 11, 13)]
    for seed in range(8):
        assert together(load("msd_hippocampus", tmp_path, split_seed=seed), *pairs)
    planes, volumes = load("msd_hippocampus", tmp_path), load("msd_hippocampus_3d", tmp_path, size=(12, 16, 10))
    well_formed(planes, (64, 64, 1))
    well_formed(volumes, (12, 16, 10, 1))
    image, mask = files.blob(3, (10, 14, 9))
    part = next(p for p in volumes.parts().values() if "hippocampus_003" in p.names)
    place = part.names == "hippocampus_003"
    np.testing.assert_array_equal(part.labels[place][0][1:11, 1:15, :9], mask)
    low, high = np.percentile(image, (0.5, 99.5))
    expected = np.clip((image - low) / (high - low), 0, 1)
    np.testing.assert_allclose(part.images[place][0, 1:11, 1:15, :9, 0], expected, atol=1e-5)
    part = next(p for p in planes.parts().values() if "hippocampus_003" in p.names)
    best = int((mask > 0).sum((0, 1)).argmax())
    np.testing.assert_array_equal(part.labels[part.names == "hippocampus_003"][0][27:37, 25:39], mask[:, :, best])
    assert part.spacing.shape == (len(part), 2) and np.all(part.spacing == 1)
    bad = files.blob(5, (12, 14, 9))[0].astype(np.float32)
    bad[0, 0, 0] = np.nan
    files.nifti(tmp_path / "images" / "hippocampus_005.nii.gz", bad)
    with pytest.raises(DataError, match=r"hippocampus_005.nii.gz (holds non-finite voxels|is \()"):
        load("msd_hippocampus", tmp_path)


# -- the real sets ------------------------------------------------------------------------------------------------

SETS = {
    "wbc": ((64, 64, 3), (180, 60, 60)),
    "dsb2018_nuclei": ((128, 128, 3), (120, 40, 40)),
    "isbi2012_membrane": ((128, 128, 1), (272, 96, 80)),
    "brain_t1_ptbp": ((112, 96, 1), None),
    "chasedb1": ((256, 256, 3), (16, 4, 8)),
    "msd_hippocampus": ((64, 64, 1), (156, 52, 52)),
    "msd_hippocampus_3d": ((48, 64, 48, 1), (156, 52, 52)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_the_real_sets(name):
    shape, sizes = SETS[name]
    if "hippocampus" in name:
        pytest.importorskip("nibabel", reason="the extra 'medical' is not installed")
    splits = load(name, real(name.removesuffix("_3d")))
    well_formed(splits, shape)
    found = tuple(len(part) for part in splits.parts().values())
    assert sizes is None or found == sizes


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_the_traps_of_the_real_sets(seed):
    splits = load("wbc", real("wbc"), split_seed=seed)
    assert together(splits, ("112", "139"), ("157", "158"), ("166", "171"), ("167", "169"))
    assert len(np.unique(np.concatenate([part.groups for part in splits.parts().values()]))) == 296  # and no more
    splits = load("brain_t1_ptbp", real("brain_t1_ptbp"), split_seed=seed, slices=(1,))
    assert "the 60 scans are taken to show 38 children" in splits.notes[0]
    assert together(splits, ("ilist6/slice8", "ilist7/slice8", "ilist8/slice8"))
    assert sections_apart(load("isbi2012_membrane", real("isbi2012_membrane"), split_seed=seed))
    splits = load("chasedb1", real("chasedb1"), split_seed=seed, size=32)
    assert together(splits, *[(f"Image_{i:02d}L", f"Image_{i:02d}R") for i in range(1, 15)])
    splits = load("dsb2018_nuclei", real("dsb2018_nuclei"), split_seed=seed, size=32)
    assert [int(part.kinds.sum()) for part in splits.parts().values()] == [12, 4, 4]


@pytest.mark.slow
def test_no_scan_of_the_real_hippocampi_is_in_two_splits():
    pytest.importorskip("nibabel", reason="the extra 'medical' is not installed")
    splits = load("msd_hippocampus", real("msd_hippocampus"))
    scans = [{(int(name[-3:]) + 1) // 2 for name in part.names} for part in splits.parts().values()]
    assert sum(map(len, scans)) == len(set.union(*scans)) == 170
