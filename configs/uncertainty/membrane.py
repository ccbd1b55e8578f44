"""Membranes of neurons in electron microscopy: thin structures, one specimen, so n = 1 and no claim about specimens.

Run:      python -m experiments.uncertainty --config configs/uncertainty/membrane.py --config.data.root=DIR
Hardware: 2 CPU cores, 4 GB; DIR holds train/image and train/label
Time:     6 minutes (beside other work, Intel Xeon)
Expect:   3 seeds (a look), 95 % intervals. Dice spatial - none -.031 [-.091, .030]; error detection in the band,
          spatial - element-wise +.009 [-.068, .086]; independence -.069 [-.257, .119]: none separable. Dice of no
          dropout .745, the ensemble .757, Otsu .549, logistic regression .593

Intervals are over seeds: they speak of training and of nothing else.
"""

from experiments import uncertainty


def get_config():
    config = uncertainty.get_config()
    config.data.name = "isbi2012_membrane"
    config.data.size = (64, 64)
    config.data.shifts = ("blur", "intensity", "noise")
    config.network.widths = (8, 16, 16, 16)
    config.judging.target = 0.8
    config.report_seeds = 3
    return config
