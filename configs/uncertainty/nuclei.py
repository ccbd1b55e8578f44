"""Nuclei in fluorescence microscopy: the whole curve over dropout rates, graded shifts, stained images beside them.

Run:      python -m experiments.uncertainty --config configs/uncertainty/nuclei.py --config.data.root=DIR
Hardware: 2 CPU cores, 4 GB; DIR holds images, labels and index.csv of the 2018 Data Science Bowl
Time:     not run as a whole yet
Expect:   a question, not a number: not run as a whole yet
"""

from experiments import uncertainty


def get_config():
    config = uncertainty.get_config()
    config.data.name = "dsb2018_nuclei"
    config.data.size = (64, 64)
    config.data.kind = "fluo"
    config.data.other_kinds = ("colour",)  # shown, never scored: mean intensity alone tells them apart
    config.data.shifts = ("size", "blur", "intensity", "noise")
    config.data.severities = (1, 2, 3, 4, 5)
    config.network.widths = (8, 16, 16, 16)
    config.dropout_rates = (0.1, 0.2, 0.3, 0.5)
    config.train_length = "600 steps"
    config.tuning_length = "300 steps"
    config.draws = (5, 10, 20, 50)
    return config
