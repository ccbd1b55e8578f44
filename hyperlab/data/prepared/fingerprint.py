"""What a set looks like, before anything is decided: sizes, spacings, and the intensities of each channel.

One case is read at a time and leaves a few kilobytes; the set's fingerprint is made of those.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hyperlab.data.layouts import picture_white
from hyperlab.data.prepared.geometry import occupied_box
from hyperlab.data.prepared.normalisation import PERCENTILES
from hyperlab.data.prepared.places import counts, draw
from hyperlab.data.readers.cases import Problem
from hyperlab.data.readers.scan import Scan
from hyperlab.data.similarity import thumbnail
from hyperlab.files import writing

MOST_SAMPLES = 10_000  # foreground voxels of a case; each case counts alike, so small foregrounds are drawn repeatedly
_OF_A_SET = 5_000_000


@dataclass(frozen=True, eq=False)
class CaseFingerprint:
    """What is kept of a case after its first reading.

    Attributes:
      shape, spacing: of the scan, along all its axes.
      box: shape of the box outside which all channels are 0.
      channels: how many there are.
      lows, highs: smallest and largest value of each channel.
      counts: voxels of each label value.
      outside: labelled voxels outside the box, which cropping loses.
      picture: whether it is a picture of 8 bits.
      colours: of the labels, where the mask has a palette.
      sample: float32 `[k, channel]`, intensities drawn from the foreground.
      thumbnail: float32, by which near-copies are found.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...] | None
    box: tuple[int, ...]
    channels: int
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    counts: dict[int, int]
    outside: int
    picture: bool
    colours: dict[int, tuple[int, int, int]] | None
    sample: np.ndarray
    thumbnail: np.ndarray


@dataclass(frozen=True)
class Intensities:
    """Of a channel: the foreground of all training cases, each case counting alike."""

    mean: float
    deviation: float
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class SetFingerprint:
    """What the training cases of a set look like together.

    Attributes:
      cases: how many.
      shapes: smallest, median and largest size along each axis that images have.
      spacings: the same of spacings in mm, or None where files have none.
      cropped: the share of its volume that the median case keeps when empty borders are cut off.
      intensities: of each channel, or None where no case has any foreground.
    """

    cases: int
    shapes: tuple[tuple[float, ...], ...]
    spacings: tuple[tuple[float, ...], ...] | None
    cropped: float
    intensities: tuple[Intensities | None, ...]

    def to_json(self) -> dict[str, Any]:
        """As what JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "SetFingerprint":
        """The opposite of `to_json`."""
        fields = dict(content)
        fields["intensities"] = tuple(one and Intensities(**one) for one in fields["intensities"])
        for key in ("shapes", "spacings"):
            fields[key] = None if fields[key] is None else tuple(map(tuple, fields[key]))
        return cls(**fields)


def fingerprint_case(image: Scan, mask: Scan, number: int, most: int = MOST_SAMPLES) -> CaseFingerprint:
    """The fingerprint of a case.

    Args:
      image: values `[*spatial, channel]`, finite.
      mask: int32 `[*spatial]`.
      number: of the case, which decides the voxels that are drawn.
      most: how many.
    """
    values, labels = image.values, mask.values
    start, stop = occupied_box((values != 0).any(-1))
    box = tuple(b - a for a, b in zip(start, stop, strict=True))
    foreground = labels > 0
    within = foreground[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
    drawn = draw(foreground, most, number)
    space = tuple(range(labels.ndim))
    return CaseFingerprint(
        shape=labels.shape,
        spacing=None if image.spacing is None else tuple(image.spacing[: labels.ndim]),
        box=box,
        channels=values.shape[-1],
        lows=tuple(map(float, values.min(space))),
        highs=tuple(map(float, values.max(space))),
        counts=counts(labels),
        outside=int(np.count_nonzero(foreground)) - int(np.count_nonzero(within)),
        picture=picture_white(image) == 255,
        colours=mask.colours,
        sample=values[tuple(drawn.T)].astype(np.float32),  # reshaping what NIfTI stores would copy all of it
        thumbnail=thumbnail(values),
    )


def samples_of(cases: int) -> int:
    """How many foreground voxels each of so many cases gives.

    >>> samples_of(10), samples_of(100_000)
    (10000, 100)
    """
    return max(100, min(MOST_SAMPLES, _OF_A_SET // max(1, cases)))


def fingerprint_set(cases: Sequence[CaseFingerprint], axes: Sequence[tuple[int, ...]]) -> SetFingerprint:
    """The fingerprint of a set.

    Args:
      cases: of the training part.
      axes: for each case which of its axes images have (`geometry.kept_axes`).
    """
    shapes = np.array([[case.shape[axis] for axis in kept] for case, kept in zip(cases, axes, strict=True)], float)
    spacings = None
    if all(case.spacing is not None for case in cases):
        steps = [(case.spacing or (), kept) for case, kept in zip(cases, axes, strict=True)]
        spacings = _spread(np.array([[spacing[axis] for axis in kept] for spacing, kept in steps]))
    kept_shares = [np.prod(case.box, dtype=float) / np.prod(case.shape, dtype=float) for case in cases]
    pooled = [np.concatenate([case.sample[:, channel] for case in cases]) for channel in range(cases[0].channels)]
    intensities = tuple(map(_intensities, pooled))
    return SetFingerprint(len(cases), _spread(shapes), spacings, float(np.median(kept_shares)), intensities)


def write_case(path: Path, case: CaseFingerprint | None, problems: Sequence[Problem]) -> None:
    """One file with what was found; None where the case cannot be read."""
    facts: dict[str, Any] = {"problems": [asdict(problem) for problem in problems]}
    arrays = {}
    if case is not None:
        content = {key: getattr(case, key) for key in case.__dataclass_fields__}
        arrays = {key: content.pop(key) for key in ("sample", "thumbnail")}
        facts["case"] = content
    with writing(path) as partial, partial.open("wb") as file:
        np.savez(file, facts=np.array(json.dumps(facts)), **arrays)


def read_case(path: Path) -> tuple[CaseFingerprint | None, list[Problem]]:
    """What `write_case` wrote.

    Raises:
      OSError, ValueError, KeyError: the file is not there, or damaged.
    """
    with path.open("rb") as file, np.load(file) as arrays:
        facts = json.loads(str(arrays["facts"]))
        problems = [Problem(**problem) for problem in facts["problems"]]
        if "case" not in facts:
            return None, problems
        content = facts["case"]
        for key in ("shape", "spacing", "box", "lows", "highs"):
            content[key] = None if content[key] is None else tuple(content[key])
        content["counts"] = {int(value): count for value, count in content["counts"].items()}
        if content["colours"] is not None:
            content["colours"] = {int(label): tuple(colour) for label, colour in content["colours"].items()}
        return CaseFingerprint(**content, sample=arrays["sample"], thumbnail=arrays["thumbnail"]), problems


def _spread(rows: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(float, one)) for one in (rows.min(0), np.median(rows, 0), rows.max(0)))


def _intensities(values: np.ndarray) -> Intensities | None:
    if not len(values):
        return None
    wide = values.astype(np.float64)
    low, median, high = np.percentile(wide, (PERCENTILES[0], 50, PERCENTILES[1]))
    return Intensities(float(wide.mean()), float(wide.std()), float(median), float(low), float(high))
