"""CIFAR-10 and a ResNet-20 of half the width, with GroupNorm: H of 4 and 16, slow momentum and its control.

Run:      python -m experiments.local_sgd --config configs/local_sgd/cifar10.py --config.data.root=DIR
Hardware: 2 CPU cores, 3 GB; DIR holds the official files, or image files by class
Time:     1:53 h beside other work, 2:53 h of processor time (AMD EPYC); alone perhaps 1.5 h
Expect:   12,000 training images, 352 steps, 3 seeds (a look: no claim). Accuracy: synchronous .388, local SGD .325 at
          H = 4 and .300 at 16, SlowMo .269 and .268, its control .306 and .225, H-fold batch .220 and .102. At
          H = 16 local - synchronous -.088 [-.190, .014], SlowMo - local -.032 [-.151, .088], SlowMo - its control
          +.044 [-.049, .136], none separable; synchronous - H-fold batch +.285 [.214, .356]: a short training, in which
          few averages are few updates

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
    config.target = 0.3  # of a short training
    config.evaluation_batch = 500
    return config
