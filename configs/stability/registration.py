"""Registration at any weight of the smoothness: gamma is lambda in [0, 1], a VoxelMorph's parameters are generated.

Run:      python -m experiments.stability --config configs/stability/registration.py --workdir runs/lambda
Hardware: 2 CPU cores, 2 GB
Time:     9 min (Intel Xeon, half of it taken by other work; 4.7 min of processor time)
Expect:   median steps to Dice .72 [fastest, slowest of 5 seeds]: no hypernetwork 80 [60, 120], default 3 of 5 never,
          encoding only 4 of 5 never, additive only 100 [100, 160], MIP 180 [100, 220] (1 never). MIP against default
          -32 steps [-179, 115], against additive +56 [-65, 177], not separable; additive against default Dice +.110
          [.049, .171]. Median final Dice: no hypernetwork .845, additive .832, MIP .774, default .718 (start .69)
"""

from experiments import stability


def get_config():
    config = stability.get_config()
    config.task = "registration"
    config.arms = ("plain", "default", "encoding", "additive", "mip")
    config.registration.data.subjects = 96
    config.hypernet.hidden = (16, 64)
    config.optimizers = ("adam",)
    config.rates.adam = (0.001, 0.003, 0.01)
    config.tuning_seeds = 2
    config.widenings = 1
    config.report_seeds = 5
    config.train_length = "240 steps"
    config.batch_size = 4
    config.evaluate_every = 20
    config.curve_examples = 24
    config.samples = 5
    config.target_score = 0.72
    return config
