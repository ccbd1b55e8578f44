"""The embedded default with twice the tuning after pruning: does the order of the methods depend on the budget?

Run:      python -m experiments.pruning --config configs/pruning/budget.py --workdir runs/budget
Hardware: 2 CPU cores, 2 GB
Time:     TIME
Expect:   EXPECT
"""

from experiments import pruning


def get_config():
    config = pruning.get_config()
    config.tuning_length = "300 steps"
    return config
