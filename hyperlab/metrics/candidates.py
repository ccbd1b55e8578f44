"""Several candidate masks of one image against several annotators, or against a distribution of masks that is known.

Two warnings that the names carry. The usual form of the generalised energy distance counts each mask's distance to
itself, 0, among the pairs: of a perfect sampler it is still E[d(Y, Y')] / K, so it falls with the number of candidates
whatever they are. `unbiased=True` leaves these pairs out. And the best of K candidates rises with K for mere noise, so
`best_candidate_dice` stands beside `mean_candidate_dice` and a control of equal diversity.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from numpy.typing import ArrayLike

from hyperlab.errors import ConfigError, DataError, nearest

MEASURES = ("iou", "dice")
MATCHINGS = ("repeat", "rectangular")


def overlap(
    first: Bool[Array, "n K *spatial"],
    second: Bool[Array, "n M *spatial"],
    measure: str = "iou",
    *,
    both_empty: float = 1.0,
) -> Float[Array, "n K M"]:
    """The overlap of every mask of one set with every mask of another, image by image: float32 `[n, K, M]` in 0..1.

    Args:
      first: bool `[n, K, *spatial]`; of probabilities, `probabilities > 0.5`.
      second: bool `[n, M, *spatial]`.
      measure: `"iou"`, |A and B| / |A or B|, or `"dice"`, 2 |A and B| / (|A| + |B|).
      both_empty: the value of two empty masks. An empty and another mask have 0.

    Raises:
      DataError: masks are not bool, or shapes do not fit together.
      ConfigError: an unknown measure.

    >>> masks = jnp.array([[[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]], bool)
    >>> overlap(masks, masks)[0].tolist()
    [[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    _check(first, second)
    if measure not in MEASURES:
        raise ConfigError(f"unknown measure {measure!r}; {nearest(measure, MEASURES)}")
    # counts below 2^24 are exact in float32
    a, b = (masks.reshape(*masks.shape[:2], -1).astype(jnp.float32) for masks in (first, second))
    both = jnp.einsum("nkp,nmp->nkm", a, b, precision="highest")
    sizes = a.sum(-1)[:, :, None] + b.sum(-1)[:, None, :]
    part, whole = (both, sizes - both) if measure == "iou" else (2 * both, sizes)
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1), both_empty)


def best_candidate_dice(
    candidates: Bool[Array, "n K *spatial"],
    annotations: Bool[Array, "n M *spatial"],
    *,
    both_empty: float = float("nan"),
) -> Float[Array, " n"]:
    """The Dice of the candidate that fits an annotator best, averaged over annotators: float32 `[n]`.

    Args:
      candidates: bool `[n, K, *spatial]`.
      annotations: bool `[n, M, *spatial]`.
      both_empty: the Dice of two empty masks. NaN leaves an annotator who drew nothing, and has a candidate that
        agrees, out of the mean; an image of which nothing remains is NaN. 1.0 is the convention of some papers.

    >>> best_candidate_dice(jnp.array([[[1, 1, 0, 0], [0, 1, 1, 0]]], bool), jnp.array([[[0, 0, 1, 1]]], bool))
    Array([0.5], dtype=float32)

    (Rakic et al., 2024, arXiv 2401.13650; the mean over annotators is this library's choice.)
    """
    return _mean_of_known(overlap(candidates, annotations, "dice", both_empty=both_empty).max(1), (1,))


def mean_candidate_dice(
    candidates: Bool[Array, "n K *spatial"],
    annotations: Bool[Array, "n M *spatial"],
    *,
    both_empty: float = float("nan"),
) -> Float[Array, " n"]:
    """The mean Dice over all pairs of a candidate and an annotator: what one candidate is worth; float32 `[n]`.

    The arguments are those of `best_candidate_dice`.

    >>> mean_candidate_dice(jnp.array([[[1, 1, 0, 0], [0, 1, 1, 0]]], bool), jnp.array([[[0, 0, 1, 1]]], bool))
    Array([0.25], dtype=float32)
    """
    return _mean_of_known(overlap(candidates, annotations, "dice", both_empty=both_empty), (1, 2))


def sample_diversity(
    candidates: Bool[Array, "n K *spatial"], *, distance: str = "iou", unbiased: bool = False
) -> Float[Array, " n"]:
    """The mean distance E[d(S, S')] between two candidates: float32 `[n]`, 0 where all are the same.

    Args:
      candidates: bool `[n, K, *spatial]`.
      distance: `"iou"` or `"dice"`: d is 1 minus that overlap; two empty masks are at distance 0.
      unbiased: over pairs of two different candidates, which estimates the diversity of what they were drawn from;
        NaN for K = 1. Otherwise over all K^2 pairs.

    >>> masks = jnp.array([[[1, 0], [0, 1]]], bool)
    >>> sample_diversity(masks), sample_diversity(masks, unbiased=True)
    (Array([0.5], dtype=float32), Array([1.], dtype=float32))
    """
    return _within(1 - overlap(candidates, candidates, distance), unbiased)


def energy_distance(
    candidates: Bool[Array, "n K *spatial"],
    annotations: Bool[Array, "n M *spatial"],
    *,
    probabilities: Float[Array, "n M"] | None = None,
    distance: str = "iou",
    unbiased: bool = False,
) -> Float[Array, " n"]:
    """The squared generalised energy distance 2 E[d(S, Y)] - E[d(S, S')] - E[d(Y, Y')]: float32 `[n]`.

    Args:
      candidates: bool `[n, K, *spatial]`, the draws S.
      annotations: bool `[n, M, *spatial]`, the draws Y; or all masks that are possible, with their `probabilities`.
      probabilities: `[n, M]`, sum 1, where the distribution of Y is known: its terms are then exact.
      distance: `"iou"` or `"dice"`: d is 1 minus that overlap; two empty masks are at distance 0, one empty mask
        and another at 1.
      unbiased: pairs of a draw with itself are left out, so that the expectation is 0 when both have one
        distribution, at any K, and single values may be negative. K = 1 has no pair and gives NaN. One annotator
        stands for a distribution without spread in either form. Otherwise all K^2 and M^2 pairs count, the usual
        convention, which is 0 only for equal multisets and falls with K for any sampler.

    Raises:
      DataError: see `overlap`; probabilities of another shape.

    >>> masks = jnp.array([[[1, 0], [0, 1]]], bool)
    >>> energy_distance(masks, masks), energy_distance(masks[:, :1], masks)
    (Array([0.], dtype=float32), Array([0.5], dtype=float32))

    (Székely and Rizzo, 2013, "Energy statistics"; for segmentation Kohl et al., 2018, arXiv 1806.05034.)
    """
    if probabilities is not None and probabilities.shape != annotations.shape[:2]:
        raise DataError(f"probabilities have shape {probabilities.shape}, expected {annotations.shape[:2]}")
    cross = 1 - overlap(candidates, annotations, distance)
    among = 1 - overlap(annotations, annotations, distance)
    if probabilities is not None:
        between = jnp.einsum("nkm,nm->n", cross, probabilities, precision="highest") / cross.shape[1]
        spread = jnp.einsum("nij,ni,nj->n", among, probabilities, probabilities, precision="highest")
    else:
        between = cross.mean((1, 2))
        spread = _within(among, unbiased and annotations.shape[1] > 1)
    return 2 * between - sample_diversity(candidates, distance=distance, unbiased=unbiased) - spread


def hungarian_iou(
    candidates: Bool[Array | np.ndarray, "n K *spatial"],
    annotations: Bool[Array | np.ndarray, "n M *spatial"],
    *,
    match: str = "repeat",
) -> Float[np.ndarray, " n"]:
    """The mean IoU of candidates matched one to one with annotations, as well as possible: float64 `[n]`, on the host.

    Args:
      candidates: bool `[n, K, *spatial]`.
      annotations: bool `[n, M, *spatial]`.
      match: `"repeat"`: both sets are repeated to the least common multiple of K and M, so that all take part;
        `"rectangular"`: the best min(K, M) pairs alone.

    Raises:
      ConfigError: an unknown `match`.

    >>> first, second = np.array([[[1, 0], [0, 1]]], bool), np.array([[[1, 0]]], bool)
    >>> hungarian_iou(first, second), hungarian_iou(first, second, match="rectangular")
    (array([0.5]), array([1.]))

    (Kuhn, 1955, "The Hungarian method for the assignment problem"; for segmentation Kohl et al., 2019, arXiv
    1905.13077.)
    """
    from scipy.optimize import linear_sum_assignment  # here, as `import hyperlab` need not wait for it

    if match not in MATCHINGS:
        raise ConfigError(f"unknown match {match!r}; {nearest(match, MATCHINGS)}")
    table = np.asarray(overlap(jnp.asarray(candidates), jnp.asarray(annotations)), np.float64)
    if match == "repeat":
        common = math.lcm(*table.shape[1:])
        table = table.repeat(common // table.shape[1], 1).repeat(common // table.shape[2], 2)
    pairs = [linear_sum_assignment(one, maximize=True) for one in table]
    return np.array([one[pair].mean() for one, pair in zip(table, pairs, strict=True)])


# -- where the modes are known --------------------------------------------------------------------------------------


def mode_frequencies(
    candidates: Bool[Array, "n K *spatial"], modes: Bool[Array, "n M *spatial"], *, threshold: float = 0.5
) -> Float[Array, "n M"]:
    """How often each mode was drawn: the share of candidates whose nearest mode it is, float32 `[n, M]`.

    Args:
      candidates: bool `[n, K, *spatial]`.
      modes: bool `[n, M, *spatial]`, the masks that are possible, all different.
      threshold: a candidate whose IoU with its nearest mode is smaller belongs to none, like one that is equally
        near to two; then the sum is below 1.

    >>> modes = jnp.array([[[1, 1, 0, 0], [0, 0, 1, 1]]], bool)
    >>> mode_frequencies(jnp.array([[[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]]], bool), modes)
    Array([[0.5 , 0.25]], dtype=float32)
    """
    similar = overlap(candidates, modes)
    chosen = jax.nn.one_hot(similar.argmax(-1), modes.shape[1]) * (similar.max(-1, keepdims=True) >= threshold)
    # by its place in the list alone, a candidate between two modes would be given to the first
    tied = (similar == similar.max(-1, keepdims=True)).sum(-1, keepdims=True) > 1
    return jnp.where(tied, 0, chosen).mean(1)


def mode_coverage(
    candidates: Bool[Array, "n K *spatial"],
    modes: Bool[Array, "n M *spatial"],
    probabilities: Float[Array, "n M"] | None = None,
    *,
    threshold: float = 0.8,
) -> Float[Array, " n"]:
    """The share of the modes that some candidate shows, or their probability in all: float32 `[n]` in 0..1.

    Args:
      candidates: bool `[n, K, *spatial]`.
      modes: bool `[n, M, *spatial]`.
      probabilities: `[n, M]`, the weight of each mode; by default all weigh the same.
      threshold: a mode is shown where a candidate's IoU with it is at least this.

    >>> modes = jnp.array([[[1, 1, 0, 0], [0, 0, 1, 1]]], bool)
    >>> mode_coverage(modes[:, :1], modes), mode_coverage(modes[:, :1], modes, jnp.array([[0.75, 0.25]]))
    (Array([0.5], dtype=float32), Array([0.75], dtype=float32))
    """
    shown = (overlap(candidates, modes).max(1) >= threshold).astype(jnp.float32)
    return shown.mean(-1) if probabilities is None else (shown * probabilities).sum(-1)


def frequency_error(frequencies: Float[Array, "n M"], probabilities: Float[Array, "n M"]) -> Float[Array, " n"]:
    """The total variation between mode frequencies and mode probabilities: float32 `[n]` in 0..1.

    What the frequencies lack to 1, candidates of no mode, counts as a mode of probability 0.

    >>> frequency_error(jnp.array([[0.5, 0.25]]), jnp.array([[0.5, 0.5]]))
    Array([0.25], dtype=float32)
    """
    none = 1 - frequencies.sum(-1)
    return (jnp.abs(frequencies - probabilities).sum(-1) + none) / 2


def sampled_coverage(probabilities: ArrayLike, count: int) -> Float[np.ndarray, " n"]:
    """The `mode_coverage`, weighted by probability, that `count` draws from the truth have on average: `[n]`.

    The value that a perfect model reaches: sum_m p_m (1 - (1 - p_m)^K).

    >>> sampled_coverage([[0.5, 0.5]], 2)
    array([0.75])
    """
    p = np.asarray(probabilities, np.float64)
    return (p * (1 - (1 - p) ** count)).sum(-1)


def sampled_frequency_error(probabilities: ArrayLike, count: int) -> Float[np.ndarray, " n"]:
    """The `frequency_error` that `count` draws from the truth have on average: where a perfect model ends up.

    The frequency of a mode is binomial, so this is sum_m E|X_m / K - p_m| / 2 with X_m ~ B(K, p_m): `[n]`.

    >>> sampled_frequency_error([[0.5, 0.5]], 2)
    array([0.25])
    """
    from scipy.stats import binom

    p = np.asarray(probabilities, np.float64)[..., None]
    drawn = np.arange(count + 1)
    return (np.abs(drawn / count - p) * binom.pmf(drawn, count, p)).sum((-1, -2)) / 2


# -- parts ----------------------------------------------------------------------------------------------------------


def _check(first: jax.Array, second: jax.Array) -> None:
    for masks in (first, second):
        if masks.dtype != bool:
            raise DataError(f"masks are {masks.dtype}, expected bool; of probabilities, probabilities > 0.5")
    if first.ndim < 3 or first.shape[:1] + first.shape[2:] != second.shape[:1] + second.shape[2:]:
        raise DataError(
            f"masks have shapes {first.shape} and {second.shape}, expected [n, K, *spatial] and [n, M, *spatial]"
        )
    if 0 in (first.shape[1], second.shape[1]):
        raise DataError(f"masks have shapes {first.shape} and {second.shape}; at least one mask an image is needed")


def _within(distances: jax.Array, unbiased: bool) -> jax.Array:
    """The mean of `[n, K, K]` over pairs, or over pairs of two different ones; NaN where there is none."""
    count = distances.shape[1]
    # the diagonal is 0 by definition, not only to rounding
    total = jnp.where(jnp.eye(count, dtype=bool)[None], 0, distances).sum((1, 2))
    pairs = count * (count - 1) if unbiased else count**2
    return total / pairs if pairs else jnp.full_like(total, jnp.nan)


def _mean_of_known(values: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    known = ~jnp.isnan(values)
    number = known.sum(axes)
    total = jnp.where(known, values, 0).sum(axes)
    return jnp.where(number > 0, total / jnp.maximum(number, 1), jnp.nan)
