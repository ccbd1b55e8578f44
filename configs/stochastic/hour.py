"""Tyche with 8 candidates against its control within an hour: ambiguous shapes; retinal vessels, whole and in patches.

Run:      python -m experiments.stochastic --config configs/stochastic/hour.py --config.data.store=STORE
Hardware: 2 CPU cores, 4 GB; STORE as for chasedb1.py, with the layout chasedb1_patches of the same images beside it
Time:     21 minutes (beside other work, Intel Xeon)
Expect:   3 seeds (a look), 8 candidates, Tyche - UniverSeg and noise: not separable on any set. Ambiguous shapes:
          unbiased GED -.113 [-.932, .706], best-candidate Dice +.098 [-.379, .574], mean-candidate +.099 [-.365,
          .563]; vessels -.073 [-.798, .653], +.006 [-.179, .191]; vessels in patches -.050 [-.472, .372], -.020
          [-.107, .066]. Best-candidate Dice on vessels is at most .10: after 1500 steps no network finds them, so
          nothing is known of their two annotators. Best rates are at the edge of the grid

In patches the vessels stay visible at 64x64. Both forms of the retina are held out: they are the same images.
"""

from configs.stochastic import chasedb1


def get_config():
    config = chasedb1.get_config()
    config.data.held_out = ("ambiguous-tall", "chasedb1", "chasedb1_patches")
    config.arms = ("tyche", "universeg_noise", "universeg_draws")
    config.contrasts = ("tyche - universeg_noise",)
    config.network.widths = (8, 8, 8, 8)
    config.support_size = 8
    config.train_support = 4
    config.batch_size = 4
    config.rates = (0.001, 0.003, 0.01)
    config.report_seeds = 3
    config.train_length = "1500 steps"
    config.tuning_length = "400 steps"
    return config
