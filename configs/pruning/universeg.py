"""UniverSeg is pruned: does a network segment tasks that it never saw with a fraction of its parameters?

Run:      python -m experiments.pruning --config configs/pruning/universeg.py --workdir runs/pruned_universeg
Hardware: 2 CPU cores, 3 GB
Time:     about 10 minutes (estimated; not run as a whole yet)
Expect:   a question, not a number: not run as a whole yet
"""

from experiments import pruning


def get_config():
    config = pruning.get_config()
    config.task = "in_context"
    config.arms = ("global_magnitude", "layer_magnitude", "random")
    config.report_seeds = 3
    config.compressions = (2.0, 4.0, 8.0, 16.0)
    config.compared = (2.0, 4.0, 8.0, 16.0)
    config.batch_size = 4
    config.evaluation_batch = 20
    return config
