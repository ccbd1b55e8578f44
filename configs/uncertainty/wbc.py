"""White blood cells, cytoplasm and nucleus: three classes, few images, a set on which every network does well.

Run:      python -m experiments.uncertainty --config configs/uncertainty/wbc.py --config.data.root=DIR
Hardware: 2 CPU cores, 4 GB; DIR holds 'Dataset 1'
Time:     not run as a whole yet
Expect:   a question, not a number: not run as a whole yet
"""

from experiments import uncertainty


def get_config():
    config = uncertainty.get_config()
    config.data.name = "wbc"
    config.data.size = (64, 64)
    config.data.shifts = ("size", "blur", "intensity", "noise")
    config.network.widths = (8, 16, 16, 16)
    config.train_length = "400 steps"
    return config
