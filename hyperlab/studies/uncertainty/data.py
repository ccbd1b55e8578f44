"""The images of the uncertainty study: a domain in three splits, and the test images shifted away from it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from hyperlab.data import load
from hyperlab.data.labelled_pixels import folder_options
from hyperlab.data.shifts import shifted
from hyperlab.data.splits import Splits, fingerprint
from hyperlab.errors import ConfigError

GENERATED = "parasites"  # the set whose scenes can be drawn again, shifted


class Part(NamedTuple):
    """Images that networks are judged on.

    Attributes:
      images: float32 `[n, height, width, channel]` in 0..1.
      labels: int32 `[n, height, width]`, 0 for background.
    """

    images: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Material:
    """A study's data.

    Attributes:
      splits: the domain.
      parts: `validation`, `test`, and what is judged beside them: `<shift>/<severity>`, `border/<pixels>`,
        `other/<kind>`.
      fingerprint: of all of them.
    """

    splits: Splits
    parts: Mapping[str, Part]
    fingerprint: str

    @property
    def shape(self) -> tuple[int, ...]:
        """`(height, width, channel)`."""
        return self.splits.image_shape


def build(config: Any) -> Material:
    """The data that a config's group `data` describes.

    Raises:
      ConfigError: a class an image in place of one a pixel; volumes; an option that the set does not have.
      DataError: from the readers.
    """
    data = config.data
    check_borders(data)
    splits = _splits(data, data.kind, **_scene(data))
    if splits.train.labels.ndim != 3:
        raise ConfigError(
            f"data.name is {data.name!r}, whose labels have the shape {splits.train.labels.shape}; the study segments "
            "images, with one class a pixel"
        )
    parts = {name: Part(part.images, part.labels) for name, part in splits.parts().items() if name != "train"}
    for shift in data.shifts:
        for severity in data.severities:
            parts[f"{shift}/{severity}"] = _shifted(data, parts["test"], shift, severity)
    for border in data.borders:
        parts[f"border/{border:g}"] = _test(data, border=float(border))
    for kind in data.other_kinds:
        whole = _splits(data, kind).parts().values()
        parts[f"other/{kind}"] = Part(*(np.concatenate([getattr(s, name) for s in whole]) for name in Part._fields))
    arrays = [array for part in parts.values() for array in part]
    return Material(splits, parts, fingerprint(np.frombuffer(splits.fingerprint.encode(), np.uint8), *arrays))


def check_borders(data: Any) -> None:
    """Refuses borders of images that were not drawn.

    Raises:
      ConfigError: the set.
    """
    if data.borders and data.name != GENERATED:
        raise ConfigError(
            f"data.borders is for {GENERATED!r}; a border of known width cannot be given to {data.name!r}"
        )


def _splits(data: Any, kind: str, **scene: Any) -> Splits:
    options = {"size": tuple(data.size), **folder_options(data), **scene}
    if kind:
        options["kind"] = kind
    return load(data.name, data.root or None, split_seed=data.split_seed, limit=dict(data.limit) or None, **options)


def _scene(data: Any) -> dict[str, Any]:
    return {"count": data.count, "difficulty": data.difficulty} if data.name == GENERATED else {}


def _test(data: Any, **scene: Any) -> Part:
    """The test images, drawn again with something changed: which images they are does not depend on it."""
    test = _splits(data, "", **_scene(data), **scene).test
    return Part(test.images, test.labels)


def _shifted(data: Any, test: Part, shift: str, severity: int) -> Part:
    if data.name == GENERATED:
        return _test(data, shift=shift, severity=severity)
    return Part(*shifted(test.images, shift, severity, data.split_seed, test.labels))
