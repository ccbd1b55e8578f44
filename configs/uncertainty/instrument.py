"""The instrument itself: two copies of spatial dropout must not be separable, a planted handicap must be found.

Run:      python -m experiments.uncertainty --config configs/uncertainty/instrument.py --workdir runs/instrument
Hardware: 2 CPU cores, 3 GB
Time:     2.5 minutes (beside other work, Intel Xeon)
Expect:   8 seeds: the copy is not separable, in Dice +.006 [-.052, .065], in error detection -.006 [-.044, .032]; a
          hundredth of the learning rate is found, Dice +.300 [.168, .432]
"""

from experiments import uncertainty


def get_config():
    config = uncertainty.get_config()
    config.data.size = (48, 48)
    config.arms = ("none", "spatial", "spatial_again", "spatial_handicapped")
    config.contrasts = (
        "dice: spatial - spatial_again",
        "error_detection: spatial - spatial_again",
        "dice: spatial - spatial_handicapped",
    )
    config.dropout_rates = (0.1,)
    config.data.shifts = ()
    config.report_seeds = 8
    return config
