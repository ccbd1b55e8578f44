"""Which test cases there are, kept for the report; and the exported network on them, in the field names of nnU-Net."""

from typing import Any

import numpy as np

from hyperlab.metrics import per_case, surface
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


def compared(study: Any, programs: Programs, prepared: Any, factor: float) -> tuple[Any, Any]:
    """Counts and surface distances of every test case, of a prepared network at a factor."""
    counts, far = [], []
    classes, tolerance = len(study.data.classes), study.config.surface_tolerance
    for labels, split in programs.predicted(prepared, factor, study.data.test):
        counts.append(programs.count(labels, split.labels))
        far.append(surface.per_class(labels, split.labels, classes, spacing=split.spacing, tolerance=tolerance))
    return joined(counts), joined(far)


def summary(study: Any, programs: Programs, theta: Any, factor: float) -> dict[str, Any]:
    """What a network at a factor does on every test image, see `hyperlab.metrics.per_case.summary`."""
    counts, far = compared(study, programs, theta, factor)
    return per_case.summary(counts, names(study), study.data.classes, extra=far._asdict())
