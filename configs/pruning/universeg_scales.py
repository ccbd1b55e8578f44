"""UniverSeg at several resolutions, its parameters generated from the factor or one set for all, and pruned.

Run:      python -m hyperlab.sweep --config configs/pruning/universeg_scales.py --workdir runs/universeg_scales
Hardware: 2 CPU cores, 3 GB
Time:     3:34 min for both networks (Intel Xeon, beside work that took more than half of it)
Expect:   Dice of tasks that were held out, mean over phi = .5, .75, 1 (a quarter, .56 and all of the MACs), 5 seeds:
          generated .707, one UniverSeg for all phi .720; generated - one -.013 [-.084, .058], not separable; pruned by
          global magnitude at 4 times, one mask for all phi, .688 and .682, +.005 [-.083, .094], not separable:
          nothing is shown to be gained by generating at this size
"""

from experiments import pruning
from hyperlab.sweep import Between


def get_config():
    config = pruning.get_config()
    config.task = "in_context_scales"
    config.tasks.support = 4
    config.arms = ("global_magnitude",)
    config.controls = False
    config.contrasts = ()
    config.speedup_contrasts = ()
    config.compressions = (4.0,)
    config.compared = (4.0,)
    config.tuning_compression = 4.0
    config.parent_rates = (0.003, 0.01)
    config.rates = (0.006,)
    config.widenings = 0
    config.parent_length = "240 steps"
    config.tuning_length = "60 steps"
    config.batch_size = 4
    config.evaluation_batch = 20
    return config


def sweep():
    """Parameters generated from the factor, and the control: one UniverSeg that sees all factors."""
    yield {"tasks.network": "hypernetwork"}
    yield {"tasks.network": "plain"}


def contrasts():
    """Is generating worth it, before and after pruning?"""
    chosen = ("arm=parent", "arm=global_magnitude", "split=test", "stage=last")
    yield Between("dice", list(sweep()), chosen, by=("arm",))
