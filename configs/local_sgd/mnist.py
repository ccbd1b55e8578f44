"""MNIST and LeNet-300-100: H of 2, 8 and 32, the switch of post-local SGD at 25, 50 and 75 %, all outer steps.

Run:      python -m experiments.local_sgd --config configs/local_sgd/mnist.py --config.data.root=DIR
Hardware: 2 CPU cores, 3 GB
Time:     9 min beside other work
Expect:   local - synchronous at H = 32 -.0250 [-.0279, -.0221] in accuracy (.9455 and .9205); SlowMo - local +.0035
          [-.0006, .0076], SlowMo - its control without momentum +.0051 [-.0006, .0108], neither separable; the H-fold
          batch .677, a switch to local steps at 75 % of the run .944. 5 seeds, 12,288 examples: a short training.
"""

from experiments import local_sgd


def get_config():
    config = local_sgd.get_config()
    config.data.name = "mnist"
    config.data.limit = 6000  # of each split
    config.arms = (
        "synchronous",
        "large_batch",
        "local",
        "local_reset",
        "local_average",
        "post_local_25",
        "post_local",
        "post_local_75",
        "hierarchical",
        "slowmo",
        "control",
        "diloco",
        "lookahead",
        "int8",
        "sign",
    )
    config.periods = (2, 8, 32)
    config.length = "2 epochs"
    config.tuning_seeds = 1
    config.evaluation_batch = 1000
    return config
