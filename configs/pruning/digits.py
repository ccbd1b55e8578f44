"""Every method of both tracks on the embedded digits: what each kind of method does, at a size that runs anywhere.

Run:      python -m experiments.pruning --config configs/pruning/digits.py --workdir runs/digits
Hardware: 2 CPU cores, 2 GB
Time:     4 minutes (Intel Xeon)
Expect:   accuracy, mean over compressions 4 to 32, 5 seeds: global - layerwise magnitude -.115 [-.191, -.039], worse;
          global - random -.107 [-.178, -.037], worse; layerwise - random +.008 [-.004, .020], not separable; at equal
          theoretical speedup -.056 [-.091, -.021]. At 32 times: global magnitude at once .46, in rounds .98, gradual
          .98; RigL .95, SET .93; SNIP .93 with its own mask, .93 shuffled, .93 with random masks of its shares
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
