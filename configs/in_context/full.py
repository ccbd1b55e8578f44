"""The published size: UniverSeg of width 64 at 128x128 with 64 support images, for an accelerator.

Run:      python -m experiments.in_context --config configs/in_context/full.py --config.data.store=STORE
Hardware: one GPU with 40 GB or more; STORE of as many data sets as there are, at 128x128
Time:     printed by the progress bar; on 2 CPU cores a step takes minutes
Expect:   a question, not a number: nobody has run it; the published recipe's optimiser, rate and length are not known
"""

from configs.in_context import held_out


def get_config():
    config = held_out.get_config()
    config.data.size = (128, 128)
    # Sets with 64 examples and more outside of their test split.
    config.data.development = ("isbi2012_membrane",)
    config.data.held_out = ("wbc",)
    config.network.widths = (64, 64, 64, 64)
    config.network.rival_widths = (64, 64, 64, 64)
    config.network.unet_widths = (32, 64, 64, 64)
    config.support_sizes = (1, 4, 16, 64)
    config.train_support = 64
    config.arms = ("universeg", "squeeze", "prototypes", "unet_support", "unet_task")
    config.rates = (0.0001, 0.0003, 0.001)
    config.train_length = "50000 steps"
    config.tuning_length = "5000 steps"
    config.report_seeds = 5
    return config
