"""How the learning rate changes along a training: the factor of each update, for lengths that are given or any.

A schedule whose length is known is a function of the step. One whose length is a number in the optimizer's state serves
trainings of all lengths: nothing is compiled again for another one.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from hyperlab import trees
from hyperlab.errors import ConfigError, nearest

NAMES = ("constant", "warmup_cosine")


def schedule(config: Mapping[str, Any] | None) -> Callable[[jax.Array], jax.Array] | None:
    """The factor by which the learning rate is multiplied at each step; None is a constant 1.

    Args:
      config: None, `{"name": "constant"}`, or `{"name": "warmup_cosine", "total_steps": n, "warmup_steps": 0,
        "final_fraction": 0.0}`: linear from 0 to 1, then a cosine down to `final_fraction`.

    Raises:
      ConfigError: another name or key; a warm-up that is not shorter than the whole.

    >>> factor = schedule({"name": "warmup_cosine", "warmup_steps": 2, "total_steps": 10})
    >>> [round(float(factor(step)), 3) for step in (0, 1, 2, 6, 10)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    name, config = _named(config)
    if name == "constant":
        return None
    known(config, ("total_steps", "warmup_steps", "final_fraction"), "schedule 'warmup_cosine'")
    warmup, total = config.get("warmup_steps", 0), config.get("total_steps")
    if total is None or not 0 <= warmup < total:
        raise ConfigError(f"warmup_cosine needs 0 <= warmup_steps < total_steps, got {warmup} and {total}")
    return optax.warmup_cosine_decay_schedule(
        0.0 if warmup else 1.0, 1.0, warmup, total, config.get("final_fraction", 0.0)
    )


class ScheduledState(NamedTuple):
    """Of `scale_by_warmup_cosine`.

    Attributes:
      done: updates so far, int32.
      total_steps: of the training, int32; 0 until `with_length` sets it.
    """

    done: jax.Array
    total_steps: jax.Array


def scale_by_warmup_cosine(warmup: float = 0.0, final_fraction: float = 0.0) -> optax.GradientTransformation:
    """The schedule `warmup_cosine` for a training of any length: the length is a number in the state.

    One compiled program then serves trainings of all lengths, and a stack of runs may have one each. Until
    `with_length` says how long the training is, updates are NaN.

    Args:
      warmup: share of the steps in which the factor rises from 0 to 1, in [0, 1).
      final_fraction: what the cosine ends at, in [0, 1].

    Raises:
      ConfigError: a share outside its range.

    >>> stage = scale_by_warmup_cosine(warmup=0.2)
    >>> state = with_length(stage.init(None), 10)
    >>> factors = []
    >>> for _ in range(4):
    ...     update, state = stage.update(jnp.ones(()), state)
    ...     factors.append(round(float(update), 3))
    >>> factors
    [0.0, 0.5, 1.0, 0.962]
    """
    if not 0 <= warmup < 1 or not 0 <= final_fraction <= 1:
        raise ConfigError(f"warmup {warmup} and final_fraction {final_fraction}: shares, the warm-up's below 1")

    def init(params: Any) -> ScheduledState:
        del params
        return ScheduledState(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def update(updates: Any, state: ScheduledState, params: Any = None) -> tuple[Any, ScheduledState]:
        del params
        rising = jnp.minimum(jnp.round(warmup * state.total_steps), state.total_steps - 1)
        share = jnp.minimum((state.done - rising) / (state.total_steps - rising), 1.0)
        falling = final_fraction + (1 - final_fraction) * 0.5 * (1 + jnp.cos(jnp.pi * share))
        factor = jnp.where(state.done < rising, state.done / jnp.maximum(rising, 1), falling)
        factor = jnp.where(state.total_steps > 0, factor, jnp.nan)
        scaled = jax.tree.map(lambda leaf: factor.astype(leaf.dtype) * leaf, updates)
        return scaled, ScheduledState(state.done + 1, state.total_steps)

    return optax.GradientTransformation(init, update)


def with_length(tree: PyTree, steps: Any) -> PyTree:
    """Sets the length of the training inside an optimizer state (or a whole state), for a schedule of any length.

    Args:
      tree: what holds a state of a `build` optimizer; one without such a schedule stays as it is.
      steps: of the training, at least 1; traced or not.

    Raises:
      ConfigError: no steps.
    """
    if not isinstance(steps, jax.core.Tracer) and steps < 1:
        raise ConfigError(f"a schedule over {steps} steps; expected at least 1")
    return replaced(tree, "total_steps", steps)[0]


def stage(config: Mapping[str, Any] | None) -> optax.GradientTransformation | None:
    """A schedule as a stage of an optimizer; None for a constant rate.

    Args:
      config: as for `schedule`, or `{"name": "warmup_cosine", "warmup": share, "final_fraction": 0.0}`, for
        trainings of any length, see `scale_by_warmup_cosine`.

    Raises:
      ConfigError: another name or key.
    """
    name, settings = _named(config)
    if name == "warmup_cosine" and "total_steps" not in settings and "warmup_steps" not in settings:
        known(settings, ("warmup", "final_fraction"), "schedule 'warmup_cosine' of any length")
        return scale_by_warmup_cosine(**settings)
    factor = schedule(config)
    return optax.scale_by_schedule(factor) if factor is not None else None


def replaced(tree: PyTree, ending: str, value: Any) -> tuple[PyTree, int]:
    """A tree with another value in all leaves whose path ends so, and how many those are."""
    found = []

    def replace(keys, leaf):
        if not trees.path_of(keys).endswith(ending):
            return leaf
        found.append(keys)
        return jnp.broadcast_to(jnp.asarray(value, leaf.dtype), leaf.shape)

    return jax.tree_util.tree_map_with_path(replace, tree), len(found)


def known(given: Mapping[str, Any], keys: Iterable[str], what: str) -> dict[str, Any]:
    """A group of settings, all of which are known.

    Raises:
      ConfigError: one that is not; the nearest is named.
    """
    for key in given:
        if key not in keys:
            raise ConfigError(f"{what} has no setting {key!r}; {nearest(key, keys)}")
    return dict(given)


def _named(config: Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
    """Name and settings of a schedule."""
    settings = dict(config or {})
    name = settings.pop("name", "constant")
    if name not in NAMES:
        raise ConfigError(f"unknown schedule {name!r}; {nearest(name, ('constant', 'warmup_cosine'))}")
    if name == "constant":
        known(settings, (), "schedule 'constant'")
    return name, settings
