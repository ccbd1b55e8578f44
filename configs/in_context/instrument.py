"""An A/A and a sensitivity check: a copy of an arm must not be separable from it, a planted handicap must be found.

Run:      python -m experiments.in_context --config configs/in_context/instrument.py --workdir runs/instrument
Hardware: 2 CPU cores, 2 GB
Time:     2 minutes (beside other work, Intel Xeon)
Expect:   8 seeds: the copy is not separable, Dice -.005 [-.037, .028]; a hundredth of the learning rate is found,
          +.213 [.098, .328]
"""

from experiments import in_context


def get_config():
    config = in_context.get_config()
    config.arms = ("universeg", "universeg_again", "universeg_slowed")
    config.contrasts = ("universeg - universeg_again", "universeg - universeg_slowed")
    config.report_seeds = 8
    return config
