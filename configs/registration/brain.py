"""Brain slices of different subjects; with the argument `warps`, each slice and a known random warp of itself.

Run:      python -m experiments.registration --config configs/registration/brain.py --config.data.root=DIR
Hardware: 2 CPU cores, 3 GB; DIR is the folder of brain_t1_ptbp
Time:     8 minutes (14 minutes of processor time)
Expect:   5 seeds, one scan a child. Dice of the identity .671, of pairs optimised one by one .743 to .771; separate
          networks .691 to .697 over the weights, HyperMorph with MIP .679 to .682, default .648 to .674, MIP with 3x
          the steps .694 to .702. Paired by seed at the weight of each arm: MIP - separate -.013 [-.024, -.002], worse;
          MIP with 3x the steps - separate +.006 [-.003, +.015], not separable; MIP - default +.009 [+.001, +.017],
          better. Training: 8 s (MIP), 17 s (3x the steps), 25 s (five separate networks).
"""

from experiments import registration
from hyperlab.studies.registration import INITIALIZERS


def get_config(task: str = "subjects"):
    config = registration.get_config()
    config.data.name = "brain_t1_ptbp"
    config.data.task = task
    config.data.size = (96, 80)
    config.data.downsample = 2
    config.data.subjects = 0
    config.data.amplitude = 3.0
    config.data.smoothness = 10.0
    config.data.noise = 0.02
    config.network.encoder = (16, 16, 16)
    config.network.decoder = (16, 16, 16, 16)
    config.hypernet.hidden = (16, 32, 64)
    config.weights = (0.1, 0.3, 0.5, 0.7, 0.9)
    config.curve_weights = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95, 0.99, 1.0)
    config.optimizer.update({"schedule": "", "warmup": 0.0, "clip": 0.0})  # as measured
    config.initializers = INITIALIZERS
    config.tuning_seeds = 1
    config.report_seeds = 5
    config.train_length = "500 steps"
    config.pairwise.steps = 100
    return config
