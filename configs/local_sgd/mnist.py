"""MNIST and LeNet-300-100: H of 2, 8 and 32, the switch of post-local SGD at 25, 50 and 75 %, all outer steps.

Run:      python -m experiments.local_sgd --config configs/local_sgd/mnist.py --config.data.root=DIR
Hardware: 2 CPU cores, 3 GB
Time:     not run as a whole yet; about 20 min, estimated from 12 ms for a step of all replicas
Expect:   not run as a whole yet; a report of 40 rows, whatever the order of the arms
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
