"""A test of the instrument: a copy of an arm must not be separable from it, a planted handicap must be found.

Run:      python -m experiments.registration --config configs/registration/instrument.py --workdir runs/instrument
Hardware: 2 CPU cores, 2 GB
Time:     4 minutes beside other work (AMD EPYC)
Expect:   8 seeds, Dice: MIP - MIP again +.009 [-.003, +.022], not separable; MIP - MIP at a tenth of its rate
          +.042 [+.006, +.078], better; the same two verdicts for the loss
"""

from experiments import registration


def get_config():
    config = registration.get_config()
    config.arms = ("mip", "mip_again", "mip_slowed")
    config.contrasts = ("mip - mip_again", "mip - mip_slowed")
    config.report_seeds = 8
    return config
