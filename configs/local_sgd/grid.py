"""The whole table: H from 1 to 32 by 1 to 16 replicas, for local and post-local SGD, slow momentum and DiLoCo.

Run:      python -m experiments.local_sgd --config configs/local_sgd/grid.py --workdir runs/local_sgd_grid
Hardware: 2 CPU cores, 3 GB
Time:     not run as a whole yet
Expect:   not run as a whole yet; 140 rows, whatever the order of the arms

The local batch stays the same, so the global batch grows with the replicas, and all see the same number of examples.
One replica alone sends nothing: there slow momentum and DiLoCo are optimisers of one network, and local SGD is
ordinary training.
"""

from experiments import local_sgd


def get_config():
    config = local_sgd.get_config()
    config.arms = ("synchronous", "large_batch", "local", "post_local", "slowmo", "control", "diloco")
    config.periods = (1, 2, 4, 8, 16, 32)
    config.replicas = (1, 4, 8, 16)
    config.length = "30 epochs"
    config.trials = 4
    config.tuning_seeds = 1
    return config
