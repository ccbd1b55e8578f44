"""The images of the uncertainty study: a domain in three splits, and the test images shifted away from it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np

from hyperlab.data import load
from hyperlab.data.labelled_pixels import folder_options
from hyperlab.data.shifts import shifted
from hyperlab.data.splits import Splits, fingerprint
from hyperlab.errors import ConfigError
from hyperlab.studies.uncertainty.cells import TEST, VALIDATION, border_name, others, shifts

GENERATED = "parasites"  # the set whose scenes can be drawn again, shifted


class EvalSplit(NamedTuple):
    """Images that answers are scored on.

    Attributes:
      images: float32 `[n, height, width, channel]` in 0..1.
      labels: int32 `[n, height, width]`, 0 for background.
    """

    images: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Benchmark:
    """A study's data.

    Attributes:
      splits: the domain.
      evaluated: what answers are scored on, by its name in `cells.evaluated`.
      fingerprint: of all of them.
    """

    splits: Splits
    evaluated: Mapping[str, EvalSplit]
    fingerprint: str

    @property
    def name(self) -> str:
        """Of the domain."""
        return self.splits.name

    @property
    def shape(self) -> tuple[int, ...]:
        """`(height, width, channel)`."""
        return self.splits.image_shape


def build(config: Any) -> Benchmark:
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
    found = {name: EvalSplit(part.images, part.labels) for name, part in splits.parts().items()}
    evaluated = {name: found[name] for name in (VALIDATION, TEST)}
    for name, shift, severity in shifts(data):
        evaluated[name] = _shifted(data, evaluated[TEST], shift, severity)
    for width in data.borders:
        evaluated[border_name(width)] = _test(data, border=float(width))
    for name, kind in others(data):
        whole = _splits(data, kind).parts().values()
        evaluated[name] = EvalSplit(*(np.concatenate([getattr(s, k) for s in whole]) for k in EvalSplit._fields))
    arrays = [array for split in evaluated.values() for array in split]
    return Benchmark(splits, evaluated, fingerprint(np.frombuffer(splits.fingerprint.encode(), np.uint8), *arrays))


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


def _test(data: Any, **scene: Any) -> EvalSplit:
    """The test images, drawn again with something changed: which images they are does not depend on it."""
    test = _splits(data, "", **_scene(data), **scene).test
    return EvalSplit(test.images, test.labels)


def _shifted(data: Any, test: EvalSplit, shift: str, severity: int) -> EvalSplit:
    if data.name == GENERATED:
        return _test(data, shift=shift, severity=severity)
    images, labels = shifted(test.images, shift, severity, data.split_seed, test.labels)
    return EvalSplit(images, cast("np.ndarray", labels))  # given labels, it returns labels
