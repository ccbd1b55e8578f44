"""Hippocampus volumes of different subjects in 3D, at half resolution; split by scan, paired on the same side.

Run:      python -m experiments.registration --config configs/registration/hippocampus.py --config.data.root=DIR
Hardware: 2 CPU cores, 3 GB; DIR is the folder of msd_hippocampus; needs the extra medical (nibabel)
Time:     7 minutes (AMD EPYC, beside other work)
Expect:   3 seeds, a look. Dice of the identity .562, of pairs optimised one by one .665 to .734; separate networks .544
          to .605, HyperMorph with MIP .534 to .557: 150 steps are few, and MIP - separate is -.047 [-.072, -.023]
"""

from experiments import registration


def get_config():
    config = registration.get_config()
    config.data.name = "msd_hippocampus"
    config.data.task = "subjects"
    config.data.size = (20, 28, 20)
    config.data.downsample = 2
    config.data.subjects = 0
    config.network.encoder = (8, 16)
    config.network.decoder = (16, 16, 8)
    config.arms = ("separate", "mip")
    config.contrasts = ("mip - separate",)
    config.weights = (0.1, 0.5, 0.9)
    config.curve_weights = (0.0, 0.3, 0.7, 0.99)
    config.report_seeds = 3  # a look; 5 for a claim
    config.steps_per_call = 10
    config.train_length = "150 steps"
    config.pairwise.steps = 40
    return config
