"""A test of the instrument: a copy of an arm must not be separable from it, a planted handicap must be found.

Run:      python -m experiments.stability --config configs/stability/instrument.py --workdir runs/instrument
Hardware: 2 CPU cores, 2 GB
Time:     32 s (Intel Xeon, with compiled programs kept from before)
Expect:   steps to 90 %: the copy -1.0 [-7.9, 5.9], not separable; a tenth of the rate -16 [-22, -10], found (10 seeds)
"""

from experiments import stability


def get_config():
    config = stability.get_config()
    config.arms = ("mip", "mip_again", "mip_slowed")
    config.contrasts = ("mip - mip_again", "mip - mip_slowed")
    return config
