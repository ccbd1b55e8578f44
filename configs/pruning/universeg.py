"""UniverSeg is pruned: does a network segment tasks that it never saw with a fraction of its parameters?

Run:      python -m experiments.pruning --config configs/pruning/universeg.py --workdir runs/pruned_universeg
Hardware: 2 CPU cores, 3 GB
Time:     about 5 minutes (8:37 beside much other work, Intel Xeon)
Expect:   Dice of tasks that were held out, mean over compressions 2 to 16, 3 seeds (a look): nothing is separable:
          global - layerwise magnitude +.000 [-.132, .132], global - random -.002 [-.085, .080]; parents .778, at 16
          times .750 to .773: the small network has parameters to spare
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
