"""Digits, every arm but those of map and transfer, five tuning seeds: the embedded default without its shortcuts.

Run:      python -m experiments.stability --config configs/stability/digits.py --workdir runs/digits
Hardware: 2 CPU cores, 2 GB
Time:     13 min (Intel Xeon; 22 min where other work took half of the machine)
Expect:   median steps to 90 % [fastest, slowest of 10 seeds]: no hypernetwork 28 [18, 48], default 102 [60, 188],
          encoding only 54 [42, 66], additive only 28 [24, 38], MIP 26 [22, 36]; default + LayerNorm after 34 [24, 44],
          + weight norm 122 (1 never), + output norm never, + BatchNorm over gamma 104. MIP against default -85 steps
          [-122, -47]; MIP against additive -2.4 [-6.0, 1.2], not separable
"""

from experiments import stability
from hyperlab.studies.stability.arms import ARMS, RIVALS


def get_config():
    config = stability.get_config()
    elsewhere = {*RIVALS, *(name for name, arm in ARMS.items() if arm.by_width)}  # in the map, in the study of transfer
    config.arms = tuple(name for name in ARMS if name not in elsewhere)
    config.tuning_seeds = 5
    config.train_length = "200 steps"
    config.evaluate_every = 2
    return config
