"""Which test cases there are, kept for the report; and the exported network on them, in the field names of nnU-Net."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from hyperlab.data.patched import Patched
from hyperlab.metrics import per_case, segmentation, surface
from hyperlab.studies.rescaling.arms import CASES
from hyperlab.studies.rescaling.programs import Programs, joined
from hyperlab.train.units import Measurements


def names(study: Any) -> list[str]:
    """Names of the test images; where the source has none, their places in it."""
    test = study.data.test
    return [str(name) for name in (test.index if test.names is None else test.names)]


def keep(study: Any) -> None:
    """Writes down the names of test images and classes, and the shape of an image, once."""

    def cases() -> Measurements:
        described = {"names": np.array(names(study)), "classes": np.array(study.data.classes)}
        return {**described, "image_shape": np.array(study.data.image_shape)}

    study.files.measure(CASES, cases)


class Compared(NamedTuple):
    """What a network makes of every test case, `[n, classes - 1]`.

    Attributes:
      counts: of right and wrong pixels.
      far: distances of surfaces.
      on_scan: Dice on the scans' own grids, of prepared sets alone; NaN where the set's files are not there any more.
    """

    counts: segmentation.Counts
    far: surface.SurfaceMetrics
    on_scan: np.ndarray | None


def compared(study: Any, programs: Programs, prepared: Any, factor: float) -> Compared:
    """Compares what a prepared network at a factor makes of the test cases with the truth."""
    counts: list[Any] = []
    far: list[Any] = []
    on_scan: list[np.ndarray] = []
    classes, tolerance = len(study.data.classes), study.config.surface_tolerance
    for labels, split, probabilities in programs.predicted(prepared, factor, study.data.test):
        counts.append(programs.count(labels, split.labels))
        far.append(surface.per_class(labels, split.labels, classes, spacing=split.spacing, tolerance=tolerance))
        if probabilities is not None:
            same = np.asarray(segmentation.dice_of(counts[-1]))[0]
            on_scan.append(_on_scan(study.data, int(split.index[0]), probabilities, programs.count, same))
    return Compared(joined(counts), joined(far), np.stack(on_scan) if on_scan else None)


def _on_scan(data: Patched, number: int, probabilities: np.ndarray, count: Callable, same: np.ndarray) -> np.ndarray:
    """Dice of a case on its scan's grid, `[classes - 1]`; `same` where that is the grid of its image."""
    placement, how = data.store.case(number).placement, data.preprocessing
    if placement.size == placement.box == tuple(placement.shape[axis] for axis in placement.axes):
        return same
    truth = data.store.mask(number)
    if truth is None:
        return np.full(same.shape, np.nan)
    labels = how.backward([probabilities] if how.axis is None else probabilities, placement)
    return np.asarray(segmentation.dice_of(count(how.indices(labels, "the prediction")[None], truth[None])))[0]


def summary(study: Any, programs: Programs, theta: Any, factor: float) -> dict[str, Any]:
    """What a network at a factor does on every test image, see `hyperlab.metrics.per_case.summary`."""
    found = compared(study, programs, theta, factor)
    return per_case.summary(found.counts, names(study), study.data.classes, extra=found.far._asdict())
