"""What needs no network, judged as the networks are: Otsu's threshold, and a logistic regression of pixels."""

import numpy as np

from hyperlab.studies.uncertainty import scoring as judging
from hyperlab.studies.uncertainty.data import Material
from hyperlab.studies.uncertainty.programs import of_passes
from hyperlab.studies.uncertainty.scoring import Judging
from hyperlab.train.units import Measurements
from hyperlab.uncertainty import floors

FLOORS = {"otsu": "Otsu's threshold", "logistic": "logistic regression of pixels"}


def measure(material: Material, settings: Judging) -> Measurements:
    """Judges the floors on every part.

    Args:
      material: the study's images; both are fitted to the training split.
      settings: of the study.

    Returns:
      `<floor>/<part>/pass/<measure>`, see `judging.judged`; of Otsu, which has no probabilities, the overlaps alone.
    """
    train, classes = material.splits.train, len(material.splits.classes)
    bright = floors.objects_are_bright(train.images, train.labels)
    pixels = floors.fit_pixels(train.images, train.labels, classes)
    result, temperature = {}, 1.0
    for name, part in material.parts.items():
        masks = floors.otsu(part.images, bright)
        # one foreground: with more classes its mask is of all of them
        sure = np.stack([~masks, masks], -1).astype(np.float32)
        truth = part._replace(labels=(part.labels > 0).astype(np.int32))
        overlap = judging.judged(
            of_passes(sure[None]), truth, np.zeros(masks.shape, np.float32), settings, errors=False
        )
        kept = ("dice", "iou", "precision", "recall", "area", "predicted_area")
        result |= {f"otsu/{name}/pass/{key}": overlap[key] for key in kept}
        maps = of_passes(pixels.probabilities(part.images)[None])
        if name == "validation":
            temperature = judging.temperature(maps.mean, part)
        measured = judging.judged(maps, part, maps.total, settings, temperature=temperature, whole=name == "test")
        result |= {f"logistic/{name}/pass/{key}": value for key, value in measured.items()}
    return result
