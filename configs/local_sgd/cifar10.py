"""CIFAR-10 and a ResNet-20 of half the width, with GroupNorm: H of 4 and 16, slow momentum and its control.

Run:      python -m experiments.local_sgd --config configs/local_sgd/cifar10.py --config.data.root=DIR
Hardware: 2 CPU cores, 6 GB; DIR holds the official files, or image files by class
Time:     not run as a whole yet; about 70 min, from 5.4 steps a second over the first 465 of 22,176
Expect:   not run as a whole yet; a report of 9 rows, whatever the order of the arms

GroupNorm, because running statistics of replicas that drift apart are a question of their own; a subset of JPEG images
is not comparable with numbers that were published for CIFAR-10.
"""

from experiments import local_sgd


def get_config():
    config = local_sgd.get_config()
    config.data.name = "cifar10"
    config.network.kind = "cifar_resnet"
    config.network.width = 0.5
    config.augment = True
    config.optimizer.weight_decay = 0.0001
    config.arms = ("synchronous", "large_batch", "local", "slowmo", "control")
    config.periods = (4, 16)
    config.length = "4 epochs"
    config.trials = 4
    config.tuning_seeds = 1
    config.batch_size = 16
    config.in_turn = True
    config.rates = (0.01, 1.0)
    config.report_seeds = 3
    config.target = 0.6
    config.evaluation_batch = 500
    return config
