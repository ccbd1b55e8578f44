"""A hypernetwork is pruned, not what it generates: theta0 and the layers that make theta from gamma, on digits.

Run:      python -m experiments.pruning --config configs/pruning/hypernetwork.py --workdir runs/pruned_hypernetwork
Hardware: 2 CPU cores, 2 GB
Time:     about 1 minute (Intel Xeon, beside other work: 1:21)
Expect:   accuracy, 5 seeds: global - layerwise magnitude +.260 [.189, .332], global - random +.273 [.202, .343],
          layerwise - random +.012 [-.072, .096], not separable: global magnitude wins here and loses on the plain net
"""

from experiments import pruning


def get_config():
    config = pruning.get_config()
    config.task = "hypernetwork"
    config.network.width = 0.1
    config.arms = ("global_magnitude", "layer_magnitude", "random")
    return config
