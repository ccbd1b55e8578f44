"""The embedded default with twice the tuning after pruning: does the order of the methods depend on the budget?

Run:      python -m experiments.pruning --config configs/pruning/budget.py --workdir runs/budget
Hardware: 2 CPU cores, 2 GB
Time:     about 2 minutes (Intel Xeon, beside other work: 3:03)
Expect:   accuracy, 5 seeds: global - layerwise magnitude -.178 [-.223, -.133] (-.200 with half the tuning), global -
          random -.180 [-.225, -.135] (-.188), layerwise - random -.002 [-.011, .007], not separable (+.012
          [.001, .022], with another grid of rates): the order stays, but for the two that are close
"""

from experiments import pruning


def get_config():
    config = pruning.get_config()
    config.tuning_length = "300 steps"
    return config
