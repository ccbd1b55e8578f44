"""Every method of both tracks on the embedded digits: what each kind of method does, at a size that runs anywhere.

Run:      python -m experiments.pruning --config configs/pruning/digits.py --workdir runs/digits
Hardware: 2 CPU cores, 2 GB
Time:     about 4 minutes (estimated from the default's step; not run as a whole yet)
Expect:   a question, not a number: not run as a whole yet
"""

from experiments import pruning


def get_config():
    config = pruning.get_config()
    config.arms = (
        "global_magnitude",
        "layer_magnitude",
        "global_gradient",
        "layer_gradient",
        "lamp",
        "channels",
        "iterative_magnitude",
        "gradual_magnitude",
        "rewound_magnitude",
        "redrawn_magnitude",
        "random",
        "snip",
        "snip_shuffled",
        "grasp",
        "synflow",
        "initial_magnitude",
        "initial_random",
        "erk",
        "set",
        "rigl",
    )
    config.tuning_seeds = 2
    return config
