"""Segmentation at any rescaling factor: gamma is phi in (0, 0.5], a U-Net's parameters are generated from it.

Run:      python -m experiments.stability --config configs/stability/rescaling.py --workdir runs/phi
Hardware: 2 CPU cores, 2 GB
Time:     14 min (Intel Xeon, most of it taken by other work; 6.6 min of processor time)
Expect:   median steps to Dice .6 [fastest, slowest of 5 seeds]: no hypernetwork 60 [50, 140], default never, encoding
          only 150 [100, 150] (2 never), additive only 80 [60, 100], MIP 90 [60, 120]. MIP against default -68 steps
          [-105, -31], Dice +.217 [.142, .291]; MIP against additive +12 steps [-18, 42], Dice +.078 [-.110, .265], not
          separable. Median final Dice: no hypernetwork .751, MIP .721: here phi is hardly needed
"""

from experiments import stability


def get_config():
    config = stability.get_config()
    config.task = "rescaling"
    config.gamma.high = 0.5
    config.arms = ("plain", "default", "encoding", "additive", "mip")
    config.rescaling.widths = (8, 16, 16)
    config.hypernet.hidden = (16, 64)
    config.optimizers = ("adam",)
    config.rates.adam = (0.003, 0.01, 0.03)
    config.tuning_seeds = 2
    config.widenings = 1
    config.report_seeds = 5
    config.train_length = "160 steps"
    config.batch_size = 8
    config.evaluate_every = 10
    config.curve_examples = 32
    config.samples = 5
    config.target_score = 0.6
    return config
