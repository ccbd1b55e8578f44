"""White blood cells, 64x64, over more than ten times the cost: images are rescaled too; all arms, nine factors.

Run:      python -m experiments.rescaling --config configs/rescaling/wide.py --config.data.root=DIR
Hardware: 2 CPU cores, 3 GB; DIR holds the folder "Dataset 1"
Time:     not measured; 36,000 steps for each arm with one network, nine times as many for Fixed: some hours
Expect:   not measured yet
"""

from configs.rescaling import wbc


def get_config():
    config = wbc.get_config()
    config.rescale_input, config.prior.low = True, 0.05
    config.factors = config.front
    config.arms = ("fixed", "stochastic", "sshn", "sshn_blind", "sshn_scaled", "film", "slimmable")
    config.contrasts = ("sshn - fixed", "sshn - sshn_blind", "sshn - stochastic")
    config.rates = (0.003, 0.01, 0.03)
    config.train_length = "4000 steps"
    return config
