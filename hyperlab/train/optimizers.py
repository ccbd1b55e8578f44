"""Optimizers from a config: groups by path pattern, schedules, clipping, a rate that is an array.

The update of every group is: direction (momentum or Adam), decay, the group's multiplier, then
minus learning rate times the schedule's factor. The run's learning rate is a leaf of the
optimizer's state (`.../hyperparams/learning_rate`), so a vmapped stack of runs has one rate each.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from hyperlab import trees
from hyperlab.errors import ConfigError, PatternError, nearest
from hyperlab.norms import global_norm
from hyperlab.train import schedules
from hyperlab.train.lean_adam import scale_by_lean_adam
from hyperlab.train.schedules import known

_DEFAULTS = {
    "name": "adam",
    "learning_rate": 1e-3,
    "momentum": 0.9,
    "nesterov": False,
    "b1": 0.9,
    "b2": 0.999,
    "eps": 1e-8,
    "weight_decay": 0.0,
    "clip_norm": None,
    "schedule": None,
    "groups": (("**", {}),),
}
_GROUP_KEYS = ("learning_rate", "learning_rate_multiplier", "weight_decay", "frozen")
NAMES = ("sgd", "adam", "adamw", "lean_adam")


def build(config: Mapping[str, Any], params: PyTree) -> optax.GradientTransformation:
    """The optimizer that a config describes, for a tree of parameters.

    Args:
      config: any of
        `name`: `sgd`, `adam`, `adamw` (decay beside the direction; in the others it joins the gradient), or
        `lean_adam`: Adam at half of its memory, see `lean_adam.scale_by_lean_adam`;
        `learning_rate`: a number, or an array that may be traced;
        `momentum`, `nesterov` (sgd); `b1`, `b2`, `eps` (all others); `weight_decay`;
        `clip_norm`: the largest global norm of the gradient, over what is not frozen;
        `schedule`: `{"name": "constant" | "warmup_cosine", ...}`, see `schedules.schedule`; or
        `{"name": "warmup_cosine", "warmup": share}`, whose length `schedules.with_length` sets in the state, see
        `schedules.scale_by_warmup_cosine`;
        `groups`: ordered `(path pattern, settings)`, see `grouped`.
      params: arrays or `jax.ShapeDtypeStruct`.

    Returns:
      An optax transformation.

    Raises:
      ConfigError: an unknown name or key.
      PatternError: a parameter that no group covers, or a pattern that matches none.

    >>> params = {"theta0": jnp.ones(2), "head": jnp.ones(2)}
    >>> groups = (("theta0", {"frozen": True}), ("**", {}))
    >>> optimizer = build({"name": "sgd", "learning_rate": 0.5, "momentum": 0.0, "groups": groups}, params)
    >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
    >>> float(abs(updates["theta0"]).max()), updates["head"].tolist()
    (0.0, [-0.5, -0.5])
    """
    config = {**_DEFAULTS, **known(config, _DEFAULTS, "optimizer")}
    if config["name"] not in NAMES:
        raise ConfigError(f"unknown optimizer {config['name']!r}; {nearest(config['name'], NAMES)}")
    groups = _pairs(config["groups"])
    labels = grouped(groups, params)
    scheduled = schedules.stage(config["schedule"])
    steps = {str(index): _group(config, dict(settings), scheduled) for index, (_, settings) in enumerate(groups)}
    stages = [optax.partition(steps, labels)]
    if config["clip_norm"] is not None:
        frozen = {
            str(i): optax.set_to_zero() if s.get("frozen") else optax.identity() for i, (_, s) in enumerate(groups)
        }
        # frozen parameters have gradients too: they must not eat into the norm
        stages = [optax.partition(frozen, labels), clip_by_global_norm(config["clip_norm"]), *stages]
    return optax.chain(*stages)


def grouped(rules: Sequence[tuple[str, Any]], params: PyTree) -> PyTree:
    """Which group each parameter is in: the index, as a string, of the first rule that matches its path.

    Args:
      rules: ordered `(path pattern, settings)`. Settings: `learning_rate_multiplier` (a number, or an array that
        broadcasts against the group's leaves), or `learning_rate` of its own, `weight_decay`, `frozen`.
      params: arrays or `jax.ShapeDtypeStruct`.

    Returns:
      A tree of labels for `optax.partition`.

    Raises:
      PatternError: a pattern matches no parameter (the nearest are named), or a parameter is uncovered.

    >>> grouped([("**/bias", {}), ("**", {})], {"a": {"bias": jnp.ones(1), "kernel": jnp.ones(1)}})
    {'a': {'bias': '0', 'kernel': '1'}}
    """
    paths = list(trees.flatten(params))
    for pattern, settings in rules:
        trees.select(paths, pattern)  # a pattern without a parameter is an error, and it says so
        known(settings, _GROUP_KEYS, f"group {pattern!r}")
    labels = trees.assign(paths, [(pattern, str(index)) for index, (pattern, _) in enumerate(rules)])
    for index, (pattern, _) in enumerate(rules):
        if str(index) not in labels.values():
            raise PatternError(f"group {pattern!r} gets no parameter: the groups before it take them all")
    return trees.unflatten(labels, params)


def recipe(given: Mapping[str, Any], **further: Any) -> dict[str, Any]:
    """The settings of `build` for the group `optimizer` of a study's config, see `train.settings.recipe`.

    Args:
      given: `name`, `schedule` (`cosine`, or empty for a constant rate), `warmup` (share of the steps), `clip` (largest
        norm of the gradient, 0: any), and other settings of `build`; what is missing is not done.
      **further: other settings of `build`.

    >>> recipe({"name": "adam", "schedule": "cosine", "warmup": 0.1, "clip": 1.0}, learning_rate=0.0)["clip_norm"]
    1.0
    """
    settings = {**given, **further}
    name, warmup, clip = (settings.pop(key, None) for key in ("schedule", "warmup", "clip"))
    if name not in (None, "", "cosine"):
        raise ConfigError(f"optimizer.schedule is {name!r}; {nearest(str(name), ('', 'cosine'))}")
    settings["schedule"] = {"name": "warmup_cosine", "warmup": warmup or 0.0} if name else None
    settings["clip_norm"] = clip or None
    return settings


def clip_by_global_norm(largest: float) -> optax.GradientTransformation:
    """Scales gradients down to a norm, over all leaves; the updates of `optax.clip_by_global_norm`, to rounding.

    By a product with one number, which joins what follows in one pass over each leaf: a division would be written out,
    and with it the gradient of a large head, which is an outer product and need not exist as a whole.

    Args:
      largest: norm, above 0.

    >>> clip = clip_by_global_norm(1.0)
    >>> clipped, _ = clip.update({"a": jnp.array([[3.0, 4.0]])}, clip.init({}))
    >>> [round(float(each), 3) for each in clipped["a"][0]]
    [0.6, 0.8]
    """

    def update(updates: PyTree, state: optax.EmptyState, params: PyTree = None) -> tuple[PyTree, optax.EmptyState]:
        del params
        factor = jnp.minimum(1.0, largest / global_norm(updates))
        return jax.tree.map(lambda leaf: (factor * leaf).astype(leaf.dtype), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def with_learning_rate(tree: PyTree, learning_rate: Any) -> PyTree:
    """Sets the run's learning rate inside an optimizer state (or a whole state), traced or not.

    Groups with a learning rate of their own keep it.

    Args:
      tree: what holds a state of a `build` optimizer.
      learning_rate: a scalar; under vmap, one for each run.

    Returns:
      The tree with every `hyperparams/learning_rate` replaced.

    Raises:
      ConfigError: there is no such leaf: another optimizer, or every group has its own rate.
    """
    changed, found = schedules.replaced(tree, "hyperparams/learning_rate", learning_rate)
    if not found:
        raise ConfigError("no leaf 'hyperparams/learning_rate' in the tree: not a state of optimizers.build")
    return changed


def _group(
    config: dict, settings: dict, scheduled: optax.GradientTransformation | None
) -> optax.GradientTransformation:
    if settings.get("frozen"):
        return optax.set_to_zero()
    if "learning_rate" in settings and "learning_rate_multiplier" in settings:
        raise ConfigError("a group has either learning_rate or learning_rate_multiplier, not both")
    decay = optax.add_decayed_weights(settings.get("weight_decay", config["weight_decay"]))
    direction = _direction(config)
    stages = [direction, decay] if config["name"] == "adamw" else [decay, direction]
    if scheduled is not None:
        stages.append(scheduled)
    if "learning_rate" in settings:
        return optax.chain(*stages, optax.scale_by_learning_rate(settings["learning_rate"]))
    multiplier = settings.get("learning_rate_multiplier", 1.0)
    if jnp.ndim(multiplier) or multiplier != 1.0:
        stages.append(optax.scale(multiplier))
    rate = jnp.asarray(config["learning_rate"], jnp.float32)
    return optax.chain(*stages, optax.inject_hyperparams(optax.scale_by_learning_rate)(learning_rate=rate))


def _direction(config: dict) -> optax.GradientTransformation:
    if config["name"] == "sgd":
        momentum = config["momentum"]
        return optax.trace(momentum, nesterov=config["nesterov"]) if momentum else optax.identity()
    if config["name"] == "lean_adam":
        if config["nesterov"]:
            raise ConfigError("nesterov is True, which lean_adam does not have; take adam")
        return scale_by_lean_adam(config["b1"], config["b2"], config["eps"])
    return optax.scale_by_adam(config["b1"], config["b2"], config["eps"], nesterov=config["nesterov"])


def _pairs(groups: Any) -> list[tuple[str, dict]]:
    """Ordered pairs; a mapping keeps its own order, which ml_collections sorts: prefer pairs in configs."""
    pairs = groups.items() if isinstance(groups, Mapping) else groups
    return [(pattern, dict(settings)) for pattern, settings in pairs] or [("**", {})]
