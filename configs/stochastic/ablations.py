"""What makes Tyche's candidates differ: loss, mixing, candidates in training, and what is changed at inference.

Run:      python -m experiments.stochastic --config configs/stochastic/ablations.py --workdir runs/ablations
Hardware: 2 CPU cores, 2 GB
Time:     30 minutes (Intel Xeon, beside much other work)
Expect:   5 seeds, 8 candidates, ambiguous shapes of a held-out family. Tyche - UniverSeg and noise: unbiased GED -.013
          [-.191, .165], best-candidate Dice +.023 [-.092, .137], not separable. The best-candidate loss against the
          mean's: GED -.182 [-.343, -.021], better (.231 and .414; diversity .457 and .037), best candidate +.014
          [-.052, .081]. Candidates that meet against candidates that do not: -.054 [-.144, .036], +.018 [-.036, .071],
          not separable. Trained with 1 candidate: GED .661. UniverSeg, examples and image augmented: GED .319 to .344
"""

from experiments import stochastic


def get_config():
    config = stochastic.get_config()
    config.arms = (
        "tyche",
        "tyche_mean",
        "tyche_apart",
        "tyche_one",
        "universeg_noise",
        "universeg_augmented",
        "universeg_augmented_target",
        "universeg_augmented_context",
    )
    config.contrasts = ("tyche - universeg_noise", "tyche - tyche_mean", "tyche - tyche_apart")
    config.report_seeds = 5
    config.train_length = "480 steps"
    return config
