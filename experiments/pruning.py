"""Pruning, evaluated so that results can be compared: which parameters can go, and what does it cost?

    python -m experiments.pruning                                        # embedded digits, under three minutes
    python -m experiments.pruning --config configs/pruning/cifar10.py --config.data.root=DIR

All methods prune the same parents, seed by seed, and train on with the same data, budget and optimiser; a method is
what is pruned, by which masks, with which values, when. Random and magnitude pruning, both also with a method's own
shares of the tensors, and the network from which nothing is pruned, are always among them. Learning rates are chosen on
tuning seeds and the validation split, with the same grid for every method; what is reported comes from fresh seeds and
the test split.
"""

import ml_collections

from hyperlab import launch
from hyperlab.studies.base import run_study
from hyperlab.studies.pruning.schema import SCHEMA, check, check_files
from hyperlab.studies.pruning.study import Pruning
from hyperlab.tasks.schema import defaults

__all__ = ["SCHEMA", "check", "check_files", "get_config", "run", "write_page"]  # what `launch` asks for

write_page = Pruning.write_page


def get_config() -> ml_collections.ConfigDict:
    """The embedded default: digits, LeNet-300-100, both tracks, six compressions."""
    config = ml_collections.ConfigDict()
    config.study = "pruning"
    config.seed = 0
    config.task = "classification"  # or "hypernetwork", "in_context", "scale_space", "in_context_scales"
    config.data = {"name": "digits", "root": "", "split_seed": 0, "limit": 0}
    config.network = {"kind": "lenet_300_100", "depth": 20, "width": 1.0, "normalization": "batch"}
    config.update(defaults())  # of the other tasks
    config.arms = ("global_magnitude", "layer_magnitude", "global_gradient", "random", "snip")
    config.controls = True  # adds those of `pruning.arms.with_controls`
    config.compressions = (2.0, 4.0, 8.0, 16.0, 32.0)  # the point at 1 is the parent itself
    # Named before running; the metric is the test score, mean over the compared compressions.
    config.contrasts = ("global_magnitude - layer_magnitude", "global_magnitude - random", "layer_magnitude - random")
    config.compared = (4.0, 8.0, 16.0, 32.0)
    # The same at equal theoretical speedup, over the speedups that both reach.
    config.speedup_contrasts = ("global_magnitude - layer_magnitude",)
    config.published = {"dataset": "", "architecture": ""}  # whose curves are drawn behind, see data.published
    config.optimizer = {"name": "adam", "schedule": "", "warmup": 0.0, "clip": 0.0}
    config.optimizer.update({"weight_decay": 0.0, "momentum": 0.9, "nesterov": False})
    config.augment = False  # mirror and crop at random
    config.parent_rates = (0.001, 0.003, 0.01)  # of what is trained from the start, parents included
    config.rates = (0.001, 0.003, 0.01)  # of what is tuned after pruning
    config.tuning_seeds = 1
    config.tuning_compression = 8.0
    config.widenings = 1  # where the best rate is at the edge of its grid
    config.report_seeds = 5
    config.parent_length = "300 steps"
    config.tuning_length = "150 steps"  # after pruning; methods without a trained parent train for both together
    config.batch_size = 64
    config.curve_points = 4
    config.evaluation_batch = 512
    config.rounds = 4  # of the methods that prune in rounds
    config.rewind_to = 0.1  # share of the parent's training after which rewound values were taken
    config.masks_until = 0.75  # share of the training until which masks may change
    config.workers = 0  # networks in work at the same time; 0: one for each of at most four cores on CPU, else 1
    return config


def run(config: ml_collections.ConfigDict, folder, stop) -> None:
    """Runs the study in a run folder: parents, tuning, then fresh seeds. A stopped study continues."""
    run_study(Pruning, config, folder, stop)


if __name__ == "__main__":
    launch.main("experiments.pruning")
