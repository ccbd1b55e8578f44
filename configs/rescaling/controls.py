"""What of a scale-space hypernetwork does what, on procedural shapes: blind to phi, a tenth of Delta, rivals, lengths.

Run:      python -m experiments.rescaling --config configs/rescaling/controls.py --workdir runs/controls
Hardware: 2 CPU cores, 3 GB
Time:     20 minutes (AMD EPYC, beside other work)
Expect:   test Dice at phi .1, .3, .5, mean of 5 seeds: Fixed .541, .767, .836, with 4x the steps .612, .860, .919;
          Stochastic .496, .748, .812; SSHN .458, .718, .768, blind to phi .490, .764, .840, a tenth of Delta .494,
          .741, .807, at one phi .530, .773, .855, by the sandwich rule .328, .519, .638. SSHN - SSHN blind -.050
          [-.093, -.007]: worse; a tenth of Delta - blind -.017 [-.090, .056] and blind - Stochastic .013 [-.083, .109]:
          not separable with 5 seeds
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
