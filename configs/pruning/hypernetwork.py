"""A hypernetwork is pruned, not what it generates: theta0 and the layers that make theta from gamma, on digits.

Run:      python -m experiments.pruning --config configs/pruning/hypernetwork.py --workdir runs/pruned_hypernetwork
Hardware: 2 CPU cores, 2 GB
Time:     TIME
Expect:   EXPECT
"""

from experiments import pruning


def get_config():
    config = pruning.get_config()
    config.task = "hypernetwork"
    config.network.width = 0.1
    config.arms = ("global_magnitude", "layer_magnitude", "random")
    return config
