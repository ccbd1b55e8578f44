"""What makes Tyche's candidates differ: loss, mixing, candidates in training, and what is changed at inference.

Run:      python -m experiments.stochastic --config configs/stochastic/ablations.py --workdir runs/ablations
Hardware: 2 CPU cores, 2 GB
Time:     about 80 minutes (estimated from 0.1 s a step, 0.6 s where candidates do not meet; not run as a whole yet)
Expect:   a question, not a number: this config has been run shrunk alone, so nothing is known of its outcome
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
