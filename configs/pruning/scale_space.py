"""The theta that a scale-space hypernetwork generates is pruned, with one mask for the whole front.

Run:      python -m hyperlab.sweep --config configs/pruning/scale_space.py --workdir runs/pruned_scale_space
          (the hypernetwork and its control; `python -m experiments.pruning` with the same arguments: the former alone)
Hardware: 2 CPU cores, 2 GB
Time:     4:39 min for both (Intel Xeon, beside other work), 7:31 min on an AMD EPYC beside other work
Expect:   Dice of shapes, mean over compressions 2 to 16 and five phi, 5 seeds, on two processors, whose rounding leads
          the same seeds elsewhere. AMD: global magnitude - random +.258 [.086, .429], - layerwise +.080 [.001, .160];
          each phi by itself - one mask for all +.0118 [.0009, .0228]. Intel: +.221 [.053, .389]; +.076 [.022, .131];
          +.0069 [-.0028, .0166], not separable: one sparse network for the whole front costs a hundredth, if anything.
          By itself (AMD): unpruned .858, at 4 times .837 (3.46 times fewer MACs), at 16 times .778. The control with
          one theta for all phi: .782, .784, .609 (its layerwise and random arms would take rates beyond the grid);
          hypernetwork - control, unpruned +.076 [-.066, .218], pruned +.090 [-.048, .228], neither separable
"""

from experiments import pruning
from hyperlab.sweep import Between


def get_config():
    config = pruning.get_config()
    config.task = "scale_space"
    config.data.name = "shapes"
    # The last has a network for each phi, pruned and tuned there alone: what one mask for all phi could at best be.
    config.arms = ("global_magnitude", "layer_magnitude", "random", "magnitude_apart")
    config.compressions = (2.0, 4.0, 8.0, 16.0)
    config.compared = (2.0, 4.0, 8.0, 16.0)
    config.contrasts = (
        "global_magnitude - random",
        "global_magnitude - layer_magnitude",
        "magnitude_apart - global_magnitude",
    )
    config.optimizer.schedule = "cosine"
    config.parent_rates = (0.003, 0.01, 0.03)
    config.rates = (0.002, 0.006, 0.02, 0.06)
    config.parent_length = "240 steps"
    config.tuning_length = "60 steps"
    config.batch_size = 16
    config.evaluation_batch = 40
    return config


def sweep():
    """The hypernetwork, and the control: the same U-Net with one theta for all phi."""
    yield {"scale_space.network": "hypernetwork"}
    yield {"scale_space.network": "plain"}


def contrasts():
    """Is generating worth it, before and after pruning (mean over the compressions)?"""
    chosen = ("arm=parent", "arm=global_magnitude", "split=test", "stage=last")
    yield Between("dice", list(sweep()), chosen, by=("arm",), over=("compression",))
