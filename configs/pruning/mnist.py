"""MNIST and the small network of two convolutions that pruning tutorials use: seven compressions, five seeds.

Run:      python -m experiments.pruning --config configs/pruning/mnist.py --config.data.root=DIR
Hardware: 2 CPU cores, 3 GB
Time:     about 20 minutes (estimated; not run as a whole yet)
Expect:   a question, not a number: not run as a whole yet
"""

from experiments import pruning


def get_config():
    config = pruning.get_config()
    config.data.name = "mnist"
    config.data.limit = 6000  # of each split
    config.network.kind = "mnist_net"
    config.arms = ("global_magnitude", "layer_magnitude", "global_gradient", "random")
    config.compressions = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
    config.compared = (8.0, 16.0, 32.0, 64.0)
    config.tuning_compression = 16.0
    config.evaluation_batch = 1000
    return config
