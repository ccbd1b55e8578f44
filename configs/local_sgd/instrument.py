"""A test of the instrument: a copy of an arm must not be separable from it, a planted handicap must be found.

Run:      python -m experiments.local_sgd --config configs/local_sgd/instrument.py --workdir runs/local_sgd_instrument
Hardware: 2 CPU cores, 2 GB
Time:     27 s (3 arms, 42 trainings; other work took more than half of the machine)
Expect:   local - local_again -0.0003 [-0.0040, +0.0033], not separable with 8 seeds; local - local_slowed +0.101
          [+0.078, +0.124], better
"""

from experiments import local_sgd


def get_config():
    config = local_sgd.get_config()
    config.arms = ("local", "local_again", "local_slowed")
    config.periods = (8,)
    config.contrasts = ("local - local_again", "local - local_slowed")
    config.parts = ()
    config.tuning_seeds = 1
    config.report_seeds = 8
    return config
