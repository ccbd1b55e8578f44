"""Which test cases there are, kept for the report; and the exported network on them, in the field names of nnU-Net."""

from typing import Any

import numpy as np

from hyperlab.metrics import per_case, surface
from hyperlab.studies.rescaling.arms import CASES
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


def summary(study: Any, programs: Any, theta: Any, factor: float) -> dict[str, Any]:
    """What a network at a factor does on every test image, see `hyperlab.metrics.per_case.summary`."""
    test, classes = study.data.test, study.data.classes
    labels = programs.labels(theta, factor, test)
    far = surface.per_class(
        labels, test.labels, len(classes), spacing=test.spacing, tolerance=study.config.surface_tolerance
    )
    return per_case.summary(programs.count(labels, test.labels), names(study), classes, extra=far._asdict())
