"""A test of the instrument: a copy of Tyche must not be separable from it, a planted handicap must be found.

Run:      python -m experiments.stochastic --config configs/stochastic/instrument.py --workdir runs/instrument
Hardware: 2 CPU cores, 2 GB
Time:     about 12 minutes (estimated from 0.1 s a step; not run as a whole yet)
Expect:   "Tyche against other draws" not separable with 8 seeds; a hundredth of the rate worse in unbiased GED
"""

from experiments import stochastic


def get_config():
    config = stochastic.get_config()
    config.arms = ("tyche", "tyche_again", "tyche_slowed")
    config.contrasts = ("tyche - tyche_again", "tyche - tyche_slowed")
    config.report_seeds = 8
    return config
