"""A test of the instrument: a copy of an arm must not be separable from it, a planted handicap must be found.

Run:      python -m experiments.rescaling --config configs/rescaling/instrument.py --workdir runs/instrument
Hardware: 2 CPU cores, 2 GB
Time:     2.5 min (Intel Xeon)
Expect:   test Dice: the copy -0.028 [-0.127, 0.070], not separable; a tenth of the rate 0.351 [0.242, 0.460], found
"""

from experiments import rescaling


def get_config():
    config = rescaling.get_config()
    config.arms = ("sshn", "sshn_again", "sshn_slowed")
    config.contrasts = ("sshn - sshn_again", "sshn - sshn_slowed")
    config.tuning_seeds = 5
    config.report_seeds = 8
    return config
