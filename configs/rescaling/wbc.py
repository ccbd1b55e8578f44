"""White blood cells (nucleus and cytoplasm), 64x64: a network for each of five factors against one for all.

Run:      python -m experiments.rescaling --config configs/rescaling/wbc.py --config.data.root=DIR
Hardware: 2 CPU cores, 3 GB; DIR holds the folder "Dataset 1"
Time:     TIME
Expect:   EXPECT
"""

from experiments import rescaling


def get_config():
    config = rescaling.get_config()
    config.data.name = "wbc"
    config.data.size = (64, 64)
    config.primary.widths = (16, 16, 16, 16)
    config.factors = (0.1, 0.2, 0.3, 0.4, 0.5)
    config.rates = (0.001, 0.003, 0.01)
    config.tuning_seeds = 1
    config.report_seeds = 5
    config.train_length = "1500 steps"
    config.programs = 2  # four make a step 4 % faster and take twice as long to compile
    return config
