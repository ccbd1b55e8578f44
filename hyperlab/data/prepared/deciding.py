"""What is done to a set, decided from its fingerprint and from what was asked for."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hyperlab.data.prepared.fingerprint import CaseFingerprint, SetFingerprint, fingerprint_set
from hyperlab.data.prepared.geometry import kept_axes
from hyperlab.data.prepared.normalisation import Channel, scheme_of
from hyperlab.data.prepared.preprocessing import Preprocessing
from hyperlab.data.problems import MOST_LABELS
from hyperlab.data.readers.cases import Case, Layout
from hyperlab.data.readers.descriptions import NAME, Description
from hyperlab.errors import DataError

_KEPT = 0.75  # where the median case keeps less of its volume when it is cut, z-scores are of what is not empty
SPACINGS = ("median", "keep")
_COLOURS = ("red", "green", "blue")  # of pictures whose channels nobody named


@dataclass(frozen=True)
class Wishes:
    """What was asked for.

    Attributes:
      spacing: `"median"`, `"keep"`, or mm (one number, or one an axis).
      channels: names, or None: the files decide.
      classes: of the label values; None: the values.
      foreground: all labels above 0 are one class.
    """

    spacing: str | tuple[float, ...]
    channels: tuple[str, ...] | None
    classes: tuple[str, ...] | None
    foreground: bool

    @classmethod
    def of(cls, layout: Layout, spacing, channels: Sequence[str] | None, classes: Sequence[str] | None,
           foreground: bool) -> "Wishes":  # fmt: skip
        """The arguments of `prepare`, checked, with what `dataset.json` says where nothing was asked for.

        Raises:
          DataError: a spacing that is none; names of classes where the set or `foreground` names them.
        """
        if isinstance(spacing, str):
            if spacing not in SPACINGS:
                raise DataError(f"spacing is {spacing!r}, expected 'median', 'keep', or mm for each axis")
        else:
            spacing = tuple(map(float, spacing if isinstance(spacing, Sequence) else (spacing,)))
            if not spacing or not all(0 < step < float("inf") for step in spacing):
                raise DataError(
                    f"spacing is {spacing}, expected positive numbers (mm), one for all axes or one an axis"
                )
        if classes is not None and (foreground or layout.classes is not None):
            named = "foreground names its one class itself" if foreground else f"{NAME} names them already"
            raise DataError(f"classes are {tuple(classes)}, but {named}")
        if channels is None and layout.kind in ("nnunet", "decathlon"):
            channels = Description(layout.root).channels
        return cls(
            spacing,
            None if channels is None else tuple(channels),
            None if classes is None else tuple(classes),
            foreground,
        )

    def to_json(self) -> dict[str, Any]:
        """As what JSON gives back."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def decide(
    layout: Layout, cases: Sequence[Case], found: Sequence[CaseFingerprint], wishes: Wishes
) -> tuple[Preprocessing, SetFingerprint]:
    """The preprocessing of a set, and the fingerprint that it rests on.

    Args:
      layout: what the folder holds.
      cases: with a mask.
      found: the fingerprint of each.
      wishes: what was asked for.

    Raises:
      DataError: cases differ in axes or channels; a spacing is wanted and files have none; CT without any foreground;
        masks with too many values, or with values that the classes do not fit.
    """
    axes = max(sum(n > 1 for n in one.shape) for one in found)
    axes = min(max(axes, 2), 3)
    kept = []
    for case, one in zip(cases, found, strict=True):
        try:
            kept.append(kept_axes(one.shape, axes))
        except DataError as error:
            raise DataError(f"case {case.name}: {error}; keep images and volumes in folders of their own") from error
    train = [place for place, case in enumerate(cases) if case.part == "train"]
    seen = fingerprint_set([found[place] for place in train], [kept[place] for place in train])
    values, classes = _classes(layout, found, wishes)
    channels = _channels(layout, cases, found, wishes, seen)
    spacing = _spacing(layout, cases, found, wishes, seen, axes)
    return Preprocessing(channels, axes, spacing, classes, values, seen.cropped < _KEPT), seen


def _classes(layout: Layout, found: Sequence[CaseFingerprint], wishes: Wishes):
    if wishes.foreground:
        return (0, 1), ("background", "foreground")
    if layout.classes is not None:
        if "ignore" in layout.classes.values():
            raise DataError(
                f"{layout.root / NAME} declares an ignore label, which would be trained as a class; set these voxels "
                "to a class and remove the label"
            )
        return tuple(layout.classes), tuple(layout.classes.values())
    values = sorted({value for one in found for value in one.counts} | {0})
    if len(values) > MOST_LABELS:
        raise DataError(
            f"{layout.root}: the masks hold {len(values)} values; where these are instances, --foreground (in Python "
            "foreground=True) makes one class of them, else save masks of classes"
        )
    names = wishes.classes or tuple("background" if value == 0 else f"value {value}" for value in values)
    if len(names) != len(values):
        raise DataError(f"{len(names)} classes {names} for the {len(values)} mask values {values}")
    return tuple(values), names


def _channels(
    layout: Layout, cases: Sequence[Case], found: Sequence[CaseFingerprint], wishes: Wishes, seen: SetFingerprint
) -> tuple[Channel, ...]:
    counts = sorted({one.channels for one in found})
    if len(counts) > 1:
        odd = next(case.name for case, one in zip(cases, found, strict=True) if one.channels != found[0].channels)
        raise DataError(
            f"{layout.root} mixes images of {' and '.join(map(str, counts))} channels, for instance case {odd}; "
            "prepare each kind from a folder of its own"
        )
    pictures = all(one.picture for one in found)
    names = wishes.channels or (_COLOURS if pictures and counts[0] == 3 else tuple(map(str, range(counts[0]))))
    usual = "rgb_to_0_1" if wishes.channels is None and pictures else None  # without names pictures keep their scale
    if len(names) == 1 < counts[0]:
        names = names * counts[0]  # one name for all components of a file
    if len(names) != counts[0]:
        raise DataError(f"{layout.root}: {len(names)} channel names {tuple(names)} for images of {counts[0]} channels")
    for case, one in zip(cases, found, strict=True):
        for name, low, high in zip(names, one.lows, one.highs, strict=True):
            if (usual or scheme_of(name)) == "rgb_to_0_1" and not 0 <= low <= high <= 255:
                raise DataError(
                    f"case {case.name}: channel {name!r} spans {low:g} to {high:g}, expected 0 to 255; name it "
                    "rescale_to_0_1, or otherwise"
                )
    made = []
    for name, intensities in zip(names, seen.intensities, strict=True):
        if (scheme := usual or scheme_of(name)) != "ct":
            made.append(Channel(name, scheme))
        elif intensities is None:
            raise DataError(f"{layout.root}: no training case has any foreground, whose intensities CT is scaled by")
        else:
            of_set = (intensities.low, intensities.high, intensities.mean, intensities.deviation)
            made.append(Channel(name, scheme, *of_set))
    return tuple(made)


def _spacing(layout: Layout, cases, found: Sequence[CaseFingerprint], wishes: Wishes, seen: SetFingerprint, axes: int):
    unknown = [case.name for case, one in zip(cases, found, strict=True) if one.spacing is None]
    if wishes.spacing == "keep" or (wishes.spacing == "median" and len(unknown) == len(found)):
        return None
    if unknown:
        raise DataError(
            f"{layout.root}: the files of {len(unknown)} of {len(found)} cases have no spacing, for instance "
            f"{unknown[0]}; bring it, or prepare with --spacing keep"
        )
    if wishes.spacing == "median":
        assert seen.spacings is not None  # all are known
        return seen.spacings[1]
    given = wishes.spacing * axes if len(wishes.spacing) == 1 else wishes.spacing
    if len(given) != axes:
        raise DataError(f"spacing is {given}, expected one number, or one for each of {axes} axes")
    return given
