"""A test of the instrument: a copy of a method must not be separable from it, a planted handicap must be found.

Run:      python -m experiments.pruning --config configs/pruning/instrument.py --workdir runs/instrument
Hardware: 2 CPU cores, 2 GB
Time:     about 1 minute (Intel Xeon, beside other work: 1:20)
Expect:   accuracy, mean over four compressions, 8 seeds: the copy +.001 [-.0009, .0028], not separable; a hundredth
          of the rate .234 [.200, .267], found
"""

from experiments import pruning


def get_config():
    config = pruning.get_config()
    config.arms = ("global_magnitude", "global_magnitude_again", "global_magnitude_slowed")
    config.controls = False
    config.contrasts = (
        "global_magnitude - global_magnitude_again",
        "global_magnitude - global_magnitude_slowed",
    )
    config.speedup_contrasts = ()
    config.report_seeds = 8
    return config
