"""Does the best rate stay where it is when the primary grows 16 times in width, or from 2 to 8 hidden layers?

Run:      python -m experiments.stability --config configs/stability/transfer.py --workdir runs/transfer
Hardware: 2 CPU cores, 2 GB
Time:     13 min beside other work
Expect:   where the best rate of MIP goes from width 64 to 1,024: with SGD from 0.1 to 0.03 (0.01 at 256), with Adam
          from 0.03 to 0.003; by the width rule from 0.01 to 0.03 with both, one step of the grid. With another draw
          (--config.seed=1) the rule holds with Adam and not with SGD. The lowest loss at width 1,024 is higher by the
          rule: .189 against .123 with SGD, .133 against .085 with Adam. From 2 to 8 hidden layers: with Adam from 0.03
          to 0.001, by the rule from 0.01 to 0.003
"""

from experiments import stability


def get_config():
    config = stability.get_config()
    config.transfer = {"widths": (64, 256, 1024), "depths": (2, 4, 8)}
    config.arms = ("plain", "plain_by_width", "default", "mip", "mip_by_width")
    config.contrasts = ()
    config.optimizers = ("sgd", "adam")
    config.rates = {
        "sgd": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
        "adam": (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1),
    }
    config.report_seeds = 3
    config.hypernet.hidden = (16, 8)  # the head of the widest is 8 x 1.1 million parameters
    config.train_length = "60 steps"
    config.batch_size = 32
    config.steps_per_call = 60
    config.evaluate_every = 30
    config.samples = 4
    config.runs_per_program = 1  # side by side 21 large heads would not fit
    return config
