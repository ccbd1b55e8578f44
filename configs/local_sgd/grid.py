"""The whole table: H from 1 to 32 by 1 to 16 replicas, for local and post-local SGD, slow momentum and DiLoCo.

Run:      python -m experiments.local_sgd --config configs/local_sgd/grid.py --workdir runs/local_sgd_grid
Hardware: 2 CPU cores, 3 GB
Time:     42 min beside work that took most of the machine (36 min of processor time, AMD EPYC); 1,260 trainings
Expect:   140 rows, 5 seeds. With 16 replicas at H = 32: local - synchronous +.0006 [-.0059, .0070], SlowMo - local
          +.0022 [-.0059, .0103], SlowMo - its control -.0011 [-.0113, .0091], none separable. Nearly all rows are at
          .97 to .985, whatever H, but for the H-fold batch, .725 there. With one replica SlowMo at H = 1 and 4 and the
          control at 32 fail on report seeds, with numbers that had held on the tuning seed

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
