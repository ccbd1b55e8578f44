"""White blood cells (nucleus and cytoplasm), 64x64: a network for each of five factors against one for all.

Run:      python -m experiments.rescaling --config configs/rescaling/wbc.py --config.data.root=DIR
Hardware: 2 CPU cores, 3 GB; DIR holds the folder "Dataset 1"
Time:     31 min (Intel Xeon, most of it taken by other work; about a third of that on a quiet machine)
Expect:   test Dice at phi .1, .3, .5, mean of 5 seeds: Fixed .918, .909, .904; Stochastic .862, .865, .855; FiLM
          .820, .825, .825; SSHN .830, .836, .808. SSHN - Fixed -.081 [-.107, -.054] over five factors: inferior after
          these 300 steps; one step of SSHN costs 1.17 of Fixed's, training 62 s against 14 s, of which 51 s compile
          four programs (longer runs weigh that less)
"""

from experiments import rescaling


def get_config():
    config = rescaling.get_config()
    config.data.name = "wbc"
    config.data.size = (64, 64)
    config.primary.widths = (16, 16, 16, 16)
    config.factors = (0.1, 0.2, 0.3, 0.4, 0.5)
    config.rates = (0.0003, 0.001, 0.003, 0.01)
    config.tuning_seeds = 1
    config.report_seeds = 5
    config.train_length = "300 steps"
    config.programs = 4
    return config
