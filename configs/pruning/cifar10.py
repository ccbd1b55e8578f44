"""CIFAR-10 and a ResNet-20 of half the width: global against layerwise magnitude, and both against random pruning.

Run:      python -m experiments.pruning --config configs/pruning/cifar10.py --config.data.root=DIR
Hardware: 2 CPU cores, 4 GB; DIR holds the official files, or image files by class
Time:     about 35 minutes (estimated; 69 minutes beside much other work, 70 minutes of processor time, Intel Xeon)
Expect:   test accuracy on the JPEG subset, mean over compressions 4 to 32, 3 seeds (a look): global - layerwise
          magnitude +.009 [-.007, .025], not separable; at equal theoretical speedup -.070 [-.092, -.048], worse;
          global - random +.086 [.052, .121]; layerwise - random +.077 [.027, .128]

A subset of JPEG images (10,800 to train on, 1,200 to choose on, 3,000 to report) is not comparable with numbers that
were published for CIFAR-10.
"""

from experiments import pruning


def get_config():
    config = pruning.get_config()
    config.data.name = "cifar10"
    config.network.kind = "cifar_resnet"
    config.network.width = 0.5
    config.augment = True
    config.optimizer.update({"name": "sgd", "nesterov": True, "schedule": "cosine", "weight_decay": 0.0005})
    config.arms = ("global_magnitude", "layer_magnitude", "random")
    config.compressions = (2.0, 4.0, 8.0, 16.0, 32.0)
    config.compared = (4.0, 8.0, 16.0, 32.0)
    config.published.update({"dataset": "CIFAR-10", "architecture": "ResNet-56"})
    config.parent_rates = (0.03, 0.1, 0.3)
    config.rates = (0.01, 0.03, 0.1)
    config.batch_size = 64
    config.parent_length = "6 epochs"
    config.tuning_length = "1 epoch"
    config.report_seeds = 3
    config.evaluation_batch = 500
    return config
