"""Which test cases there are, kept for the report; and the exported network on them, in the field names of nnU-Net."""

from typing import Any

import numpy as np

from hyperlab.metrics import per_case, surface
from hyperlab.studies.rescaling.units import Units
from hyperlab.train.units import Measurements

CASES = "cases"


def names(units: Units) -> list[str]:
    """Names of the test images; where the source has none, their places in it."""
    test = units.splits.test
    return [str(name) for name in (test.index if test.names is None else test.names)]


def keep(units: Units) -> None:
    """Writes down the names of test images and classes, once."""

    def cases() -> Measurements:
        return {"names": np.array(names(units)), "classes": np.array(units.splits.classes)}

    units.files.measure(CASES, cases)


def summary(units: Units, trial: Any, theta: Any, factor: float) -> dict[str, Any]:
    """What a network at a factor does on every test image, see `hyperlab.metrics.per_case.summary`."""
    test, classes = units.splits.test, units.splits.classes
    labels = trial.labels(theta, factor, test)
    far = surface.per_class(
        labels, test.labels, len(classes), spacing=test.spacing, tolerance=units.config.surface_tolerance
    )
    return per_case.summary(trial.count(labels, test.labels), names(units), classes, extra=far._asdict())
