from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperlab.data import source as s
from hyperlab.data.splits import Split, check_splits
from hyperlab.errors import DataError

pytestmark = pytest.mark.fast


def masks(n, groups=None, kinds=None, spatial=(4, 5)):
    rng = np.random.default_rng(0)
    index = np.arange(n, dtype=np.int32)
    return Split(
        rng.random((n, *spatial, 2), np.float32),
        rng.integers(0, 3, (n, *spatial)).astype(np.int32),
        index if groups is None else np.asarray(groups, np.int32),
        index,
        spacing=np.stack([index, 2.0 * index], 1).astype(np.float32),
        names=np.array([f"case {i}" for i in index]),
        kinds=kinds,
    )


CLASSES = ("background", "a", "b")


def test_every_array_follows_its_example():
    splits = s.cut("toy", s.Source(masks(40), CLASSES))
    for part in splits.parts().values():
        assert part.names.tolist() == [f"case {i}" for i in part.index]
        np.testing.assert_array_equal(part.spacing, np.stack([part.index, 2 * part.index], 1))
        assert part.kinds is None
    assert {name: len(part) for name, part in splits.parts().items()} == {"train": 24, "validation": 8, "test": 8}
    assert splits.image_shape == (4, 5, 2)


def test_masks_are_split_by_group_and_kinds_keep_their_share():
    groups = np.arange(90) // 3
    kinds = (np.arange(90) >= 60).astype(np.int32)
    for seed in range(5):
        splits = s.cut("toy", s.Source(masks(90, groups, kinds), CLASSES, kinds=("x", "y")), split_seed=seed)
        for part in splits.parts().values():
            assert np.all(np.bincount(part.groups)[np.unique(part.groups)] == 3)  # whole
            assert abs(part.kinds.mean() - 1 / 3) < 0.1
    assert splits.kinds == ("x", "y")
    small = s.cut("toy", s.Source(masks(90, groups, kinds), CLASSES), limit=9)
    assert [len(part) for part in small.parts().values()] == [9, 9, 9]
    assert all(part.kinds.sum() == 3 for part in small.parts().values())


def test_an_official_test_split_stays_whole_and_its_groups_leave_the_rest():
    groups = np.arange(30) // 2
    official = np.arange(30) >= 25  # one case of the group 12 is inside, one outside
    splits = s.cut("toy", s.Source(masks(30, groups), CLASSES, official_test=official))
    np.testing.assert_array_equal(splits.test.index, np.arange(25, 30))
    assert 24 not in np.concatenate([splits.train.index, splits.validation.index])
    assert splits.notes == ("1 training images of the subject or near-copies of a test image were left out.",)


@given(st.integers(8, 40), st.integers(1, 3), st.integers(0, 50))
def test_sections_are_cut_into_blocks_with_a_gap(count, tiles, seed):
    sections = np.repeat(np.arange(100, 100 + count), tiles)
    parts = s._blocks(sections, (0.5, 0.25, 0.25), seed)
    held = [np.unique(sections[part]) for part in parts]
    for block in held:
        np.testing.assert_array_equal(block, np.arange(block[0], block[0] + len(block)))  # contiguous
    for i in range(3):
        for j in range(i):
            assert np.abs(held[i][:, None] - held[j]).min() >= 2  # no section's neighbour is in another part
    assert sum(map(len, held)) == count - 2
    assert all(len(part) == len(block) * tiles for part, block in zip(parts, held, strict=True))
    assert abs(len(held[0]) - (count - 2) / 2) <= 1


def test_seeds_order_the_blocks_and_sections_keep_their_groups():
    source = s.Source(masks(24, np.arange(24) // 2), CLASSES, sections=np.arange(24) // 2)
    firsts = {tuple(int(part.index[0]) for part in s.cut("toy", source, split_seed=seed).parts().values())
              for seed in range(12)}  # fmt: skip
    assert len(firsts) > 3
    splits = s.cut("toy", source)
    assert splits.notes == ("4 examples between the blocks of sections were left out.",)
    assert len(np.unique(splits.train.groups)) == len(splits.train) / 2
    with pytest.raises(DataError, match="a part of 0.2 of 3 sections is empty"):
        s.cut("toy", s.Source(masks(3), CLASSES, sections=np.arange(3)))
    with pytest.raises(DataError, match="sum to 1"):
        s.cut("toy", source, validation_fraction=0.9)


def test_masks_of_another_shape_and_ragged_extras_are_refused():
    splits = s.cut("toy", s.Source(masks(20), CLASSES))
    wrong = replace(splits, test=replace(splits.test, labels=splits.test.labels[:, :-1]))
    with pytest.raises(DataError, match=r"toy, test split: masks are \(3, 5\), images \(4, 5, 2\)"):
        check_splits(wrong)
    with pytest.raises(DataError, match=r"images, labels, groups, index, spacing and names differ in length: \[1, 4\]"):
        check_splits(replace(splits, test=replace(splits.test, names=splits.test.names[:1])))


def test_masks_are_no_strata():
    from hyperlab.data.splits import split_by_group

    with pytest.raises(DataError, match=r"not arrays of shape \(4, 5\); give Split.strata"):
        split_by_group(masks(9).labels, np.arange(9), (0.5, 0.5), 0)
