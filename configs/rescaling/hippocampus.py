"""Hippocampus, head and body, one slice of each volume: a harder real set, split by subject (two sides of one scan).

Run:      python -m experiments.rescaling --config configs/rescaling/hippocampus.py --config.data.root=DIR
Hardware: 2 CPU cores, 3 GB; DIR holds `images` and `labels` in NIfTI; pip install '.[medical]'
Time:     15 min (Intel Xeon, beside other work)
Expect:   test Dice at phi .1, .3, .5, mean of 3 seeds (a look): Fixed .820, .824, .843; Stochastic .685, .702, .592;
          FiLM .656, .692, .635; SSHN .687, .765, .741. SSHN - Fixed -.099 [-.183, -.014] over five factors
"""

from configs.rescaling import wbc


def get_config():
    config = wbc.get_config()
    config.data.name = "msd_hippocampus"
    config.report_seeds = 3  # a look
    config.train_length = "300 steps"
    config.rates = (0.0003, 0.001, 0.003, 0.01)
    config.programs = 4
    return config
