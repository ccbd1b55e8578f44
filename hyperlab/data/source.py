"""What a reader of a data set hands over, and how it becomes three splits that do not leak."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from hyperlab.data.preprocessing import Preprocessing
from hyperlab.data.splits import (
    Split,
    Splits,
    check_splits,
    fingerprint,
    permutation,
    split_by_group,
    stratified_subset,
)
from hyperlab.errors import DataError, nearest


@dataclass(frozen=True, eq=False)
class Source:
    """A whole data set, before it is cut.

    Attributes:
      examples: all examples; images of any dtype, `top` is their white.
      classes: the name of each label.
      top: images are divided by it once they are hashed: bytes are hashed four times faster than floats.
      official_test: bool `[n]`, the examples of a published test split, which stays whole; or None.
      sections: int `[n]`, the place of each example in a stack of sections that resemble their neighbours:
        such a stack is cut into contiguous blocks, and the sections between blocks are left out; or None.
      validation_fraction: the share of the examples outside an official test split, or of all examples,
        that becomes the validation split unless another is asked for.
      kinds: the names of the kinds of image, where a set mixes several.
      notes: what was done to the source, in sentences.
      copies: what training examples that share a group with an official test example are called.
      scale: see `Splits`.
      normalisation: see `Splits`.
      preprocessing: see `Splits`.
    """

    examples: Split
    classes: tuple[str, ...]
    top: float = 1.0
    official_test: np.ndarray | None = None
    sections: np.ndarray | None = None
    validation_fraction: float = 0.2
    kinds: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    copies: str = "of the subject or near-copies of a test image"
    scale: float = 1.0
    normalisation: str = "full range"
    preprocessing: Preprocessing | None = None


def cut(
    name: str,
    source: Source,
    validation_fraction: float | None = None,
    test_fraction: float = 0.2,
    split_seed: int = 0,
    limit: int | Mapping[str, int] | None = None,
) -> Splits:
    """Cuts a source into its three splits; the arguments are those of `hyperlab.data.load`.

    Raises:
      DataError: the fractions leave a split empty; the splits leak.
    """
    share = source.validation_fraction if validation_fraction is None else validation_fraction
    examples = source.examples
    notes: tuple[str, ...] = ()
    if source.official_test is not None:
        positions, notes = _around_official_test(source, source.official_test, share, split_seed)
    elif source.sections is not None:
        positions = _blocks(source.sections, (1 - share - test_fraction, share, test_fraction), split_seed)
        notes = (f"{len(examples) - sum(map(len, positions))} examples between the blocks of sections were left out.",)
    else:
        shares = (1 - share - test_fraction, share, test_fraction)
        positions = split_by_group(examples.strata, examples.groups, shares, split_seed)
    parts = dict(zip(("train", "validation", "test"), map(examples.take, positions), strict=True))
    parts = _limited(parts, limit, split_seed)
    digest = fingerprint(*(array for part in parts.values() for array in (part.images, part.labels, part.index)))
    if source.top != 1 or source.examples.images.dtype != np.float32:
        white = np.float32(source.top)
        parts = {key: replace(part, images=part.images.astype(np.float32) / white) for key, part in parts.items()}
    splits = Splits(name, **parts, classes=source.classes, fingerprint=digest, notes=source.notes + notes,
                    kinds=source.kinds, scale=source.scale, normalisation=source.normalisation,
                    preprocessing=source.preprocessing)  # fmt: skip
    check_splits(splits)
    return splits


def _around_official_test(
    source: Source, is_test: np.ndarray, validation_fraction: float, seed: int
) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """The official test split stays whole, so copies of its images leave the rest."""
    groups = source.examples.groups
    copies = ~is_test & np.isin(groups, groups[is_test])
    rest = np.flatnonzero(~is_test & ~copies)
    shares = (1 - validation_fraction, validation_fraction)
    train, validation = split_by_group(source.examples.strata[rest], groups[rest], shares, seed)
    notes: tuple[str, ...] = ()
    if copies.any():
        notes = (f"{int(copies.sum())} training images {source.copies} were left out.",)
    return [rest[train], rest[validation], np.flatnonzero(is_test)], notes


def _blocks(sections: np.ndarray, fractions: tuple[float, ...], seed: int, gap: int = 1) -> list[np.ndarray]:
    """The positions of contiguous blocks of sections, `gap` sections left out between; a seed orders the blocks."""
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise DataError(f"split fractions {tuple(fractions)} must be at least 0 and sum to 1")
    stack = np.unique(sections)
    held = [part for part in range(len(fractions)) if fractions[part]]
    order = [part for part in permutation(len(fractions), seed).tolist() if part in held]
    room = len(stack) - gap * (len(order) - 1)
    ends = np.round(np.cumsum([fractions[part] for part in order]) * room).astype(int)
    starts = np.concatenate([[0], ends[:-1]])
    block = np.full(len(sections), -1, np.int32)
    for place, part in enumerate(order):
        members = stack[starts[place] + gap * place : ends[place] + gap * place]
        if not len(members):
            raise DataError(f"a part of {fractions[part]:.3g} of {len(stack)} sections is empty; use larger fractions")
        block[np.isin(sections, members)] = part
    return [np.flatnonzero(block == part) for part in range(len(fractions))]


def _limited(parts: dict[str, Split], limit: int | Mapping[str, int] | None, seed: int) -> dict[str, Split]:
    if limit is None:
        return parts
    limits = dict(limit) if isinstance(limit, Mapping) else dict.fromkeys(parts, limit)
    for key in limits:
        if key not in parts:
            raise DataError(f"limit names the unknown split {key!r}; {nearest(key, parts)}")
    return {
        key: part.take(stratified_subset(part.strata, limits[key], seed)) if key in limits else part
        for key, part in parts.items()
    }
