"""MNIST and the small network of two convolutions that pruning tutorials use: seven compressions, five seeds.

Run:      python -m experiments.pruning --config configs/pruning/mnist.py --config.data.root=DIR
Hardware: 2 CPU cores, 3 GB
Time:     about 20 minutes (estimated; 35 minutes beside much other work, Intel Xeon)
Expect:   accuracy, mean over compressions 8 to 64, 5 seeds: global - layerwise magnitude +.058 [.030, .086], better;
          global - random +.126 [-.021, .273] and layerwise - random +.068 [-.087, .222], not separable; at equal
          theoretical speedup +.002 [.0003, .0042]. At 64 times: global .934, layerwise .742, random .505, but random
          with the shares of global magnitude .922: the shares matter more than the score
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
