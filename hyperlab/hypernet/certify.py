"""`certify`: before step 0, in ten seconds and without training, is a hypernetwork sound, and what would mend it?"""

import functools
from collections.abc import Callable
from typing import Any

from jaxtyping import Array, PyTree

from hyperlab.errors import ConfigError
from hyperlab.hypernet.certificate import Certificate
from hyperlab.hypernet.measuring import default_inputs, gammas_of, measured
from hyperlab.hypernet.mending import mended
from hyperlab.hypernet.model import HyperModel
from hyperlab.seeds import check_seed


def certify(
    model: HyperModel,
    gamma_range: Any = None,
    batch: PyTree = None,
    loss: Callable[..., Array] | None = None,
    *,
    seeds: int = 8,
    points: int = 21,
    seed: int = 0,
    mend: bool = True,
    **kwargs: Any,
) -> Certificate:
    """Whether a hypernetwork is sound before its first step; where it is not, which part, and what mends it.

    Several initialisations are measured along gamma on the batch, each beside the ordinary network with the same
    initialisation: is theta proportional to gamma, has every generated leaf the size of the primary's own, have outputs
    and gradients those of the ordinary network, how much do they vary over gamma, and how far does a step go? Where
    something is not sound, changes of one option are tried in turn, and the first that is sound stands in the result
    with its own numbers (`change`, `mended`); where none is, the one that comes nearest.

    Args:
      model: from `hypernetize`.
      gamma_range: `(low, high)` along which gamma moves, all coordinates together, or draws `[points, d]` from the law
        that it will be drawn from, which says more where gamma has many coordinates. By default the model's own range,
        or [0, 1].
      batch: `(inputs, targets)` as the loss takes them; inputs are an array, or a tuple of what the primary is called
        with. By default standard normal inputs, and no limit but those of `diagnose`.
      loss: `(outputs, targets) -> scalar`. By default half the mean square of the outputs, by that of the ordinary
        network's.
      seeds: how many initialisations.
      points: how many gammas along a range.
      seed: of the initialisations and the default inputs.
      mend: whether changes are tried.
      **kwargs: passed to the primary.

    Returns:
      A `Certificate`: `.sound`, `.verdict`, `.findings`, the numbers; `str()` of it is a sentence, `.plot(path)` the
      picture.

    Raises:
      GammaError: `gamma_range` is neither an increasing pair nor draws `[points, d]`.
      ConfigError: a batch without a loss or a loss without a batch; a seed that is none.

    >>> import flax.linen as nn, jax, jax.numpy as jnp, optax
    >>> from hyperlab.hypernet.hypernetize import hypernetize
    >>> net = nn.Sequential([nn.Dense(32), nn.relu, nn.Dense(10)])
    >>> images, labels = jax.random.normal(jax.random.key(0), (16, 8)), jnp.arange(16) % 10
    >>> loss = lambda logits, labels: optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    >>> usual = hypernetize(net, images, encoding="raw", parametrization="direct")
    >>> found = certify(usual, (0.0, 1.0), (images, labels), loss, seeds=3)
    >>> found.sound, found.verdict, found.change, found.mended.sound
    (False, 'proportional', "parametrization='additive'", True)
    """
    if (batch is None) != (loss is None):
        raise ConfigError("certify takes a batch (inputs, targets) and a loss (outputs, targets) together, or neither")
    if batch is not None and not (isinstance(batch, tuple) and len(batch) == 2):
        raise ConfigError(f"batch is {type(batch).__name__}; expected a pair (inputs, targets)")
    check_seed(seed)
    along, model = gammas_of(model, gamma_range, points), model.extrapolating()
    inputs, judge = default_inputs(model, seed), None
    if batch is not None:
        inputs = batch[0] if isinstance(batch[0], tuple) else (batch[0],)
        judge = functools.partial(_against, loss, batch[1])
    judged = functools.partial(
        measured, along=along, inputs=inputs, kwargs={**model.example_kwargs, **kwargs}, judge=judge, seed=seed
    )
    found = judged(model, seeds=seeds)
    if found.sound or not mend or found.verdict == "non-finite":
        return found
    return mended(model, found, functools.partial(judged, seeds=min(seeds, 4)))


def _against(loss: Any, targets: PyTree, outputs: PyTree) -> Array:
    return loss(outputs, targets)
