"""Retinal vessels by two annotators and a family of ambiguous shapes, both held out; trained on the other sets.

Run:      python -m experiments.stochastic --config configs/stochastic/chasedb1.py --config.data.store=STORE
Hardware: 2 CPU cores, 4 GB; STORE as docs/own_data.md builds it, of seven data sets at 64x64
Time:     about 8 hours (estimated from 0.3 s a step; not run as a whole yet)
Expect:   a question, not a number: this config has been run shrunk alone, so nothing is known of its outcome

No other set of the store has several annotators: ambiguity is learnt from the families of shapes, which are made in the
run folder. The four children of the test split are too few for an interval over subjects.
"""

from experiments import stochastic


def get_config():
    config = stochastic.get_config()
    config.data.size = (64, 64)
    config.data.held_out = ("ambiguous-tall", "chasedb1")
    config.network.widths = (16, 16, 16, 16)
    config.network.unet_widths = (16, 16, 16, 16)
    config.task_augmentation = True
    config.support_size = 16
    config.train_support = 8
    config.train_candidates = 4
    config.draws = 2
    config.arms = (
        "tyche",
        "tyche_mean",
        "universeg_noise",
        "universeg_draws",
        "universeg_augmented",
        "dropout_unet",
        "unet_ensemble",
    )
    config.contrasts = ("tyche - universeg_noise", "tyche - tyche_mean")
    config.rates = (0.001, 0.003, 0.01)
    config.report_seeds = 3
    config.train_length = "1200 steps"
    config.tuning_length = "400 steps"
    config.task_length = "300 steps"
    return config
