r"""Training under masks: an optax wrapper whose state carries them.

Before the inner transformation the gradients are masked, so that a clip by global norm sees masked ones; after it the
updates are, and where a weight is pruned the update is minus what is stored there. So pruned weights are exactly zero
after any step of any optimizer, whatever its momentum or moments are (masking gradients alone moves them), and also
where the parameters were never multiplied by the masks.

Masks change on the host between steps (`set_masks`), not inside the compiled step: a selection is exact there, costs
no program, and happens at few steps. A state's masks are inputs of the step, so new masks do not compile it again.

A pruned weight gets no gradient and stays zero, hence it comes back only where a method says so (SET, RigL); then its
moments start at zero.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from hyperlab import trees
from hyperlab.errors import ParameterTreeError
from hyperlab.pruning.counting import check


class MaskedState(NamedTuple):
    """The optimizer state under masks.

    Attributes:
      masks: a tree like the parameters, of bool arrays.
      inner: the state of the inner transformation.
    """

    masks: PyTree
    inner: PyTree


def masked(optimizer: optax.GradientTransformation, masks: PyTree = None) -> optax.GradientTransformationExtraArgs:
    """An optimizer under which pruned weights are, and stay, exactly zero.

    Args:
      optimizer: any optax transformation. Its rate is of no matter; what is chained after the result is not masked.
      masks: a tree like the parameters, of bool arrays; None prunes nothing until `set_masks`.

    Returns:
      A transformation with a `MaskedState`; `update` needs the parameters.

    Raises:
      ParameterTreeError: at `init`, masks that are not like the parameters; at `update`, no parameters.

    >>> params = jnp.array([1.0, 2.0])
    >>> optimizer = masked(optax.sgd(0.5, momentum=0.9), jnp.array([True, False]))
    >>> updates, state = optimizer.update(jnp.ones(2), optimizer.init(params), params)
    >>> optax.apply_updates(params, updates).tolist()
    [0.5, 0.0]
    """
    optimizer = optax.with_extra_args_support(optimizer)

    def init(params: PyTree) -> MaskedState:
        if masks is None:
            own = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, bool), params)
        else:
            check(masks, params)
            # a copy: a step that donates its state must not take the caller's masks along
            own = jax.tree.map(lambda mask: jnp.array(mask, copy=True), masks)
        return MaskedState(own, optimizer.init(params))

    def update(grads: PyTree, state: MaskedState, params: PyTree = None, **extra: Any) -> tuple[PyTree, MaskedState]:
        if params is None:
            raise ParameterTreeError("masked(...).update needs params: update(grads, state, params)")
        grads = _where(state.masks, grads, 0)
        updates, inner = optimizer.update(grads, state.inner, _where(state.masks, params, 0), **extra)
        updates = jax.tree.map(lambda mask, u, p: jnp.where(mask, u, -p), state.masks, updates, params)
        return updates, MaskedState(state.masks, inner)

    return optax.GradientTransformationExtraArgs(init, update)


def set_masks(state: PyTree, masks: PyTree) -> PyTree:
    """The state with other masks; moments of weights that come back start at zero.

    A moment is a leaf whose path ends with that of a parameter and whose shape is the same: those of every optax
    optimizer, also in groups. Statistics of other shapes (factored second moments) stay as they are.

    Args:
      state: a `MaskedState`, or what holds exactly one (a chain, a whole training state).
      masks: a tree like the parameters, of bool arrays.

    Raises:
      ParameterTreeError: no `MaskedState`, or several, or masks that do not fit.

    >>> optimizer = masked(optax.sgd(0.1, momentum=0.9), {"w": jnp.array([True, False])})
    >>> state = set_masks(optimizer.init({"w": jnp.ones(2)}), {"w": jnp.array([False, True])})
    >>> masks_of(state)["w"].tolist()
    [False, True]
    """
    old = masks_of(state)
    check(masks, old)
    new = jax.tree.map(lambda mask: jnp.array(mask, copy=True), masks)
    grown = {
        path: mask & ~was for (path, mask), was in zip(trees.flatten(new).items(), jax.tree.leaves(old), strict=True)
    }

    def replace(node: Any) -> Any:
        if not isinstance(node, MaskedState):
            return node
        return MaskedState(
            new, jax.tree_util.tree_map_with_path(lambda keys, leaf: _restarted(keys, leaf, grown), node.inner)
        )

    return jax.tree.map(replace, state, is_leaf=lambda node: isinstance(node, MaskedState))


def masks_of(state: PyTree) -> PyTree:
    """The masks in a state.

    Raises:
      ParameterTreeError: it holds no `MaskedState`, or several.
    """
    found = [
        s for s in jax.tree.leaves(state, is_leaf=lambda n: isinstance(n, MaskedState)) if isinstance(s, MaskedState)
    ]
    if len(found) != 1:
        raise ParameterTreeError(
            f"expected a state with one MaskedState, of pruning.masked(optimizer); found {len(found)}"
        )
    return found[0].masks


def _restarted(keys: Any, leaf: Any, grown: dict[str, jax.Array]) -> Any:
    path = "/" + trees.path_of(keys)
    fits = [name for name in grown if path.endswith("/" + name) or not name]
    # "kernel" ends "conv/kernel" too: the longest name is the parameter's own
    name = max(fits, key=len, default=None)
    if name is None or jnp.shape(leaf) != grown[name].shape:
        return leaf
    return jnp.where(grown[name], jnp.zeros((), leaf.dtype), leaf)


def _where(masks: PyTree, tree: PyTree, other: float) -> PyTree:
    return jax.tree.map(lambda mask, leaf: jnp.where(mask, leaf, other), masks, tree)
