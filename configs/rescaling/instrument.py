"""A test of the instrument: a copy of an arm must not be separable from it, a planted handicap must be found.

Run:      python -m experiments.rescaling --config configs/rescaling/instrument.py --workdir runs/instrument
Hardware: 2 CPU cores, 2 GB
Time:     TIME
Expect:   EXPECT
"""

from experiments import rescaling


def get_config():
    config = rescaling.get_config()
    config.arms = ("sshn", "sshn_again", "sshn_slowed")
    config.contrasts = ("sshn - sshn_again", "sshn - sshn_slowed")
    config.tuning_seeds = 5
    config.report_seeds = 8
    return config
