r"""Dynamic sparse training: masks that move while their counts stay.

Every so often each pruned leaf drops its weakest weights and grows as many where it had none: at random (SET) or where
the gradient is largest (RigL). The share that moves falls as a cosine. Growth is among what was inactive before the
drop, so that what moves does move. A grown weight starts at zero, and so do its moments (`wrapper.set_masks`).

Sources: Mocanu et al. (2018), arXiv 1707.04780; Evci, Gale, Menick, Castro and Elsen (2020), arXiv 1911.11134.
"""

import math

import numpy as np
from jaxtyping import Array, Bool, Key, PyTree

from hyperlab import roles, trees
from hyperlab.errors import ConfigError, NonFiniteError, ParameterTreeError, nearest
from hyperlab.pruning import layers
from hyperlab.pruning.counting import check
from hyperlab.pruning.keep import largest
from hyperlab.pruning.scores import Evidence, evaluate, host

GROWTHS = ("set", "rigl")


def drop_fraction(step: int, end: int, initial: float = 0.3) -> float:
    r"""The share of the active weights that moves: $\alpha / 2 \, (1 + \cos(\pi t / T_{end}))$, zero from the end on.

    >>> [round(drop_fraction(step, 100), 3) for step in (0, 50, 100, 150)]
    [0.3, 0.15, 0.0, 0.0]
    """
    if end < 1 or not 0 <= initial <= 1:
        raise ConfigError(f"drop_fraction needs end >= 1 and 0 <= initial <= 1, got {end} and {initial}")
    return initial / 2 * (1 + math.cos(math.pi * min(step, end) / end))


def move(
    rule: str,
    params: PyTree,
    masks: PyTree[Bool[Array | np.ndarray, "..."]],
    fraction: float,
    *,
    grads: PyTree = None,
    key: Key[Array, ""] | int | None = None,
) -> PyTree[Bool[np.ndarray, "..."]]:
    """The masks after one drop and growth; every leaf keeps its count exactly, and every layer of a stack its own.

    Args:
      rule: `set` (grows at random, needs `key`) or `rigl` (by gradient, needs `grads`).
      params: the parameters.
      masks: the current masks; leaves without a pruned entry stay as they are.
      fraction: of the active entries that move, in [0, 1]; rounded down, and no more than there are inactive ones.
      grads: gradients at the masked parameters with respect to all entries, pruned ones too (of the loss itself, not
        of a loss that masks inside).
      key: a `jax.random` key or an integer; another one at each call.

    Returns:
      A tree of bool numpy arrays.

    Raises:
      ConfigError: an unknown rule, missing evidence, a fraction outside [0, 1].
      NonFiniteError, ParameterTreeError: values that cannot be ranked, or trees that differ.

    >>> params, masks = {"a": np.array([3.0, 1.0, 0.0, 0.0])}, {"a": np.array([True, True, False, False])}
    >>> move("rigl", params, masks, 0.5, grads={"a": np.array([0.0, 0.0, 1.0, 2.0])})["a"].tolist()
    [True, False, False, True]
    """
    if rule not in GROWTHS:
        raise ConfigError(f"unknown rule {rule!r}; {nearest(rule, GROWTHS)}")
    if not 0 <= fraction <= 1:
        raise ConfigError(f"the fraction that moves is in [0, 1], got {fraction}")
    check(masks, params)
    flat = {path: np.asarray(mask) for path, mask in trees.flatten(masks).items()}
    moving = [path for path, mask in flat.items() if not mask.all()]
    weights = {path: host(leaf) for path, leaf in trees.flatten(params).items() if path in moving}
    strength = evaluate("magnitude", weights, Evidence())
    growth = evaluate("random", weights, Evidence(key=key)) if rule == "set" else _gradients(grads, weights)
    # every layer of a stack by itself
    apart = layers.of({path: flat[path].shape for path in moving}, roles.of(params))
    activity, strength, growth = (apart.apart(leaves) for leaves in ({p: flat[p] for p in moving}, strength, growth))
    moved = {}
    for path, active in activity.items():
        kept = int(active.sum())
        count = min(math.floor(fraction * kept), active.size - kept)
        remain = largest([np.where(active, strength[path], -np.inf)], kept - count)[0]
        grown = largest([np.where(active, -np.inf, growth[path])], count)[0]
        moved[path] = remain | grown
    return trees.unflatten({**flat, **apart.together(moved, moving)}, params)


def _gradients(grads: PyTree, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if grads is None:
        raise ConfigError("rule 'rigl' needs grads=, the gradients with respect to all entries")
    flat = trees.flatten(grads)
    found = {path: np.abs(host(flat[path])) for path in weights if path in flat}
    trees.check_same(found, weights, "the gradients", ParameterTreeError)
    for path, leaf in found.items():
        if not np.isfinite(leaf).all():
            raise NonFiniteError(f"the gradient of {path!r} has NaN or infinite entries: nothing can be ranked")
    return found
