"""SlowMo's outer step, and the table of outer optimizers by kind of method.

Every method here moves the anchor by an optax transformation of the pseudo-gradient, the anchor minus the mean
of the replicas: a descent direction, so plain SGD with rate 1 puts the anchor on the mean.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from hyperlab.errors import ConfigError

Number = float | jax.Array


class SlowMoState(NamedTuple):
    """The slow momentum.

    Attributes:
      buffer: u, a tree like the parameters: a running sum of pseudo-gradients, each over the rate of its own round.
    """

    buffer: PyTree


def slowmo(rate: Number = 1.0, momentum: Number = 0.5) -> optax.GradientTransformationExtraArgs:
    """Slow momentum: u <- momentum u + delta / gamma, then anchor <- anchor - rate gamma u.

    It is not SGD with momentum on the pseudo-gradient: the buffer holds delta / gamma, so that what it remembers of
    earlier rounds is scaled by this round's learning rate. The two agree where gamma never changes.

    Where gamma is 0 (a warm-up that begins there, the end of a cosine) there is nothing to divide by: the anchor goes
    to the mean of the replicas and the buffer stays as it is.

    Source: Wang, Tantia, Ballas and Rabbat 2020, arXiv 1910.00643, algorithm 1.

    Args:
      rate: alpha, the slow learning rate, positive. The effective step is rate / (1 - momentum). Like the momentum it
        may be an array, also a traced one, whose range is not checked then: one program for all numbers.
      momentum: beta, in [0, 1).

    Returns:
      A transformation whose `update` needs the keyword `learning_rate`: gamma, one value for the round.

    Raises:
      ConfigError: a rate or momentum outside its range; at `update`, no learning rate.

    >>> outer = slowmo(1.0, 0.5)
    >>> state = outer.init(jnp.zeros(1))
    >>> moved, state = outer.update(jnp.full(1, 0.2), state, learning_rate=0.1)
    >>> moved, state = outer.update(jnp.full(1, 0.2), state, learning_rate=0.05)
    >>> [round(float(value[0]), 4) for value in (state.buffer, moved)]
    [5.0, -0.25]
    """
    if not isinstance(rate, jax.Array) and not rate > 0:
        raise ConfigError(f"the slow learning rate is positive, got {rate}")
    if not isinstance(momentum, jax.Array) and not 0 <= momentum < 1:
        raise ConfigError(f"the slow momentum is in [0, 1), got {momentum}")

    def init(params: PyTree) -> SlowMoState:
        return SlowMoState(jax.tree.map(jnp.zeros_like, params))

    def update(
        delta: PyTree, state: SlowMoState, params: PyTree = None, *, learning_rate: Any = None, **_: Any
    ) -> tuple[PyTree, SlowMoState]:
        if learning_rate is None:
            raise ConfigError("slowmo(...).update needs learning_rate=: the inner rate at the round's first step")
        gamma = jnp.asarray(learning_rate, jnp.float32)
        moving = gamma != 0
        over = jnp.where(moving, gamma, 1.0)
        buffer = jax.tree.map(lambda u, d: jnp.where(moving, momentum * u + d / over, u), state.buffer, delta)
        updates = jax.tree.map(lambda u, d: jnp.where(moving, -rate * gamma * u, -d), buffer, delta)
        return updates, SlowMoState(buffer)

    return optax.GradientTransformationExtraArgs(init, update)


class Outer(NamedTuple):
    """An outer optimizer's form with its usual numbers."""

    form: str
    rate: float
    momentum: float


# DiLoCo: Douillard et al. 2023, arXiv 2311.08105. Lookahead: Zhang et al. 2019, arXiv 1907.08610.
OUTERS = {
    "synchronous": Outer("sgd", 1.0, 0.0),
    "local": Outer("sgd", 1.0, 0.0),
    "post_local": Outer("sgd", 1.0, 0.0),
    "hierarchical": Outer("sgd", 1.0, 0.0),
    "slowmo": Outer("slowmo", 1.0, 0.5),
    "diloco": Outer("nesterov", 0.7, 0.9),
    "lookahead": Outer("sgd", 0.5, 0.0),
}


def outer_optimizer(
    kind: str, rate: Number | None = None, momentum: Number | None = None
) -> optax.GradientTransformationExtraArgs:
    """The outer optimizer of a kind of method; numbers that are None are the usual ones of `OUTERS`.

    Numbers may be arrays, also traced ones, so that one compiled program serves all of them.

    >>> updates, _ = (outer := outer_optimizer("lookahead")).update(jnp.ones(1), outer.init(jnp.zeros(1)))
    >>> updates.tolist()
    [-0.5]
    """
    form, usual_rate, usual_momentum = OUTERS[kind]
    rate = usual_rate if rate is None else rate
    momentum = usual_momentum if momentum is None else momentum
    if form == "slowmo":
        return slowmo(rate, momentum)
    # no weight decay and no clipping: those are the inner steps' business
    without = not isinstance(momentum, jax.Array) and momentum == 0
    found = optax.sgd(rate, momentum=None if without else momentum, nesterov=form == "nesterov")
    return optax.with_extra_args_support(found)
