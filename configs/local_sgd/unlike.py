"""Replicas that are not alike: each has two shards of the digits sorted by class, so few classes.

Run:      python -m experiments.local_sgd --config configs/local_sgd/unlike.py --workdir runs/local_sgd_unlike
Hardware: 2 CPU cores, 2 GB
Time:     1.6 min (other work took about half of the machine)
Expect:   at H = 16, 5 seeds: local - synchronous -0.021 [-0.035, -0.008], worse; SlowMo - local
          +0.0050 [+0.0002, +0.0098], better; SlowMo - its control without momentum -0.012 [-0.022, -0.001], worse
"""

from experiments import local_sgd


def get_config():
    config = local_sgd.get_config()
    config.data.partition.kind = "shards"
    config.arms = ("synchronous", "large_batch", "local", "post_local", "slowmo", "control")
    return config
