"""Scores of answers: of masks, of probabilities, and of maps of uncertainty.

Every map is scored on the errors of the mask that it comes with, beside scores that need no sampling: the entropy of
one pass without dropout, and minus the distance to the predicted boundary.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab import uncertainty
from hyperlab.metrics.defined import mean_defined
from hyperlab.studies.uncertainty.data import EvalSplit
from hyperlab.uncertainty import association, calibration, detection, image_scores, objects, proper, selective
from hyperlab.uncertainty import reliability as binned
from hyperlab.uncertainty import temperature as tempering

MAPS = ("epistemic", "aleatoric", "total", "variance")

Array = np.ndarray | jax.Array
Measured = dict[str, np.ndarray]


class ScoringRules(NamedTuple):
    """How answers are scored: a config's group `judging`.

    Attributes:
      band: pixels on both sides of the predicted boundary that errors are also looked for in.
      map: the map that stands for an answer of several networks or draws; `total` for one pass.
      score: how a map becomes one number an image, of `uncertainty.image_scores.SCORES`.
      target: mean Dice that images accepted unseen shall have.
      bins: of calibration.
      removed: share of the channels that is removed to see what a network can spare.
      shown: images that are kept for figures.
    """

    band: float = 3.0
    map: str = "epistemic"
    score: str = "foreground"
    target: float = 0.9
    bins: int = 15
    removed: float = 0.2
    shown: int = 4


def score(probabilities: Array, split: EvalSplit) -> Measured:
    """`nll` and `dice` of probabilities: what choices are made by.

    A network that diverged has the likelihood of one that is sure and wrong everywhere.
    """
    nll, overlap = _quality(probabilities, split.labels)
    nll = float(np.mean(nll.finish()))
    return {
        "nll": np.array(nll if np.isfinite(nll) else -np.log(proper.SMALLEST)),
        "dice": np.array(_mean(np.asarray(overlap.dice))),
    }


def temperature(probabilities: Array, split: EvalSplit) -> float:
    """The temperature of the mean probability with the best likelihood; 1 of a network that diverged."""
    if not np.isfinite(probabilities).all():
        return 1.0
    return tempering.fit_mean(probabilities, split.labels).value


def finite(maps: uncertainty.Maps) -> uncertainty.Maps:
    """Maps of a network that diverged: it sees background everywhere, and is sure. Others stay as they are."""
    if all(np.isfinite(values).all() for values in maps):
        return maps
    sure = np.zeros_like(maps.mean)
    sure[..., 0] = 1
    return uncertainty.Maps(sure, *(np.zeros_like(values) for values in maps[1:]))


def measures(
    maps: uncertainty.Maps,
    split: EvalSplit,
    one_pass: Array,
    rules: ScoringRules,
    *,
    masks: np.ndarray | None = None,
    temperature: float = 1.0,
    errors: bool = True,
    whole: bool = False,
) -> Measured:
    """All measures of an answer on a split.

    Args:
      maps: of the answer, on the host.
      split: its images and labels.
      one_pass: `[n, height, width]`, the entropy of the same network's pass without dropout.
      rules: see `ScoringRules`.
      masks: bool `[n, draws, height, width]`, for an answer of several.
      temperature: of the mean probability, from the validation split.
      errors: whether it is asked how well maps find errors of pixels.
      whole: with what only the test split is scored by; then `errors` as well.

    Returns:
      Of every image, `[n]`: `dice`, `iou`, `precision`, `recall` (means over foreground classes), `area`,
      `predicted_area`, `intensity`, and for each map and `one_pass` `score/<map>`. Of all pixels: `nll`, `brier` (over
      classes), `tempered/nll`, `tempered/ece_top_label`, `temperature`, and calibration errors, `ece_top_label`,
      `ece_top_label_foreground` (where truth or prediction have foreground), `ece_marginal`, `adaptive_top_label`. In
      a band round the boundary and over the image, for each map and trivial score, `auroc/<region>/<name>` and
      `aupr/<region>/<name>`. With `whole`, see `_within_domain`.
    """
    probabilities, labels = maps.mean, split.labels
    predicted = probabilities.argmax(-1)
    foreground = (labels > 0) | (predicted > 0)
    nll, overlap = _quality(probabilities, labels)
    tempered = np.asarray(tempering.tempered_mean(probabilities, temperature))
    result: dict[str, Any] = {name: mean_defined(np.asarray(values)) for name, values in overlap._asdict().items()}
    result |= {
        "nll": np.mean(nll.finish()),
        "brier": np.mean(_brier(probabilities, labels).finish()),
        "temperature": np.array(temperature),
        "tempered/nll": np.mean(_quality(tempered, labels)[0].finish()),
        "tempered/ece_top_label": _expected(*_top_label(tempered, labels), None, rules.bins),
        "ece_top_label": _expected(*_top_label(probabilities, labels), None, rules.bins),
        "ece_top_label_foreground": _expected(*_top_label(probabilities, labels), foreground, rules.bins),
        "ece_marginal": np.mean(
            [
                _expected(*_marginal(probabilities, labels, label), None, rules.bins)
                for label in range(1, probabilities.shape[-1])
            ]
        ),
        "area": (labels > 0).sum((1, 2)),
        "predicted_area": (predicted > 0).sum((1, 2)),
        "intensity": split.images.mean((1, 2, 3)),
    }
    scored: dict[str, Array] = {name: getattr(maps, name) for name in MAPS} | {"one_pass": one_pass}
    of_image = image_scores.SCORES[rules.score]
    result |= {f"score/{name}": of_image(values, predicted) for name, values in scored.items()}
    if errors or whole:
        result |= _error_detection(predicted, labels, scored, rules)
    if whole:
        result |= _within_domain(maps, split, scored, result, rules)
    if masks is not None:
        structure = uncertainty.structure(jnp.asarray(masks), jnp.asarray(predicted > 0))
        result |= {f"structure/{name}": values for name, values in structure._asdict().items()}
    return {name: np.asarray(value) for name, value in result.items()}


def _error_detection(
    predicted: Array, labels: np.ndarray, scored: dict[str, Array], rules: ScoringRules
) -> dict[str, Any]:
    """How well maps and minus the distance to the boundary find wrong pixels, over the image and in the band."""
    result: dict[str, Any] = {}
    errors = predicted != labels
    distance = detection.distance_to_boundary(predicted)
    band = detection.boundary_band(predicted, rules.band)
    for region, inside in (("image", None), ("band", band)):
        for name, values in (scored | {"distance": -distance}).items():
            found = detection.detection(values, errors, inside)
            result |= {f"auroc/{region}/{name}": found.auroc, f"aupr/{region}/{name}": found.aupr}
    return result


def _within_domain(
    maps: uncertainty.Maps,
    split: EvalSplit,
    scored: dict[str, Array],
    measured: Mapping[str, Any],
    rules: ScoringRules,
) -> dict[str, Any]:
    """Further measures of the domain.

    `adaptive_top_label`; `reliability/<confidence | accuracy | share>` `[bins]`; of each map and of one pass,
    `aurc/<unit>/<map>` and `excess_aurc/...` over pixels, objects and images, `auroc/object/<map>`, `spearman/<map>`
    and `partial_spearman/<map>` of image score and Dice; `objects`, how many there are, and `object_errors`.
    """
    top = _top_label(maps.mean, split.labels)
    sums = binned.equal_width(*top, bins=rules.bins)
    adaptive = binned.equal_mass(*top, bins=rules.bins)
    diagram = binned.diagram(binned.pooled(sums))
    result: dict[str, Any] = {"adaptive_top_label": calibration.expected_calibration_error(adaptive)}
    result |= {f"reliability/{name}": values for name, values in diagram._asdict().items()}
    predicted = maps.mean.argmax(-1)
    rows: dict[str, list] = {name: [] for name in scored}
    wrong: list[np.ndarray] = []
    for index, mask in enumerate(predicted > 0):
        table = objects.object_table(mask, {name: values[index] for name, values in scored.items()})
        wrong.append(objects.match_objects(mask, split.labels[index] > 0).error)
        for name in scored:
            rows[name].append(table[f"mean_{name}"])
    object_errors, errors = np.concatenate(wrong), predicted != split.labels
    dice = measured["dice"]
    known = ~np.isnan(dice) & (measured["area"] > 0)
    size = np.log(np.maximum(measured["area"], 1))
    for name, values in scored.items():
        image, each = measured[f"score/{name}"], np.concatenate(rows[name])
        result[f"auroc/object/{name}"] = detection.detection(each, object_errors, exact=True).auroc
        for unit, scores, error in (
            ("pixel", values.ravel(), errors.ravel()),
            ("object", each, object_errors),
            ("image", image[known], 1 - dice[known]),
        ):
            result |= _areas(unit, name, scores, error)
        result[f"spearman/{name}"] = association.spearman(image[known], dice[known])
        result[f"partial_spearman/{name}"] = association.partial_spearman(image[known], dice[known], size[known])
    return result | {"objects": len(object_errors), "object_errors": object_errors.sum()}


def _areas(unit: str, name: str, scores: Array, errors: Array) -> dict[str, float]:
    if not errors.size:
        return {f"aurc/{unit}/{name}": np.nan, f"excess_aurc/{unit}/{name}": np.nan}
    curve = selective.risk_coverage(scores, errors)
    return {
        f"aurc/{unit}/{name}": selective.aurc(curve),
        f"excess_aurc/{unit}/{name}": selective.excess_aurc(curve, errors),
    }


def shown(maps: uncertainty.Maps, count: int) -> Measured:
    """What figures show of the first images: the mean probability of a foreground and three maps."""
    found = {name: getattr(maps, name)[:count] for name in ("epistemic", "aleatoric", "total")}
    return found | {"foreground": 1 - maps.mean[:count, ..., 0], "predicted": maps.mean[:count].argmax(-1)}


# -- compiled -----------------------------------------------------------------------------------------------------


@jax.jit
def _quality(probabilities, labels):
    return proper.nll(probabilities, labels), proper.overlap(probabilities, labels)


_brier = jax.jit(proper.brier_over_classes)
_top_label: Callable[..., tuple[jax.Array, jax.Array]] = jax.jit(binned.top_label)
_marginal: Callable[..., tuple[jax.Array, jax.Array]] = jax.jit(binned.marginal, static_argnums=2)
_equal_width = jax.jit(binned.equal_width, static_argnames="bins")


def _expected(confidence: Any, correct: Any, mask: Any, bins: int) -> float:
    sums = binned.pooled(_equal_width(confidence, correct, mask, bins=bins))
    return float(calibration.expected_calibration_error(sums))


def _mean(values: np.ndarray) -> float:
    """The mean of what is defined; NaN where nothing is."""
    known = np.ravel(values)[~np.isnan(np.ravel(values))]
    return float(known.mean()) if known.size else float("nan")
