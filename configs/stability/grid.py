"""The full study on digits: depth of the primary, dimension and range of gamma, prior, optimizer, activation.

Run:      python -m hyperlab.sweep --config configs/stability/grid.py --workdir runs/grid
Hardware: 2 CPU cores, 3 GB; rows are independent (--parallel N here, --emit slurm on a cluster)
Time:     about 4 min a row, 20 rows (Intel Xeon; 8 and 10 min where other work took half of it)
Expect:   three of the 20 rows have been run: 1, 4 and 17; not 0, 2, 3, 5 to 16, 18 and 19. Median steps to 90 % of 10
          seeds. A primary of 2 layers: default 61 (1 never), encoding 39, additive 20, MIP 26 (1 never); additive
          against default -63.4 [-124.8, -2.0]; MIP against default -44.0 [-123.0, 35.0] and against additive +19.4
          [-27.6, 66.4], not separable. 16 latents: default 70 (1 never), encoding 75, additive 38, MIP 46; MIP against
          additive +6.4 [-4.1, 16.9], not separable. The same divided by sqrt(16): default 91 (1 never), encoding 55,
          additive 32, MIP 35; +1.8 [-4.5, 8.1], not separable
"""

from experiments import stability
from hyperlab.sweep import one_at_a_time


def get_config():
    config = stability.get_config()
    config.arms = ("plain", "default", "encoding", "additive", "mip")
    config.tuning_seeds = 5
    config.train_length = "200 steps"
    config.evaluate_every = 2
    return config


def sweep():
    yield from one_at_a_time(
        {
            "primary.widths": [(64,), (64, 64, 64, 64, 64)],  # 2 and 6 layers; the default has 3
            "gamma.dim": [4, 16],
            "gamma.low": [-1.0, 0.5],
            "gamma.high": [10.0],
            "gamma.prior": ["normal"],
            "hypernet.activation": ["relu", "gelu", "tanh", "elu"],
            "hypernet.hidden": [(128,), (64, 128), (16, 64, 128, 128)],
            "optimizers": [("adam",)],
        }
    )
    yield {"gamma.dim": 16, "hypernet.scale_by_dimension": True}
    yield {"gamma.dim": 16, "primary.widths": (64, 64, 64, 64, 64)}
    yield {"gamma.dim": 16, "optimizers": ("adam",)}
