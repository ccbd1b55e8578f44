"""hyperlab: experiments with networks whose parameters come from somewhere else.

>>> import flax.linen as nn, jax, jax.numpy as jnp
>>> import hyperlab as hl
>>> model = hl.hypernetize(nn.Dense(3), jnp.zeros((1, 4)))
>>> variables = model.init(jax.random.key(0))
>>> model.apply(variables, jnp.array([0.5]), jnp.ones((2, 4))).shape
(2, 3)
"""

from hyperlab import errors, hypernet, interop, local_sgd, pruning, trees, uncertainty
from hyperlab.hypernet import diagnose, hypernetize
from hyperlab.in_context import segment

__version__ = "0.1.0"
__all__ = [
    "diagnose",
    "errors",
    "hypernet",
    "hypernetize",
    "interop",
    "local_sgd",
    "pruning",
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
