"""Hippocampus, head and body, one slice of each volume: a harder real set, split by subject (two sides of one scan).

Run:      python -m experiments.rescaling --config configs/rescaling/hippocampus.py --config.data.root=DIR
Hardware: 2 CPU cores, 3 GB; DIR holds `images` and `labels` in NIfTI; pip install '.[medical]'
Time:     TIME
Expect:   EXPECT
"""

from configs.rescaling import wbc


def get_config():
    config = wbc.get_config()
    config.data.name = "msd_hippocampus"
    config.train_length = "1000 steps"
    return config
