"""Which file is the mask of which image: by names, never by the order of a list; what stays open is asked for."""

import re
import shlex
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hyperlab.data.readers.cases import Problem
from hyperlab.data.readers.images import LOSSY, SUFFIXES, read_image, read_mask
from hyperlab.data.readers.mask_words import before_mask, continues, is_tail, says_mask, without_word
from hyperlab.data.readers.scan import stem_of, suffix_of
from hyperlab.errors import DataError

_CHANNEL = re.compile(r"_\d{4}$")


class Owned(NamedTuple):
    """A mask that belongs to an image, and what its name has after the image's."""

    mask: Path
    image: Path
    tail: str


@dataclass(frozen=True)
class Pairs:
    """The masks of images.

    Attributes:
      masks: of each image that has one: one file, or several that are parts of one mask.
      open: the masks between which names do not decide, with their tails, of each such image.
      without: the images that have none.
      over: the masks that belong to no image.
      aside: masks that another one, which was asked for, leaves out.
    """

    masks: dict[Path, tuple[Path, ...]]
    open: dict[Path, dict[str, Path]]
    without: tuple[Path, ...]
    over: tuple[Path, ...]
    aside: tuple[Path, ...]


def pair(images: Iterable[Path], masks: Iterable[Path], suffix: str | None = None) -> Pairs:
    """Pairs images with masks of another folder.

    A mask has its image's name, or that name with a tail; it belongs to the longest image name that fits. Where no name
    fits so, the tails of both are left out (`21_training` with `21_manual1`).

    Args:
      images, masks: files; no two images have one name.
      suffix: the tail of the masks that are meant, where an image has several.
    """
    images, masks = list(images), list(masks)
    owners = owned(images, masks) or _alike(images, masks)
    exact = {owner.image for owner in owners if not owner.tail}
    # beside a mask of the image's own name, `a_left` is the mask of an image that is missing
    owners = [owner for owner in owners if owner.image not in exact or not owner.tail or says_mask(owner.tail)]
    return chosen(images, masks, owners, suffix)


def chosen(images: list[Path], masks: list[Path], owners: list[Owned], suffix: str | None) -> Pairs:
    """Chooses among the masks that belong to each image; `owners` says which do."""
    candidates: dict[Path, list[tuple[str, Path]]] = {image: [] for image in images}
    for owner in owners:
        candidates[owner.image].append((owner.tail, owner.mask))
    taken, undecided, aside = {}, {}, []
    for image, found in candidates.items():
        found = sorted(found)
        if suffix is None:
            united = _united(found)
        else:
            parts = tuple(mask for tail, mask in found if tail == suffix or continues(tail, suffix))
            united = [(suffix, parts)] if parts else []
        if len(united) > 1:
            united = _fit_for_masks(united)
        if len(united) == 1:
            ((_, parts),) = united
            taken[image] = parts
            aside += [mask for _, mask in found if mask not in parts]
        elif united:
            undecided[image] = {tail: parts[0] for tail, parts in united}
        else:
            aside += [mask for _, mask in found]
    without = tuple(image for image in images if image not in taken and image not in undecided)
    known = {owner.mask for owner in owners}
    over = tuple(mask for mask in masks if mask not in known)
    return Pairs(taken, undecided, without, over, tuple(aside))


def owned(images: Iterable[Path], masks: Iterable[Path]) -> list[Owned]:
    """The image of each mask whose name is an image's, or begins with it.

    A mask without channel number (`a` of `a_0000` and `a_0001`) is that of all channels.
    """
    by_stem: dict[str, list[Path]] = {}
    for image in images:
        stem = _stem(image)
        for name in {stem, _CHANNEL.sub("", stem)}:
            by_stem.setdefault(name, []).append(image)
    found = []
    for mask in masks:
        stem = _stem(mask)
        fit = (end for end in range(len(stem), 0, -1) if stem[:end] in by_stem and is_tail(stem[end:]))
        end = next(fit, 0)
        same = [image for image in by_stem.get(stem[:end], []) if _stem(image) == stem[:end]]
        found += [Owned(mask, image, stem[end:]) for image in same or by_stem.get(stem[:end], [])]
    return found


def _stem(path: Path) -> str:
    """A name in one spelling: a Mac writes an umlaut as two characters, others as one."""
    return unicodedata.normalize("NFC", stem_of(path))


def which_image(masks: Path, images: list[Path]) -> Problem:
    """What to do where one mask may belong to several images, as channels of a case do."""
    start = before_mask(stem_of(masks))
    what = f"{masks} is one mask beside several files that may be its image: {', '.join(path.name for path in images)}"
    fix = (
        f"keep channels of one case as nnU-Net does ({start}_0000, {start}_0001, ... in imagesTr, {start} in labelsTr, "
        "and a dataset.json), or give each image a mask of its own name"
    )
    return Problem(start, what, fix)


def is_pickle(path: Path) -> bool:
    """Whether a `.npy` file holds Python objects: Cellpose's `_seg.npy` does; its masks lie beside it."""
    if suffix_of(path) != ".npy":
        return False
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            return read(file)[2].hasobject
    except (OSError, ValueError):
        return False  # the reader says what is wrong with it


def may_be_mask(path: Path) -> bool:
    """Whether a file can hold labels: JPEG files and colour pictures cannot. A damaged file may."""
    if suffix_of(path) in LOSSY:
        return False
    if suffix_of(path) not in SUFFIXES:
        return True
    try:
        read_mask(path)
    except DataError:
        try:
            return read_image(path).shape[-1] == 1
        except DataError:
            return True
    return True


def which_suffix(undecided: dict[Path, dict[str, Path]]) -> Problem:
    """The question which of several masks is meant."""
    image, masks = next(iter(undecided.items()))
    tails, example = [shlex.quote(tail) for tail in masks], next(filter(None, masks))
    files = ", ".join(mask.name for mask in masks.values())
    several = f"{len(undecided)} images have several masks each" if len(undecided) > 1 else "an image has several masks"
    fix = (
        f"say which is meant: --mask-suffix {' or '.join(tails)} (in Python mask_suffix={example!r}, in a "
        f"study --config.data.mask_suffix={example})"
    )
    return Problem("", f"{image.parent}: {several}, for instance {image.name}: {files}", fix)


def which_folder(image_folder: Path, found: list[Path]) -> Problem:
    """The question which of several folders holds the masks."""
    names = [folder.name for folder in found]
    what = (
        f"{image_folder.parent}: the files of {', '.join(names[:-1])} and {names[-1]} all pair with {image_folder.name}"
    )
    fix = (
        f"say which are the masks: --masks {' or '.join(names)} (in Python masks={names[0]!r}, in a study "
        f"--config.data.masks={names[0]})"
    )
    return Problem("", what, fix)


def _united(found: list[tuple[str, Path]]) -> list[tuple[str, tuple[Path, ...]]]:
    """The masks by tail; `_mask_1`, `_mask_2` beside `_mask` are further objects of one mask, as in BUSI."""
    tails = {tail for tail, _ in found}
    by_tail: dict[str, list[Path]] = {}
    for tail, mask in found:
        base = next((one for one in tails if one != tail and says_mask(one) and continues(tail, one)), tail)
        by_tail.setdefault(base, []).append(mask)
    return [(tail, tuple(parts)) for tail, parts in by_tail.items()]


def _fit_for_masks(united: list[tuple[str, tuple[Path, ...]]]) -> list[tuple[str, tuple[Path, ...]]]:
    fit = [(tail, parts) for tail, parts in united if says_mask(tail) or all(map(may_be_mask, parts))]
    return fit or united


def _alike(images: list[Path], masks: list[Path]) -> list[Owned]:
    """Pairs by names without the tails of both and without words such as `img` and `label` at their start.

    A number must be left, and one image alone may have it.
    """
    by_key: dict[str, list[Path]] = {}
    for image in images:
        by_key.setdefault(_key(image, "image"), []).append(image)
    found = []
    for mask in masks:
        key = _key(mask, "mask")
        if any(character.isdigit() for character in key) and len(by_key.get(key, ())) == 1:
            found.append(Owned(mask, by_key[key][0], _stem(mask).partition(key)[2]))
    return found


def _key(path: Path, kind: str) -> str:
    return _TAIL_AT_END.sub("", without_word(_stem(path), kind))


_TAIL_AT_END = re.compile(r"(?:[-_. ][A-Za-z]+\d?)+$")
