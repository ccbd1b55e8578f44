"""UniverSeg at several resolutions, its parameters generated from the factor or one set for all, and pruned.

Run:      python -m hyperlab.sweep --config configs/pruning/universeg_scales.py --workdir runs/universeg_scales
Hardware: 2 CPU cores, 3 GB
Time:     3:34 min for both networks (Intel Xeon, beside work that took more than half of it)
Expect:   Dice of tasks that were held out, mean over phi = .5, .75, 1 (a quarter, .56 and all of the MACs), 5 seeds:
          generated .677, one UniverSeg for all phi .714; generated - one -.038 [-.106, .031], not separable: nothing is
          gained by generating at this size. Global magnitude at 4 times, one mask for all phi: generated .692, one
          .698; less the same training without pruning, generated +.028 [-.057, .113], one -.022 [-.041, -.003], worse
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
