"""Outer optimizers whose numbers are in their state, so that all trials of a search share one compiled program.

The updates are those of `local_sgd.outer_optimizer`, which is given the numbers of the state.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from hyperlab import local_sgd
from hyperlab.errors import ConfigError, nearest

PyTree = Any
KINDS = {
    "average": "local",
    "slowmo": "slowmo",
    "nesterov": "diloco",
}  # of methods, by their outer step


class OuterState(NamedTuple):
    """Numbers and momentum; the same tree for every form.

    Attributes:
      rate: the outer rate (alpha of SlowMo), `[]`.
      momentum: the outer momentum (beta), `[]`.
      inner_rate: the inner learning rate before its schedule, `[]`; only SlowMo looks at it.
      buffer: the momentum's memory, a tree like the parameters.
    """

    rate: jax.Array
    momentum: jax.Array
    inner_rate: jax.Array
    buffer: PyTree


@functools.cache
def adjustable(form: str) -> optax.GradientTransformationExtraArgs:
    """An outer optimizer whose numbers are set by `with_numbers`.

    Args:
      form: `average`: the anchor moves by rate times the pseudo-gradient; `slowmo` and `nesterov`: with momentum.

    Returns:
      A transformation; the keyword `learning_rate` of its `update` is the inner schedule's factor for the round.

    Raises:
      ConfigError: an unknown form.

    >>> outer = adjustable("nesterov")
    >>> state = outer.init(jnp.zeros(1))._replace(rate=jnp.float32(0.5), momentum=jnp.float32(0.5))
    >>> outer.update(jnp.ones(1), state)[0].tolist()
    [-0.75]
    """
    if form not in KINDS:
        raise ConfigError(f"the form of an outer optimizer is {form!r}; {nearest(form, KINDS)}")

    def init(params: PyTree) -> OuterState:
        # one array each: a state is donated, and no buffer can be given away twice
        rate, momentum, inner_rate = (jnp.asarray(value, jnp.float32) for value in (1.0, 0.0, 0.0))
        return OuterState(rate, momentum, inner_rate, jax.tree.map(jnp.zeros_like, params))

    def update(delta: PyTree, state: OuterState, params: PyTree = None, *, learning_rate: Any = None, **_: Any):
        momentum = 0.0 if form == "average" else state.momentum
        outer = local_sgd.outer_optimizer(KINDS[form], state.rate, momentum)
        # What the library's optimizer remembers is the buffer, or nothing.
        memory: Any = jax.tree.structure(jax.eval_shape(outer.init, delta))
        remembered = jax.tree.leaves(state.buffer) if memory.num_leaves else []
        gamma = state.inner_rate * (1.0 if learning_rate is None else learning_rate)
        updates, after = outer.update(delta, memory.unflatten(remembered), params, learning_rate=gamma)
        if memory.num_leaves:
            state = state._replace(buffer=jax.tree.unflatten(jax.tree.structure(state.buffer), jax.tree.leaves(after)))
        return updates, state

    return optax.GradientTransformationExtraArgs(init, update)


def with_numbers(states: tuple[OuterState, ...], rate: float, momentum: float, inner_rate: float) -> tuple:
    """Outer states with these numbers, one for each fragment."""
    return tuple(
        state._replace(rate=jnp.float32(rate), momentum=jnp.float32(momentum), inner_rate=jnp.float32(inner_rate))
        for state in states
    )
