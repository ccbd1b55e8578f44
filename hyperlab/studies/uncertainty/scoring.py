"""What the answers of a network are worth: its masks, its probabilities, and its maps of what it does not know.

Every map of uncertainty is judged on the errors of the mask that it comes with, beside scores that need no sampling:
the entropy of one pass without dropout, and minus the distance to the predicted boundary.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from hyperlab import uncertainty
from hyperlab.errors import DataError
from hyperlab.studies.uncertainty.data import Part
from hyperlab.uncertainty import association, calibration, detection, features, image_scores, objects, proper, selective
from hyperlab.uncertainty import reliability as binned
from hyperlab.uncertainty import temperature as tempering

MAPS = ("epistemic", "aleatoric", "total", "variance")
PROBED = "*_dropout"  # the output of every block, where it may be dropped
REMOVALS = 4  # draws of the channels that are removed

Measured = dict[str, np.ndarray]


class Judging(NamedTuple):
    """How answers are judged; a config's group of the same name.

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


def score(probabilities: np.ndarray, part: Part) -> Measured:
    """`nll` and `dice` of probabilities: what choices are made by.

    A network that diverged has the likelihood of one that is sure and wrong everywhere.
    """
    nll, overlap = _quality(probabilities, part.labels)
    nll = float(np.mean(nll.finish()))
    return {
        "nll": np.array(nll if np.isfinite(nll) else -np.log(proper.SMALLEST)),
        "dice": np.array(_mean(np.asarray(overlap.dice))),
    }


def temperature(probabilities: np.ndarray, part: Part) -> float:
    """The temperature of the mean probability with the best likelihood; 1 of a network that diverged."""
    if not np.isfinite(probabilities).all():
        return 1.0
    return tempering.fit_mean(probabilities, part.labels).value


def finite(maps: uncertainty.Maps) -> uncertainty.Maps:
    """Maps of a network that diverged: it sees background everywhere, and is sure. Others stay as they are."""
    if all(np.isfinite(values).all() for values in maps):
        return maps
    sure = np.zeros_like(maps.mean)
    sure[..., 0] = 1
    return uncertainty.Maps(sure, *(np.zeros_like(values) for values in maps[1:]))


def judged(
    maps: uncertainty.Maps,
    part: Part,
    one_pass: np.ndarray,
    settings: Judging,
    *,
    masks: np.ndarray | None = None,
    temperature: float = 1.0,
    errors: bool = True,
    whole: bool = False,
) -> Measured:
    """All measures of an answer on a part.

    Args:
      maps: of the answer, on the host.
      part: its images and labels.
      one_pass: `[n, height, width]`, the entropy of the same network's pass without dropout.
      settings: see `Judging`.
      masks: bool `[n, draws, height, width]`, for an answer of several.
      temperature: of the mean probability, from the validation split.
      errors: whether it is asked how well maps find errors of pixels.
      whole: with what only the test split is judged by; then `errors` as well.

    Returns:
      Of every image, `[n]`: `dice`, `iou`, `precision`, `recall` (means over foreground classes), `area`,
      `predicted_area`, `intensity`, and for each map and `one_pass` `score/<map>`. Of all pixels: `nll`, `brier` (over
      classes), `tempered/nll`, `tempered/ece_top_label`, `temperature`, and calibration errors, `ece_top_label`,
      `ece_top_label_foreground` (where truth or prediction have foreground), `ece_marginal`, `adaptive_top_label`. In
      a band round the boundary and over the image, for each map and trivial score, `auroc/<region>/<name>` and
      `aupr/<region>/<name>`. With `whole`, see `_within_domain`.
    """
    probabilities, labels = maps.mean, part.labels
    predicted = probabilities.argmax(-1)
    foreground = (labels > 0) | (predicted > 0)
    nll, overlap = _quality(probabilities, labels)
    tempered = np.asarray(tempering.tempered_mean(probabilities, temperature))
    result = {name: _over_classes(np.asarray(values)) for name, values in overlap._asdict().items()}
    result |= {
        "nll": np.mean(nll.finish()),
        "brier": np.mean(_brier(probabilities, labels).finish()),
        "temperature": np.array(temperature),
        "tempered/nll": np.mean(_quality(tempered, labels)[0].finish()),
        "tempered/ece_top_label": _expected(*_top_label(tempered, labels), None, settings.bins),
        "ece_top_label": _expected(*_top_label(probabilities, labels), None, settings.bins),
        "ece_top_label_foreground": _expected(*_top_label(probabilities, labels), foreground, settings.bins),
        "ece_marginal": np.mean(
            [
                _expected(*_marginal(probabilities, labels, label), None, settings.bins)
                for label in range(1, probabilities.shape[-1])
            ]
        ),
        "area": (labels > 0).sum((1, 2)),
        "predicted_area": (predicted > 0).sum((1, 2)),
        "intensity": part.images.mean((1, 2, 3)),
    }
    scored = {name: getattr(maps, name) for name in MAPS} | {"one_pass": one_pass}
    of_image = image_scores.SCORES[settings.score]
    result |= {f"score/{name}": of_image(values, predicted) for name, values in scored.items()}
    if errors or whole:
        result |= _found(predicted, labels, scored, settings)
    if whole:
        result |= _within_domain(maps, part, scored, result, settings)
    if masks is not None:
        structure = uncertainty.structure(jnp.asarray(masks), jnp.asarray(predicted > 0))
        result |= {f"structure/{name}": values for name, values in structure._asdict().items()}
    return {name: np.asarray(value) for name, value in result.items()}


def _found(predicted, labels, scored, settings) -> Measured:
    """How well maps and minus the distance to the boundary find wrong pixels, over the image and in the band."""
    errors, result = predicted != labels, {}
    distance = detection.distance_to_boundary(predicted)
    band = detection.boundary_band(predicted, settings.band)
    for region, inside in (("image", None), ("band", band)):
        for name, values in (scored | {"distance": -distance}).items():
            found = detection.detection(values, errors, inside)
            result |= {f"auroc/{region}/{name}": found.auroc, f"aupr/{region}/{name}": found.aupr}
    return result


def _within_domain(maps, part, scored, measured, settings) -> Measured:
    """Further measures of the domain.

    `adaptive_top_label`; `reliability/<confidence | accuracy | share>` `[bins]`; of each map and of one pass,
    `aurc/<unit>/<map>` and `excess_aurc/...` over pixels, objects and images, `auroc/object/<map>`, `spearman/<map>`
    and `partial_spearman/<map>` of image score and Dice; `objects`, how many there are, and `object_errors`.
    """
    top = _top_label(maps.mean, part.labels)
    sums = binned.equal_width(*top, bins=settings.bins)
    adaptive = binned.equal_mass(*top, bins=settings.bins)
    diagram = binned.diagram(binned.pooled(sums))
    result: dict[str, Any] = {"adaptive_top_label": calibration.expected_calibration_error(adaptive)}
    result |= {f"reliability/{name}": values for name, values in diagram._asdict().items()}
    predicted = maps.mean.argmax(-1)
    rows: dict[str, list] = {name: [] for name in scored}
    wrong: list[np.ndarray] = []
    for index, mask in enumerate(predicted > 0):
        table = objects.object_table(mask, {name: values[index] for name, values in scored.items()})
        wrong.append(objects.match_objects(mask, part.labels[index] > 0).error)
        for name in scored:
            rows[name].append(table[f"mean_{name}"])
    object_errors, errors = np.concatenate(wrong), predicted != part.labels
    dice = measured["dice"]
    known = ~np.isnan(dice) & (measured["area"] > 0)
    size = np.log(np.maximum(measured["area"], 1))
    for name, values in scored.items():
        image, each = measured[f"score/{name}"], np.concatenate(rows[name])
        result[f"auroc/object/{name}"] = detection.detection(each, object_errors, exact=True).auroc
        for unit, doubt, error in (
            ("pixel", values.ravel(), errors.ravel()),
            ("object", each, object_errors),
            ("image", image[known], 1 - dice[known]),
        ):
            result |= _areas(unit, name, doubt, error)
        result[f"spearman/{name}"] = association.spearman(image[known], dice[known])
        result[f"partial_spearman/{name}"] = association.partial_spearman(image[known], dice[known], size[known])
    return result | {"objects": len(object_errors), "object_errors": object_errors.sum()}


def _areas(unit: str, name: str, doubt: np.ndarray, errors: np.ndarray) -> dict[str, float]:
    if not errors.size:
        return {f"aurc/{unit}/{name}": np.nan, f"excess_aurc/{unit}/{name}": np.nan}
    curve = selective.risk_coverage(doubt, errors)
    return {
        f"aurc/{unit}/{name}": selective.aurc(curve),
        f"excess_aurc/{unit}/{name}": selective.excess_aurc(curve, errors),
    }


def shown(maps: uncertainty.Maps, count: int) -> Measured:
    """What figures show of the first images: the mean probability of a foreground and three maps."""
    found = {name: getattr(maps, name)[:count] for name in ("epistemic", "aleatoric", "total")}
    return found | {"foreground": 1 - maps.mean[:count, ..., 0], "predicted": maps.mean[:count].argmax(-1)}


# -- feature maps -------------------------------------------------------------------------------------------------


def probed(module: nn.Module, params: Any, part: Part, settings: Judging, seed: int) -> Measured:
    """How independent the feature maps of a network are, nothing being dropped, and what it can spare of them.

    Returns:
      Over the outputs of all blocks, within foreground and background: `<region>/mean_absolute`, `/above_half`,
      `/effective_rank` (as a share of the channels), `/live` (a share); `layers`, how many have places enough.
      `kept_dice`, `[n]`: of the mask when a share of every block's channels is removed, mean over draws of which.
    """
    found: dict[str, list[float]] = {}
    outputs, layers = _capture(module)({"params": params}, jnp.asarray(part.images)), 0
    for activations in outputs.values():
        try:
            regions = features.region_pixels(activations, part.labels, seed=seed)
        except DataError:  # a layer too coarse for any of its places to lie within an object
            continue
        layers += 1
        for region, values in regions.items():
            one = _independence(values)
            shares = {
                "mean_absolute": one.mean_absolute,
                "above_half": one.above_half,
                "effective_rank": one.effective_rank / one.channels,
                "live": one.live / one.channels,
            }
            for name, value in shares.items():
                found.setdefault(f"{region}/{name}", []).append(float(value))
    forward = _without(module, settings.removed)
    images = jnp.asarray(part.images)
    keys = jax.random.split(jax.random.key(seed), REMOVALS)
    kept = [_dice(forward(key, {"params": params}, images), jnp.asarray(part.labels)) for key in keys]
    result = {name: np.array(_mean(np.array(values))) for name, values in found.items()}
    return result | {"layers": np.array(layers), "kept_dice": np.mean([_over_classes(np.asarray(d)) for d in kept], 0)}


@functools.cache
def _capture(module: nn.Module):
    return jax.jit(lambda variables, images: features.capture(module, variables, images, PROBED))


@functools.cache
def _without(module: nn.Module, share: float):
    forward = features.without_channels(module, PROBED, share)
    return jax.jit(lambda key, variables, images: jax.nn.softmax(forward(key, variables, images)))


# -- parts --------------------------------------------------------------------------------------------------------


@jax.jit
def _quality(probabilities, labels):
    return proper.nll(probabilities, labels), proper.overlap(probabilities, labels)


_dice = jax.jit(lambda probabilities, labels: proper.overlap(probabilities, labels).dice)
_brier = jax.jit(proper.brier_over_classes)
_top_label = jax.jit(binned.top_label)
_marginal = jax.jit(binned.marginal, static_argnums=2)
_equal_width = jax.jit(binned.equal_width, static_argnames="bins")
_independence = jax.jit(features.independence)


def _expected(confidence: Any, correct: Any, mask: Any, bins: int) -> float:
    sums = binned.pooled(_equal_width(confidence, correct, mask, bins=bins))
    return float(calibration.expected_calibration_error(sums))


def _over_classes(values: np.ndarray) -> np.ndarray:
    """The mean over foreground classes of each image; NaN where none is defined."""
    known = ~np.isnan(values)
    count = known.sum(-1)
    total = np.where(known, values, 0).sum(-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _mean(values: np.ndarray) -> float:
    """The mean of what is defined; NaN where nothing is."""
    known = np.ravel(values)[~np.isnan(np.ravel(values))]
    return float(known.mean()) if known.size else float("nan")


def settings_of(config: Mapping[str, Any]) -> Judging:
    """The settings of a config's group."""
    return Judging(**dict(config))
