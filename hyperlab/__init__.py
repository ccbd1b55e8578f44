"""hyperlab: experiments with networks whose parameters come from somewhere else.

>>> import flax.linen as nn, jax, jax.numpy as jnp
>>> import hyperlab as hl
>>> model = hl.hypernetize(nn.Dense(3), jnp.zeros((1, 4)))
>>> variables = model.init(jax.random.key(0))
>>> model.apply(variables, jnp.array([0.5]), jnp.ones((2, 4))).shape
(2, 3)

What is named here is imported with its first use: `hyperlab --help` need not wait for JAX.
"""

import importlib

from hyperlab import moved
from hyperlab.results import results  # not with its first use: the room, once imported, would take the function's name

moved.install()
__version__ = "0.1.0"
_ROOMS = ("errors", "hypernet", "interop", "local_sgd", "pruning", "roles", "trees", "uncertainty")
_FROM = {name: "hypernet" for name in ("certify", "diagnose", "hypernetize")}
_FROM |= {"segment": "in_context", "load_network": "networks"}
__all__ = [
    "certify",
    "diagnose",
    "errors",
    "hypernet",
    "hypernetize",
    "interop",
    "load_network",
    "local_sgd",
    "pruning",
    "results",
    "roles",
    "run",
    "segment",
    "trees",
    "uncertainty",
]


def run(config, workdir=None, **options):
    """Runs the study that `config.study` names, without touching command-line flags.

    Args:
      config: an `ml_collections.ConfigDict`, for instance from `experiments.stability.get_config()`.
      workdir: the run folder; the same folder continues a run. By default a new one under `runs/`.
      **options: passed to `hyperlab.launch.run`.

    Returns:
      The path of the run folder.
    """
    from hyperlab import launch

    return launch.run(config, workdir, **options)


def __getattr__(name):
    if name in _ROOMS:
        return importlib.import_module(f"hyperlab.{name}")
    if name in _FROM:
        return getattr(importlib.import_module(f"hyperlab.{_FROM[name]}"), name)
    raise AttributeError(f"module 'hyperlab' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
