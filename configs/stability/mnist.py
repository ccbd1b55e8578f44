"""MNIST, a small conv net with every parameter generated; Fashion-MNIST with the argument `fashion_mnist`.

Run:      python -m experiments.stability --config configs/stability/mnist.py --config.data.root=DIR
Hardware: 2 CPU cores, 2 GB; DIR holds the four IDX files, plain or gzipped
Time:     53 min (Intel Xeon, most of it taken by other work; about a third of that on a quiet machine)
Expect:   median steps to 90 % [fastest, slowest of 5 seeds]: no hypernetwork 50 [40, 60], default 130 [80, 170],
          encoding only 160 [80, 190], additive only 40 [40, 50], MIP 70 [60, 90], default + LayerNorm after
          50 [50, 60]. MIP against default -56 steps [-94, -18]; MIP against additive +30 [5, 55]: the encoding did
          not help here
"""

from experiments import stability


def get_config(name: str = "mnist"):
    config = stability.get_config()
    config.data.name = name
    config.primary = {"kind": "conv", "widths": (8, 16)}
    config.arms = ("plain", "default", "encoding", "additive", "mip", "zero_bias", "layer_norm_after")
    config.tuning_seeds = 2
    config.report_seeds = 5
    config.train_length = "200 steps"
    config.batch_size = 64
    config.evaluate_every = 10
    config.steps_per_call = 40
    config.samples = 4
    config.target_score = 0.9
    return config
