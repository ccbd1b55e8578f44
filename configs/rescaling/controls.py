"""What reviewers asked for, on procedural shapes: longer Fixed networks, SSHN at one factor, narrower networks, zoom.

Run:      python -m experiments.rescaling --config configs/rescaling/controls.py --workdir runs/controls
Hardware: 2 CPU cores, 3 GB
Time:     about 8 minutes (Intel Xeon)
Expect:   test Dice at phi .1, .3, .5, mean of 3 seeds (a look): Fixed .757, .785, .806; with 2x the steps .832, .856,
          .885, with 4x .838, .889, .862; SSHN .767, .756, .608, with cos|sin .798, .802, .780, at one phi .819, .826,
          .832. SSHN - Fixed with 4x the steps -.152 [-.519, .215], not separable with 3 seeds
"""

from experiments import rescaling


def get_config():
    config = rescaling.get_config()
    config.arms = (
        "fixed",
        "stochastic",
        "sshn",
        "sshn_blind",
        "sshn_scaled",
        "sandwich",
        "constant",
        "fixed_4x",
        "width",
        "slimmable",
    )
    config.contrasts = ("sshn - sshn_blind", "sshn_scaled - sshn_blind", "sshn_blind - stochastic")
    config.tuning_seeds = 1
    config.report_seeds = 5
    return config
