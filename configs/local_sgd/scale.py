"""Scale as an axis: 2 to 32 replicas with the same local batch, so that the global batch grows from 16 to 256.

Run:      python -m experiments.local_sgd --config configs/local_sgd/scale.py --workdir runs/local_sgd_scale
Hardware: 2 CPU cores, 3 GB
Time:     not run as a whole yet; about 6 min, estimated from its steps
Expect:   not run as a whole yet; a figure of the gap to synchronous training against the number of replicas

More data and more width are --config.data.name=mnist --config.data.limit=N and --config.network.width=W, each in a
folder of its own.
"""

from experiments import local_sgd


def get_config():
    config = local_sgd.get_config()
    config.arms = ("synchronous", "large_batch", "local", "slowmo", "control")
    config.replicas = (2, 4, 8, 16, 32)
    config.periods = (1, 8)
    config.length = "30 epochs"
    config.tuning_seeds = 1
    return config
