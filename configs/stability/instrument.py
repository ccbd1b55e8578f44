"""A test of the instrument: a copy of an arm must not be separable from it, a planted handicap must be found.

Run:      python -m experiments.stability --config configs/stability/instrument.py --workdir runs/instrument
Hardware: 2 CPU cores, 2 GB
Time:     TIME
Expect:   EXPECT
"""

from experiments import stability


def get_config():
    config = stability.get_config()
    config.arms = ("mip", "mip_again", "mip_slowed")
    config.contrasts = ("mip - mip_again", "mip - mip_slowed")
    return config
