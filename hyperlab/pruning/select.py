r"""Which parameters may be pruned, and which share of them a compression leaves.

A compression ratio $c$ is over all parameters: $N$ entries become $N / c$. Of these, $U$ cannot be pruned
(normalisations, an excluded classifier), so that the share kept of the $N_P = N - U$ prunable ones is
$$f = \frac{N / c - U}{N_P}, \qquad 0 < f \le 1,$$
and no ratio reaches the ceiling $N / U$.

Source: Blalock, Gonzalez Ortiz, Frankle and Guttag, What is the State of Neural Network Pruning? (2020),
arXiv 2003.03033, and the arithmetic of its authors' library.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import PyTree

from hyperlab import roles as roles_of
from hyperlab import trees
from hyperlab.errors import ConfigError, ParameterTreeError, PatternError, nearest

Patterns = str | Sequence[str]

Roles = Mapping[str, str | roles_of.Role] | None

PRUNABLE = ("**/kernel", "**/bias")


def prunable_paths(
    params: PyTree, prunable: Patterns = PRUNABLE, exclude: Patterns = (), roles: Roles = None
) -> list[str]:
    """The paths of the leaves that may be pruned, sorted.

    Parameters of normalisations never are, whatever their rank: a gain, and a bias that has no kernel beside it. Nor
    are integers (index tables, masks) and leaves without entries: they are left as they are.

    Args:
      params: arrays or `jax.ShapeDtypeStruct`.
      prunable: glob patterns on slash paths, of which each may match nothing (a network without biases), but not
        all; ordered, a leading `!` deselects.
      exclude: glob patterns of what stays dense, for instance `["classifier/**"]`; each must match.
      roles: what leaves are, where names and siblings do not tell; see `hyperlab.roles.of`.

    Raises:
      PatternError: an exclusion that matches nothing, such as a classifier of another name, or nothing left to prune.
      ParameterTreeError: a leaf is no array, such as a function of an Equinox module.

    >>> import jax.numpy as jnp
    >>> layer = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
    >>> params = {"conv": layer, "norm": {"scale": jnp.ones(3), "bias": jnp.ones(3)}, "classifier": layer}
    >>> prunable_paths(params, exclude=["classifier/**"])
    ['conv/bias', 'conv/kernel']
    """
    params = trees.unboxed(params)
    leaves = trees.flatten(params)
    for path, leaf in leaves.items():
        if not hasattr(leaf, "dtype"):
            raise ParameterTreeError(
                f"{path!r} is a {type(leaf).__name__}, expected an array; of a module that holds more than "
                "arrays prune the arrays alone (of Equinox, equinox.filter(module, equinox.is_array))"
            )
    exclude = [exclude] if isinstance(exclude, str) else list(exclude)
    for pattern in exclude:
        if not any(trees.matches(pattern, path) for path in leaves):
            raise PatternError(
                f"exclude pattern {pattern!r} matches none of the {len(leaves)} parameters, so that what it should "
                f"protect (a classifier?) would be pruned; {nearest(pattern, leaves)}"
            )
    prunable = [prunable] if isinstance(prunable, str) else list(prunable)
    found = [p for p in prunable if any(trees.matches(p.removeprefix("!"), path) for path in leaves)]
    matched = trees.select(leaves, found) if found else []
    spared = _spared(params, roles)
    chosen = sorted(p for p in matched if p not in spared and not any(trees.matches(e, p) for e in exclude))
    if not chosen:
        wanted = next(iter(prunable), "")
        raise PatternError(
            f"nothing to prune: prunable={prunable} with exclude={exclude} selects none of the {len(leaves)} "
            f"parameters (those of normalisations and integers are never pruned); {nearest(wanted, leaves)}"
        )
    return chosen


def ceiling(params: PyTree, paths: Sequence[str]) -> float:
    """The compression that cannot be reached, N / U; infinite where everything is prunable.

    >>> import jax.numpy as jnp
    >>> ceiling({"a": jnp.ones(6), "b": jnp.ones(2)}, ["a"])
    4.0
    """
    total, prunable = _sizes(params, paths)
    return total / (total - prunable) if total > prunable else math.inf


def entries_kept(params: PyTree, compression: float, paths: Sequence[str]) -> float:
    """How many prunable entries a compression leaves, N / c - U, before rounding.

    Raises:
      ConfigError: a ratio below 1, or one that the unprunable parameters do not allow (the ceiling is named).

    >>> import jax.numpy as jnp
    >>> entries_kept({"a": jnp.ones(6), "b": jnp.ones(2)}, 2, ["a"])
    2.0
    """
    total, prunable = _sizes(params, paths)
    try:
        compression = float(compression)
    except (TypeError, ValueError):
        raise ConfigError(f"compression is {compression!r}, expected a number of at least 1") from None
    if not 1 <= compression < math.inf:
        raise ConfigError(f"compression is the original size over the new one, at least 1; got {compression:g}")
    fixed = total - prunable
    left = total / compression - fixed
    if left <= 0:
        raise ConfigError(
            f"compression {compression:g} cannot be reached: {fixed} of the {total} parameters cannot be pruned, so "
            f"that the ceiling is {ceiling(params, paths):.4g} (exclusive); prune more of them or ask for less"
        )
    return left


def kept_fraction(
    params: PyTree, compression: float, prunable: Patterns = PRUNABLE, exclude: Patterns = (), roles: Roles = None
) -> float:
    """The share f of the prunable entries that a compression leaves.

    Args:
      params: arrays or `jax.ShapeDtypeStruct`.
      compression: all parameters, over those that are left; at least 1 and below the ceiling.
      prunable: as for `prunable_paths`.
      exclude: as for `prunable_paths`.
      roles: as for `prunable_paths`.

    Raises:
      ConfigError, PatternError: as for `entries_kept` and `prunable_paths`.

    >>> import jax.numpy as jnp
    >>> kept_fraction({"kernel": jnp.ones((2, 3)), "scale": jnp.ones(2)}, 2)
    0.3333333333333333
    """
    paths = prunable_paths(params, prunable, exclude, roles)
    return entries_kept(params, compression, paths) / _sizes(params, paths)[1]


def compression_of(
    params: PyTree, fraction: float, prunable: Patterns = PRUNABLE, exclude: Patterns = (), roles: Roles = None
) -> float:
    """The compression that keeps a share of the prunable entries; the inverse of `kept_fraction`.

    >>> import jax.numpy as jnp
    >>> compression_of({"kernel": jnp.ones((2, 3)), "scale": jnp.ones(2)}, 1 / 3)
    2.0
    """
    if not 0 < fraction <= 1:
        raise ConfigError(f"a kept fraction is in (0, 1], got {fraction}")
    total, count = _sizes(params, prunable_paths(params, prunable, exclude, roles))
    return total / (total - count + fraction * count)


def _sizes(params: PyTree, paths: Sequence[str]) -> tuple[int, int]:
    leaves = trees.flatten(params)
    return sum(_size(leaf) for leaf in leaves.values()), sum(_size(leaves[path]) for path in paths)


def _size(leaf: Any) -> int:
    return math.prod(leaf.shape)


def _spared(params: PyTree, roles: Roles) -> set[str]:
    """What is never pruned: parameters of normalisations, leaves that are no real or complex numbers, empty ones."""
    decided = roles_of.of(params, roles=roles)
    layers = {path.rpartition("/")[0] for path, role in decided.items() if role.is_matrix}
    return {
        path
        for path, leaf in trees.flatten(params).items()
        if not jnp.issubdtype(leaf.dtype, jnp.inexact)
        or not _size(leaf)
        or decided[path].kind == "scale"
        or (decided[path].kind == "bias" and path.rpartition("/")[0] not in layers)
    }
