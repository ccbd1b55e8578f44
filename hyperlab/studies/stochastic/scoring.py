"""What candidates are worth, query by query; and where the distribution of masks is known, what draws from it would be.

The usual form of the generalised energy distance and the best candidate both improve with the number of candidates
whatever they are, so both are shown with what a perfect sampler has (`optimum`), with the unbiased distance and with
the mean candidate.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab.metrics import candidates as metrics
from hyperlab.studies.stochastic.annotated import AnnotatedTarget

# What is measured at every number of candidates, with the side that is better; "" where neither is.
MEASURES = {"ged": "lower", "ged_usual": "lower", "best": "higher", "mean": "higher", "diversity": ""}
OF_MODES = {"coverage": "higher", "frequency_error": "lower"}  # where the distribution of masks is known
LABELS = {
    "ged": "unbiased GED",
    "ged_usual": "usual GED",
    "best": "best-candidate Dice",
    "mean": "mean-candidate Dice",
    "diversity": "diversity",
    "coverage": "mode coverage",
    "frequency_error": "frequency error",
    "hungarian": "Hungarian IoU",
}


def scores(masks: Mapping[int, np.ndarray], target: AnnotatedTarget) -> dict[str, np.ndarray]:
    """All measures of one arm's candidates.

    Args:
      masks: bool `[n, K, height, width]` for each number K of candidates, increasing.
      target: with the same queries.

    Returns:
      `[numbers, n]` of each of `MEASURES` (unbiased GED and diversity are NaN for one candidate) and, where the
      distribution is known, of `OF_MODES`; `hungarian` `[n]` at the largest K; where known `frequencies`
      `[n, modes]`, there too. Distances to a known distribution are exact in its terms; Dice is with the annotators.
    """
    truth = [jnp.asarray(one) for one in (target.annotations, target.modes, target.probabilities)]
    found = [jax.tree.map(np.asarray, _scores(jnp.asarray(one), *truth)) for one in masks.values()]
    frequencies = [one.pop("frequencies", None) for one in found]
    result = {name: np.stack([one[name] for one in found]) for name in found[0]}
    result["hungarian"] = metrics.hungarian_iou(list(masks.values())[-1], target.annotations)
    return result | ({"frequencies": frequencies[-1]} if target.known else {})


@jax.jit
def _scores(masks, annotations, modes, probabilities):
    known = modes.shape[1] > 0
    reference, weights = (modes, probabilities) if known else (annotations, None)
    result = {
        "ged": metrics.energy_distance(masks, reference, probabilities=weights, unbiased=True),
        "ged_usual": metrics.energy_distance(masks, reference, probabilities=weights),
        "best": metrics.best_candidate_dice(masks, annotations),
        "mean": metrics.mean_candidate_dice(masks, annotations),
        "diversity": metrics.sample_diversity(masks, unbiased=True),
    }
    if known:
        frequencies = metrics.mode_frequencies(masks, modes)
        result["coverage"] = metrics.mode_coverage(masks, modes, probabilities)
        result["frequency_error"] = metrics.frequency_error(frequencies, probabilities)
        result["frequencies"] = frequencies
    return result


def optimum(target: AnnotatedTarget, counts: tuple[int, ...]) -> dict[str, np.ndarray]:
    """What K independent draws from the known distribution have on average, in closed form: `[numbers, n]` of each.

    With D = E[d(Y, Y')]: GED 0 and D / K, diversity D. Dice is with the annotations as they are: of modes ordered by
    their Dice with one annotation, the best of K draws is mode j with probability (1 - F_(j-1))^K - (1 - F_j)^K, F_j
    the probability of the j best ones.

    Args:
      target: with a known distribution.
      counts: numbers of candidates.

    Returns:
      The keys of `MEASURES` and `OF_MODES`.
    """
    modes, annotations = jnp.asarray(target.modes), jnp.asarray(target.annotations)
    p = np.asarray(target.probabilities, np.float64)
    among = 1 - np.asarray(metrics.overlap(modes, modes), np.float64)
    spread = np.einsum("nij,ni,nj->n", among, p, p)
    dice = np.moveaxis(
        np.asarray(metrics.overlap(modes, annotations, "dice"), np.float64), 1, 2
    )  # [n, annotators, modes]
    order = np.argsort(-dice, -1)
    sorted_dice = np.take_along_axis(dice, order, -1)
    reached = np.cumsum(np.take_along_axis(np.broadcast_to(p[:, None], dice.shape), order, -1), -1)
    missed = np.concatenate([np.ones_like(reached[..., :1]), np.clip(1 - reached, 0, 1)], -1)
    rows: dict[str, list[np.ndarray]] = {name: [] for name in (*MEASURES, *OF_MODES)}
    for count in counts:
        rows["ged"].append(np.zeros(len(p)))
        rows["ged_usual"].append(spread / count)
        rows["best"].append((sorted_dice * -np.diff(missed**count, axis=-1)).sum(-1).mean(-1))
        rows["mean"].append(np.einsum("nam,nm->na", dice, p).mean(-1))
        rows["diversity"].append(spread)
        rows["coverage"].append(metrics.sampled_coverage(p, count))
        rows["frequency_error"].append(metrics.sampled_frequency_error(p, count))
    return {name: np.stack(values) for name, values in rows.items()}
