"""Membranes of neurons in electron microscopy: thin structures, one specimen, so n = 1 and no claim about specimens.

Run:      python -m experiments.uncertainty --config configs/uncertainty/membrane.py --config.data.root=DIR
Hardware: 2 CPU cores, 4 GB; DIR holds train/image and train/label
Time:     not run as a whole yet
Expect:   a question, not a number: not run as a whole yet

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
