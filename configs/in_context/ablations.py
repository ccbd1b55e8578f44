"""What training across tasks lives on: synthetic tasks, new tasks made from old ones, augmented examples.

Run:      python -m experiments.in_context --config configs/in_context/ablations.py --config.data.store=STORE
Hardware: 2 CPU cores, 3 GB; STORE as docs/own_data.md builds it, of seven data sets, at 32x32
Time:     not run as a whole yet
Expect:   a question, not a number: not run as a whole yet
"""

from configs.in_context import held_out


def get_config():
    config = held_out.get_config()
    config.data.size = (32, 32)
    config.data.development = ("brain_t1_ptbp",)
    config.data.held_out = ("wbc",)
    config.network.widths = (8, 8, 8)
    config.support_sizes = (4, 12)
    config.ensembles = (1,)
    config.draws = 2
    config.arms = ("universeg", "no_synthetic", "no_task_augmentation", "no_augmentation")
    config.contrasts = tuple(f"universeg - {arm}" for arm in config.arms[1:])
    config.rates = (0.001, 0.003, 0.01)
    config.tuning_seeds = 3  # at high rates some seeds find nothing at all, and one seed would not show it
    config.report_seeds = 5
    config.train_length = "1500 steps"
    config.tuning_length = ""
    return config
