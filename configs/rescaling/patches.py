"""Volumes in 3D patches of a prepared set, measured on whole volumes: of hippocampus here, of any store that you make.

Run:      python -m experiments.rescaling --config configs/rescaling/patches.py --config.data.root=STORE
Hardware: 2 CPU cores, 3 GB; STORE from `hyperlab prepare DIR --out STORE` (pip install '.[medical]')
Time:     34 min for `--config.arms="('fixed',)"` (AMD EPYC, beside other work); never run with all arms
Expect:   hippocampus, 800 steps, one seed: Fixed at phi .5 with a test Dice of .891 and .876 over whole volumes,
          34 subjects; of the arms of the prior nothing is known yet

Planes in place of volumes are --config.data.size="(48, 48)" --config.batch_size=8: with 1,500 steps and widths 16, 32,
64 Fixed was at .859 and .844, and the prior's Stochastic at .735 and .738.
"""

from experiments import rescaling


def get_config():
    config = rescaling.get_config()
    config.data.name = "store"
    config.data.size = (32, 48, 32)
    config.batch_size = 2
    config.primary.widths = (12, 24, 48)
    config.factors = (0.5,)
    config.front = (0.2, 0.3, 0.4, 0.5)
    config.outside = ()
    config.arms = ("fixed", "stochastic")
    config.contrasts = ("stochastic - fixed",)
    config.rates = (0.01,)
    config.tuning_seeds = 1
    config.widenings = 0
    config.report_seeds = 1  # a look
    config.train_length = "800 steps"
    config.curve_points = 1
    config.curve_examples = 4
    config.evaluation_batch = 4
    return config
