"""The whole table on MNIST: H from 1 to 32 by 1 to 16 replicas, for local and post-local SGD, slow momentum, DiLoCo.

Run:      python -m experiments.local_sgd --config configs/local_sgd/grid.py --config.data.root=DIR
Hardware: 2 CPU cores, 4 GB
Time:     not run as a whole yet
Expect:   not run as a whole yet; 140 rows, whatever the order of the arms

The local batch stays the same, so the global batch grows with the replicas, and all see the same number of examples.
One replica alone sends nothing: there slow momentum and DiLoCo are optimisers of one network, and local SGD is
ordinary training.
"""

from experiments import local_sgd


def get_config():
    config = local_sgd.get_config()
    config.data.name = "mnist"
    config.data.limit = 6000  # of each split
    config.arms = ("synchronous", "large_batch", "local", "post_local", "slowmo", "control", "diloco")
    config.periods = (1, 2, 4, 8, 16, 32)
    config.replicas = (1, 4, 8, 16)
    config.length = "4 epochs"
    config.trials = 4
    config.tuning_seeds = 1
    config.evaluation_batch = 1000
    return config
