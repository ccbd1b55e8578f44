"""`diagnose`: the certificate without a batch and a loss: is a hypernetwork proportional, dead, exploding or sound?"""

from typing import Any

from jaxtyping import PyTree

from hyperlab.hypernet.certificate import Certificate
from hyperlab.hypernet.measuring import default_inputs, gammas_of, measured
from hyperlab.hypernet.model import HyperModel
from hyperlab.seeds import check_seed

Diagnosis = Certificate  # its name from before there were certificates


def diagnose(
    model: HyperModel,
    gamma_range: tuple[float, float] | None = None,
    *inputs: PyTree,
    seeds: int = 8,
    points: int = 21,
    seed: int = 0,
    **kwargs: Any,
) -> Certificate:
    """The verdict on a hypernetwork at initialisation: proportional, dead, exploding or sound.

    It judges what can be judged without data and loss, and tries no change; `certify` does the rest.

    Args:
      model: from `hypernetize`.
      gamma_range: `(low, high)` along which gamma moves, all coordinates together; by default the model's own
        range, or [0, 1].
      *inputs: a batch for the primary; by default standard normal numbers in the shapes that the model was
        built with.
      seeds: how many initialisations.
      points: how many gammas.
      seed: of the initialisations and the default inputs.
      **kwargs: passed to the primary.

    Returns:
      A `Certificate`; `str()` of it is a sentence, `.plot(path)` the picture.

    Raises:
      GammaError: `gamma_range` is not an increasing pair.
      ConfigError: a seed that is none.

    >>> import flax.linen as nn, jax.numpy as jnp
    >>> from hyperlab.hypernet.hypernetize import hypernetize
    >>> net = nn.Sequential([nn.Dense(32), nn.relu, nn.Dense(10)])
    >>> diagnose(hypernetize(net, jnp.zeros((16, 8)), encoding="raw", parametrization="direct")).verdict
    'proportional'
    >>> diagnose(hypernetize(net, jnp.zeros((16, 8)))).verdict
    'sound'
    """
    check_seed(seed)
    along, model = gammas_of(model, gamma_range, points), model.extrapolating()
    kwargs = {**model.example_kwargs, **kwargs}
    return measured(model, along, inputs or default_inputs(model, seed), kwargs, seeds=seeds, seed=seed)
