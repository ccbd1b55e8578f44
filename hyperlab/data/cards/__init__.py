"""Cards of public segmentation sets: what each holds, how it is built into a store of tasks, and where it comes from.

A card is a TOML file of this folder, named after its set; nothing is downloaded. A text that is empty is not known.
"""

import re
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path

from hyperlab.data.in_context.sources import SOURCES, RawSource
from hyperlab.data.in_context.standardize import KINDS
from hyperlab.data.layouts import LAYOUTS
from hyperlab.errors import DataError, nearest


@dataclass(frozen=True)
class Card:
    """A public data set.

    Attributes:
      name: of the set, in the store too.
      title: what it is, in a line.
      layout: the reader, one of `data.in_context.sources.SOURCES` or `data.layouts.LAYOUTS`.
      modality: `"ct"`, `"mr"` or `"other"`; decides how intensities are clipped.
      channels: name of each channel; a channel is a modality of its own in the store.
      anatomy: what is shown.
      labels: name of each label value that is a task.
      subject: regular expression whose one group, found in a case's name, says whom it shows; empty: the reader knows.
      planes: axes across which volumes are cut; none of images.
      window: Hounsfield units to which CT is clipped, or None: the builder's default.
      licence, url, source: terms, place and paper; empty where not known.
      arrange: how the files have to lie, where not as they come.
    """

    name: str
    title: str
    layout: str
    modality: str
    channels: tuple[str, ...]
    anatomy: str
    labels: dict[int, str]
    subject: str
    planes: tuple[int, ...]
    window: tuple[float, float] | None
    licence: str
    url: str
    source: str
    arrange: str


_REQUIRED = ("title", "layout", "modality", "anatomy")  # texts that may not be empty
_TEXTS = (*_REQUIRED, "subject", "licence", "url", "source", "arrange")
_LISTS: dict[str, type | tuple[type, ...]] = {"channels": str, "planes": int, "window": (int, float)}


def names() -> list[str]:
    """The sets that have a card, in alphabetical order."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.toml"))


def find(name: str) -> Card:
    """The card of a set.

    Raises:
      DataError: there is none; the nearest names are given.

    >>> card = find("acdc")
    >>> card.layout, card.modality, card.planes, card.labels[1]
    ('folder', 'mr', (2,), 'right ventricle')
    """
    if name not in names():
        raise DataError(f"no card {name!r}; {nearest(name, names())}; all of them: --cards")
    return read(Path(__file__).parent / f"{name}.toml")


def read(path: str | Path) -> Card:
    """A card from its file.

    Raises:
      DataError: the file is no TOML, has an unknown or a missing key (the nearest is named), or a value out of range.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # both decoding and parsing raise a ValueError
        raise DataError(f"card {path} cannot be read: {error}") from error
    keys = [field.name for field in fields(Card) if field.name != "name"]
    for key in content:
        if key not in keys:
            raise DataError(f"card {path}: unknown key {key!r}; {nearest(key, keys)}")
    for key in keys:
        if key not in content:
            raise DataError(f"card {path}: no {key}; an empty text or list says that there is none, or none is known")
    _check_types(path, content)
    try:
        labels = {int(value): text for value, text in content["labels"].items()}
    except ValueError as error:
        raise DataError(
            f"card {path}: labels are {content['labels']}, expected whole numbers and their names"
        ) from error
    window = tuple(map(float, content["window"])) or None
    lists = {"channels": tuple(content["channels"]), "planes": tuple(content["planes"]), "window": window}
    card = Card(**{**content, "name": path.stem, "labels": labels, **lists})
    _check(path, card)
    return card


def applied(card: Card, source: RawSource) -> RawSource:
    """A data set with the names, kinds and subjects that its card gives.

    Readers of one set alone know these themselves. Other layouts take them from the card.

    Args:
      card: of the set.
      source: what `open_source` found in its folder, with the card's layout.

    Raises:
      DataError: masks hold a value, the images a channel, or a case a name that the card does not know.
    """
    if card.layout in SOURCES:
        return source
    unknown = sorted(set(source.labels) - set(card.labels))
    if unknown:
        raise DataError(
            f"{source.name}: the masks have the label values {unknown}, which card {card.name!r} does not name (it "
            f"names {sorted(card.labels)}); is it this set? {card.arrange}".strip()
        )
    if len(source.modalities) != len(card.channels):
        raise DataError(
            f"{source.name}: images have {len(source.modalities)} channels {list(source.modalities)}, card "
            f"{card.name!r} names {list(card.channels)}"
        )
    return replace(
        source,
        labels={value: card.labels[value] for value in source.labels},
        modalities=card.channels,
        kinds=(card.modality,) * len(card.channels),
        subjects=tuple(_subject(card, name) for name in source.names) if card.subject else source.subjects,
    )


def _subject(card: Card, name: str) -> str:
    found = re.search(card.subject, name)
    if found is None:
        raise DataError(
            f"case {name!r} does not fit {card.subject!r}, by which card {card.name!r} knows whom it shows; is it this "
            f"set? {card.arrange}".strip()
        )
    return found[1]


def _check_types(path: Path, content: dict) -> None:
    for key in _TEXTS:
        if not isinstance(content[key], str):
            raise DataError(f"card {path}: {key} is {content[key]!r}, expected a text")
        if key in _REQUIRED and not content[key]:
            raise DataError(f"card {path}: {key} is empty")
    for key, kind in _LISTS.items():
        if not isinstance(content[key], list) or not all(isinstance(one, kind) for one in content[key]):
            raise DataError(f"card {path}: {key} is {content[key]!r}, expected a list")
    labels = content["labels"]
    if not isinstance(labels, dict) or not labels or not all(isinstance(one, str) for one in labels.values()):
        raise DataError(f"card {path}: labels are {labels!r}, expected a table from label values to names")


def _check(path: Path, card: Card) -> None:
    for key, valid in (("layout", [*SOURCES, *LAYOUTS]), ("modality", KINDS)):
        if getattr(card, key) not in valid:
            raise DataError(f"card {path}: unknown {key} {getattr(card, key)!r}; {nearest(getattr(card, key), valid)}")
    if not card.channels:
        raise DataError(f"card {path}: no channels; an image has at least one")
    if min(card.labels) < 1 or len(set(card.labels.values())) < len(card.labels):
        raise DataError(f"card {path}: labels are {card.labels}, expected values above 0 and different names")
    if not set(card.planes) <= {0, 1, 2}:
        raise DataError(f"card {path}: planes are {card.planes}, expected axes of a volume: some of 0, 1, 2")
    if card.window and (card.modality != "ct" or len(card.window) != 2 or not card.window[0] < card.window[1]):
        raise DataError(f"card {path}: window is {card.window}, expected (low, high) Hounsfield units, and of CT alone")
    try:
        groups = re.compile(card.subject).groups
    except re.error as error:
        raise DataError(f"card {path}: subject {card.subject!r} is no regular expression: {error}") from error
    if card.subject and groups != 1:
        raise DataError(f"card {path}: subject {card.subject!r} has {groups} groups, expected one")
