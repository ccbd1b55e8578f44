"""Replicas of a hypernetwork: theta0 and the layers that make theta from gamma are averaged, on digits.

Run:      python -m experiments.local_sgd --config configs/local_sgd/hypernetwork.py --workdir runs/local_hypernetwork
Hardware: 2 CPU cores, 2 GB
Time:     2.5 min (15 rows, 255 trainings; other work took more than half of the machine)
Expect:   at H = 16, 5 seeds: local - synchronous -0.010 [-0.050, +0.029], SlowMo - local +0.010 [-0.002, +0.022] and
          SlowMo - its control +0.004 [-0.010, +0.018], none separable; synchronous - H-fold batch +0.513
          [+0.243, +0.783], better (its training has 16 updates)
"""

from experiments import local_sgd


def get_config():
    config = local_sgd.get_config()
    config.task = "hypernetwork"
    config.network.width = 0.1
    config.arms = ("synchronous", "large_batch", "local", "slowmo", "control", "diloco")
    config.rates = (0.002, 0.2)
    config.target = 0.9
    return config
