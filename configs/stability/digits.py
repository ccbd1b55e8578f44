"""Digits, every arm of the study, five tuning seeds: the embedded default without its shortcuts.

Run:      python -m experiments.stability --config configs/stability/digits.py --workdir runs/digits
Hardware: 2 CPU cores, 2 GB
Time:     TIME
Expect:   EXPECT
"""

from experiments import stability
from hyperlab.stability import ARMS


def get_config():
    config = stability.get_config()
    config.arms = tuple(ARMS)
    config.tuning_seeds = 5
    config.train_length = "200 steps"
    config.evaluate_every = 2
    return config
