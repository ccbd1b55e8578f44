"""An A/A and a sensitivity check: a copy of Tyche must not be separable from it, a planted handicap must be found.

Run:      python -m experiments.stochastic --config configs/stochastic/instrument.py --workdir runs/instrument
Hardware: 2 CPU cores, 2 GB
Time:     5.5 minutes (beside other work, Intel Xeon)
Expect:   8 seeds: the copy is not separable, but its interval is wide: unbiased GED -.343 [-1.065, .379],
          best-candidate Dice +.200 [-.111, .511]. A hundredth of the rate is found in best-candidate Dice, +.495
          [.378, .612], and not in unbiased GED, -.322 [-.669, .024]: with networks trained so briefly 8 seeds cannot
          tell methods apart in GED
"""

from experiments import stochastic


def get_config():
    config = stochastic.get_config()
    config.arms = ("tyche", "tyche_again", "tyche_slowed")
    config.contrasts = ("tyche - tyche_again", "tyche - tyche_slowed")
    config.report_seeds = 8
    return config
