"""A U-Net for any rescaling factor, whose theta a hypernetwork generates from it, trained by replicas that rarely talk.

Run:      python -m experiments.local_sgd --config configs/local_sgd/scale_space.py --workdir runs/local_scale_space
Hardware: 2 CPU cores, 2 GB
Time:     3:50 min (Intel Xeon, beside work that took more than half of it; 2:46 of processor time)
Expect:   Dice of shapes, mean over five phi, at H = 8 (an eighth of the bytes), 5 seeds: synchronous .850, local .829,
          SlowMo .857; local - synchronous -.021 [-.095, .054], SlowMo - local +.029 [-.042, .099] and SlowMo - its
          control +.013 [-.055, .081], none separable; H-fold batch .222: synchronous - H-fold batch +.628 [.477, .779],
          better (its training has 20 updates)
"""

from experiments import local_sgd


def get_config():
    config = local_sgd.get_config()
    config.task = "scale_space"
    config.data.name = "shapes"
    config.arms = ("synchronous", "large_batch", "local", "slowmo", "control")
    config.periods = (8,)
    config.replicas = (4,)
    config.optimizer.name = "adam"
    config.rates = (0.002, 0.1)
    config.trials = 5
    config.tuning_seeds = 1
    config.length = "160 steps"
    config.batch_size = 4
    config.in_turn = True
    config.evaluation_batch = 40
    config.target = 0.8
    return config
