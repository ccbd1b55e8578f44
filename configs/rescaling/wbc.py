"""White blood cells (nucleus and cytoplasm), 64x64: a network for each of five factors against one for all.

Run:      python -m experiments.rescaling --config configs/rescaling/wbc.py --config.data.root=DIR
Hardware: 2 CPU cores, 3 GB; DIR holds the folder "Dataset 1"
Time:     100 min (Intel Xeon, most of it taken by other work; about 45 on a quiet machine)
Expect:   test Dice at phi .1 to .5, mean of 5 seeds: Fixed .936, .933, .937, .938, .940; Stochastic .922, .922, .925,
          .925, .921; FiLM .924, .923, .922, .919, .910; SSHN .922, .928, .926, .924, .917. SSHN - Fixed -.0135
          [-.0197, -.0073]: worse; SSHN - Stochastic .0000 [-.0042, .0042], not separable. Training one SSHN takes
          62 s, one Fixed 33 s (phi .1) to 49 s (phi .5), compilation counted: 1.28 times the costliest, 1.55 the mean
"""

from experiments import rescaling


def get_config():
    config = rescaling.get_config()
    config.data.name = "wbc"
    config.data.size = (64, 64)
    config.rescale_input, config.prior.low = False, 0.0  # as published: the first level sees every pixel
    config.primary.widths = (16, 16, 16, 16)
    config.factors = (0.1, 0.2, 0.3, 0.4, 0.5)
    config.rates = (0.001, 0.003, 0.01)
    config.tuning_seeds = 1
    config.report_seeds = 5
    config.train_length = "1500 steps"
    config.programs = 2  # four make a step 4 % faster and take twice as long to compile
    return config
