r"""The width rule: how the initial scale and the rate of each leaf go with the width of the primary.

A leaf of a primary layer maps `fan_in` numbers to `fan_out`. With $r_{in}$ and $r_{out}$ its fans over those of the
same leaf in a narrow network, the base, at whose width a rate was found:

- the spread that Kaiming fan-in gives it is multiplied by $\min(1, \sqrt{r_{out} / r_{in}})$;
- its rate is multiplied by $r_{out} / r_{in}$ with gradient descent and by $1 / r_{in}$ with Adam.

A vector counts as a map of one number. For an ordinary network this is the maximal update parametrisation (Yang et al.
2022, arXiv 2203.03466) in the form that Yang, Simon and Bernstein (2023, arXiv 2310.17813) derive from norms of layers.
Of a hypernetwork it holds for theta0 and, with the same multiplier, for the columns of the head that generate the leaf;
the layers before the head keep their rate. The derivation is in `docs/width.md`.
"""

from collections.abc import Mapping
from typing import Any

import jax
from jaxtyping import PyTree

from hyperlab import trees
from hyperlab.errors import ConfigError, ParameterTreeError, nearest
from hyperlab.hypernet.heads import HEADS, DenseHead, columns_of
from hyperlab.hypernet.model import HyperModel
from hyperlab.hypernet.spec import ParamSpec, Record

Groups = tuple[tuple[str, dict[str, Any]], ...]  # ordered path patterns and their settings
LINEAR = {"sgd": True, "adam": False, "adamw": False, "lean_adam": False}  # in the size of the gradient


def starts(spec: ParamSpec, base: ParamSpec) -> dict[str, float]:
    """What multiplies the spread of each leaf after Kaiming fan-in, by path.

    Args:
      spec: the leaves of a primary.
      base: those of a narrower one of the same layers.

    Raises:
      ParameterTreeError: the leaves are not the same; or `ConfigError`, their axes are undecided.

    >>> wide, base = (ParamSpec.of({"readout/kernel": jax.numpy.zeros((width, 10))}) for width in (256, 64))
    >>> starts(wide, base)
    {'readout/kernel': 0.5}
    """
    return {path: min(1.0, outward / inward) ** 0.5 for path, (inward, outward) in _ratios(spec, base).items()}


def scaled(params: PyTree, factors: Mapping[str, float]) -> PyTree:
    """A primary's own parameters times the factors of `starts`."""
    return trees.unflatten({path: factors[path] * leaf for path, leaf in trees.flatten(params).items()}, params)


def rates(spec: ParamSpec, base: ParamSpec, optimizer: str) -> dict[str, float]:
    """What multiplies the rate of each leaf, by path.

    Args:
      spec: the leaves of a primary.
      base: those of a narrower one of the same layers.
      optimizer: `sgd`, with momentum or without; `adam`, `adamw`, `lean_adam`.

    Raises:
      ConfigError: another optimizer, or leaves whose axes are undecided.
      ParameterTreeError: the leaves are not the same.

    >>> wide, base = (ParamSpec.of({"readout/kernel": jax.numpy.zeros((width, 10))}) for width in (256, 64))
    >>> rates(wide, base, "adam")
    {'readout/kernel': 0.25}
    """
    if optimizer not in LINEAR:
        raise ConfigError(f"no width rule for {optimizer!r}; {nearest(optimizer, LINEAR)}")
    linear = LINEAR[optimizer]
    return {path: (outward if linear else 1.0) / inward for path, (inward, outward) in _ratios(spec, base).items()}


def groups(model: HyperModel, base: HyperModel, optimizer: str) -> Groups:
    """Groups of `train.optimizers.build` in which each leaf has its rate, for theta0 and for its columns of the head.

    Leaves that are not generated, and what comes before the head, keep their rate.

    Args:
      model: with a dense head.
      base: the same at the width at which the rate was found.
      optimizer: see `rates`.

    Raises:
      ConfigError: another head, in which leaves share columns; what `rates` raises.

    >>> import flax.linen as nn, jax.numpy as jnp
    >>> from hyperlab import hypernetize
    >>> wide, base = (hypernetize(nn.Dense(3), jnp.zeros((1, inputs))) for inputs in (256, 64))
    >>> [pattern for pattern, _ in groups(wide, base, "adam")]
    ['hypernet/head/*', 'theta0/kernel', '**']
    """
    if not isinstance(HEADS.get(model.network.head), DenseHead):
        raise ConfigError(f"head is {model.network.head!r}, in which leaves share columns; a width rule needs 'dense'")
    found = rates(model.spec, base.spec, optimizer)
    own = {f"theta0/{path}": rate for path, rate in found.items() if model.parametrization.uses_theta0 and rate != 1}
    columns = {"learning_rate_multiplier": columns_of(model.spec, found)}
    ordered: Groups = (("hypernet/head/*", columns), *((path, {"learning_rate_multiplier": own[path]}) for path in own))
    paths = trees.flatten(jax.eval_shape(model.init, jax.random.key(0))["params"])
    rest = [path for path in paths if path not in own and not path.startswith("hypernet/head/")]
    return (*ordered, ("**", {})) if rest else ordered


def _ratios(spec: ParamSpec, base: ParamSpec) -> dict[str, tuple[float, float]]:
    """`(fan_in, fan_out)` of each leaf over that of the base."""
    known = {record.path: record for record in base}
    if differing := {record.path for record in spec} ^ set(known):
        raise ParameterTreeError(f"the base has other leaves: {', '.join(sorted(differing)[:5])}")
    fans = {record.path: (_fans(record), _fans(known[record.path])) for record in spec}
    return {path: (own[0] / other[0], own[1] / other[1]) for path, (own, other) in fans.items()}


def _fans(record: Record) -> tuple[int, int]:
    return (record.fan_in, record.fan_out) if record.decided.is_matrix else (1, record.size // record.copies)
