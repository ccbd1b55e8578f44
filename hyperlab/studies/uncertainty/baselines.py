"""What needs no network, scored as the networks are: Otsu's threshold, and a logistic regression of pixels."""

import numpy as np

from hyperlab.studies.uncertainty import scoring
from hyperlab.studies.uncertainty.cells import TEST, VALIDATION
from hyperlab.studies.uncertainty.data import Benchmark
from hyperlab.studies.uncertainty.programs import of_passes
from hyperlab.train.units import Measurements
from hyperlab.uncertainty import floors

OVERLAPS = ("dice", "iou", "precision", "recall", "area", "predicted_area")


def measure(data: Benchmark, rules: scoring.ScoringRules) -> Measurements:
    """Scores the baselines on every split.

    Args:
      data: the study's images; both baselines are fitted to the training split.
      rules: of the study.

    Returns:
      `<baseline>/<split>/pass/<measure>`, see `scoring.measures`; of Otsu, which has no probabilities, the overlaps
      alone.
    """
    train, classes = data.splits.train, len(data.splits.classes)
    bright = floors.objects_are_bright(train.images, train.labels)
    pixels = floors.fit_pixels(train.images, train.labels, classes)
    result: Measurements = {}
    temperature = 1.0
    for name, split in data.evaluated.items():
        masks = floors.otsu(split.images, bright)
        # one foreground: with more classes its mask is of all of them
        sure = np.stack([~masks, masks], -1).astype(np.float32)
        truth = split._replace(labels=(split.labels > 0).astype(np.int32))
        no_entropy = np.zeros(masks.shape, np.float32)
        overlap = scoring.measures(of_passes(sure[None]), truth, no_entropy, rules, errors=False)
        result |= {f"otsu/{name}/pass/{key}": overlap[key] for key in OVERLAPS}
        maps = of_passes(pixels.probabilities(split.images)[None])
        if name == VALIDATION:
            temperature = scoring.temperature(maps.mean, split)
        measured = scoring.measures(maps, split, maps.total, rules, temperature=temperature, whole=name == TEST)
        result |= {f"logistic/{name}/pass/{key}": value for key, value in measured.items()}
    return result
