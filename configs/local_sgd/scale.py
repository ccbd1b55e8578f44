"""Scale as an axis: 2 to 32 replicas with the same local batch, so that the global batch grows from 16 to 256.

Run:      python -m experiments.local_sgd --config configs/local_sgd/scale.py --workdir runs/local_sgd_scale
Hardware: 2 CPU cores, 3 GB
Time:     4 minutes (beside other work, Intel Xeon)
Expect:   5 seeds, 95 % intervals, 32 replicas, H = 8: local - synchronous +.009 [.005, .013], better; SlowMo - local
          -.002 [-.008, .003] and SlowMo - its control -.001 [-.006, .005], not separable; synchronous - H-fold batch
          +.076 [.011, .141], better. With 2 to 16 replicas accuracies are .976 to .983 for all but the H-fold batch

More data and more width are --config.data.name=mnist --config.data.limit=N and --config.network.width=W, each in a
folder of its own.
"""

from experiments import local_sgd


def get_config():
    config = local_sgd.get_config()
    config.arms = ("synchronous", "large_batch", "local", "slowmo", "control")
    config.replicas = (2, 4, 8, 16, 32)
    config.periods = (1, 8)
    config.length = "30 epochs"
    config.tuning_seeds = 1
    return config
