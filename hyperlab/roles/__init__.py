"""Roles of leaves: which are kernels, biases, gains and embeddings, and along which axes a layer sums.

Rank does not say it: the bias of an attention layer has two axes, a layer under `nn.scan` has one more, a kernel of
Equinox has its outputs first. The module that owns a leaf says it (`owners`); of a bare tree, names and siblings do
(`names`). What neither decides is left undecided, and whoever needs its axes is told how to say them.
"""

from collections.abc import Mapping
from typing import Any

from jaxtyping import PyTree

from hyperlab import trees
from hyperlab.roles.names import by_names
from hyperlab.roles.owners import by_owners
from hyperlab.roles.role import Role, given

__all__ = ["Role", "given", "of"]


def of(
    params: PyTree, module: Any = None, *inputs: PyTree, roles: Mapping[str, str | Role] | None = None, **kwargs: Any
) -> dict[str, Role]:
    """The role of every leaf of a parameter tree, by slash path.

    Args:
      params: arrays or `jax.ShapeDtypeStruct`; what is neither has no role.
      module: what owns them: a Linen module, an NNX module or a factory `lambda rngs: Module(..., rngs=rngs)`. None,
        or anything else, leaves it to names.
      *inputs: of a Linen module's call, arrays or shapes; it is traced, neither compiled nor run.
      roles: what is known already, `{glob pattern: words}`, a word for each axis: `{"**/query/kernel": "in out out"}`.
        It goes before all else.
      **kwargs: of the module's call.

    Returns:
      `{path: Role}` in tree order; a `Role` may be undecided.

    Raises:
      ConfigError, PatternError: `roles` that fit no leaf.

    >>> import flax.linen as nn, jax, jax.numpy as jnp
    >>> net, x = nn.MultiHeadDotProductAttention(4), jnp.ones((1, 3, 16))
    >>> params = jax.eval_shape(net.init, jax.random.key(0), x)["params"]
    >>> found = of(params, net, x)
    >>> str(found["query/kernel"]), str(found["query/bias"]), str(found["out/kernel"])
    ('kernel in out out', 'bias out out', 'kernel in in out')
    """
    leaves = {path: leaf for path, leaf in trees.flatten(params).items() if hasattr(leaf, "shape")}
    known = given(roles, leaves)
    known = {**by_owners(module, params, *inputs, **kwargs), **known}
    found = by_names(leaves, known)
    return {path: found[path] for path in leaves}
