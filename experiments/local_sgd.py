"""Local SGD and slow momentum: what does rare communication cost, and what does slow momentum give back?

    python -m experiments.local_sgd                                        # embedded digits, under three minutes
    python -m experiments.local_sgd --config configs/local_sgd/cifar10.py --config.data.root=DIR
    python -m experiments.local_sgd --config.distributed=True              # one training over a cluster's processes
    python -m experiments.local_sgd --config.distributed=True --config.devices.across=False    # they share the study

Replicas train for H local steps between synchronisations. All arms see the same examples, summed over replicas, in the
same order; every arm at every H gets the same number of tuning trials over its own space, on tuning seeds and the
validation split; what is reported comes from fresh seeds and the test split. Beside them stands synchronous training
whose batch is H-fold: it communicates exactly as rarely. Replicas are an axis of arrays, so any number of them trains
on one device; what communication would take on a real network is predicted, never measured here.
"""

import jax
import ml_collections

from hyperlab import launch
from hyperlab.studies.base import run_study
from hyperlab.studies.local_sgd import processes
from hyperlab.studies.local_sgd.schema import SCHEMA, check, check_files
from hyperlab.studies.local_sgd.study import LocalSGD
from hyperlab.tasks.schema import defaults
from hyperlab.train import engine
from hyperlab.train.phases import FIRST_REPORT_SEED

__all__ = ["SCHEMA", "check", "check_files", "get_config", "run", "write_page"]  # what `launch` asks for

write_page = LocalSGD.write_page


def get_config() -> ml_collections.ConfigDict:
    """The embedded default: digits, LeNet-300-100, eight replicas."""
    config = ml_collections.ConfigDict()
    config.study = "local_sgd"
    config.seed = 0
    # Or "hypernetwork", "scale_space", "in_context"; or "image_folder": files in data.root, read as they are needed.
    config.task = "classification"
    config.data = {"name": "digits", "root": "", "split_seed": 0, "limit": 0}
    # Replicas: IID, or each with few classes ("shards"), or with class shares drawn from Dir(alpha) ("dirichlet").
    config.data.partition = {"kind": "iid", "shards": 2, "alpha": 0.5}
    # Of "image_folder": side of an image, share of `train` that is the validation split, threads (0: all cores).
    config.folder = {"size": 224, "validation": 0.02, "threads": 0}
    config.network = {"kind": "lenet_300_100", "depth": 20, "width": 1.0, "normalization": "group"}
    config.update(defaults())  # of the other tasks
    config.arms = ("synchronous", "large_batch", "local", "post_local", "slowmo", "control", "diloco", "lookahead")
    config.periods = (1, 4, 16)  # H
    config.replicas = (8,)
    # Named before running; the metric is the test score at the largest H and number of replicas. Synchronous training
    # has no H; its gap to local SGD is split at the arm that communicates as rarely as local SGD.
    config.contrasts = ("local - synchronous", "slowmo - local", "slowmo - control")
    config.parts = ("synchronous - large_batch", "large_batch - local")
    config.optimizer = {"name": "sgd", "schedule": "cosine", "weight_decay": 0.0, "momentum": 0.9, "nesterov": True}
    config.warmup = 0.1  # share of the updates
    config.decay_at = (1 / 3, 2 / 3, 8 / 9)  # of optimizer.schedule "steps": at 30, 60 and 80 of 90 epochs
    config.augment = False  # mirror and crop at random
    config.rates = (0.005, 0.5)  # between which inner rates are drawn
    config.trials = 6  # of every arm at every H
    config.tuning_seeds = 2
    config.report_seeds = 5
    config.length = "15 epochs"  # of all replicas together; rounded up to whole rounds
    config.batch_size = 8  # of one replica
    config.in_turn = False  # local steps of one replica after another: for convolutions on a CPU
    config.curve_points = 6
    config.drift_points = 8  # the most round ends at which replicas are compared
    config.target = 0.95  # of the validation score: how long until it is reached?
    config.evaluation_batch = 512
    # Predicted seconds: compute is measured where it is 0; links are published classes, or given in Gbit/s and seconds.
    config.cost = {"compute_seconds": 0.0, "links": ("high", "medium", "low"), "gigabits": 0.0, "latency": 0.0}
    # One training over several real processes, in place of the study; None: only where a cluster is detected.
    config.distributed = None
    # `wanted`: also in one process. `base_batch`: of how many examples the rate is, which grows with the global batch;
    # 0: the rate as it is.
    config.single = {"arm": "local", "rate": 0.05, "outer_rate": 1.0, "beta": 0.0}  # at the largest H and most replicas
    config.single.update({"seed": FIRST_REPORT_SEED, "save_rounds": 1, "patience": 60.0})
    config.single.update({"wanted": False, "base_batch": 0})
    config.workers = 0  # trainings at the same time; 0: one for each of at most four cores on CPU, else 1
    return config


def run(config: ml_collections.ConfigDict, folder, stop) -> None:
    """Runs the study in a run folder, or one training over several processes. What was stopped continues."""
    check(config)
    several = config.distributed or jax.process_count() > 1
    shared = engine.of(config).devices_given and not engine.of(config).across  # the study, not one training
    if config.single.wanted or (several and not shared):
        processes.train(config, folder, stop)
        return
    run_study(LocalSGD, config, folder, stop)


if __name__ == "__main__":
    launch.main("experiments.local_sgd")
