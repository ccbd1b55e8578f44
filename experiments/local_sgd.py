"""Local SGD and slow momentum: what does rare communication cost, and what does slow momentum give back?

    python -m experiments.local_sgd                                        # embedded digits, under three minutes
    python -m experiments.local_sgd --config configs/local_sgd/cifar10.py --config.data.root=DIR
    python -m experiments.local_sgd --config.distributed=True              # one training over a cluster's processes

Replicas train for H local steps between synchronisations. All arms see the same examples, summed over replicas, in the
same order; every arm at every H gets the same number of tuning trials over its own space, on tuning seeds and the
validation split; what is reported comes from fresh seeds and the test split. Beside them stands synchronous training
whose batch is H-fold: it communicates exactly as rarely. Replicas are an axis of arrays, so any number of them trains
on one device; what communication would take on a real network is predicted, never measured here.
"""

from typing import Any

import jax
import ml_collections

from hyperlab import launch, local_sgd, trees
from hyperlab.studies import conducted as study
from hyperlab.studies import search
from hyperlab.studies.local_sgd import Units, find, processes
from hyperlab.studies.local_sgd.schema import SCHEMA, check, check_files
from hyperlab.tasks import load, settings
from hyperlab.train.phases import FIRST_REPORT_SEED, REPORT, TUNE
from hyperlab.train.writers import MultiWriter

__all__ = ["SCHEMA", "check", "check_files", "get_config", "run"]  # what `launch` asks of a study


def get_config() -> ml_collections.ConfigDict:
    """The embedded default: digits, LeNet-300-100, eight replicas."""
    config = ml_collections.ConfigDict()
    config.study = "local_sgd"
    config.seed = 0
    # Or "hypernetwork", "scale_space", "in_context"; or "image_folder": files in data.root, read as they are needed.
    config.task = "classification"
    config.data = {"name": "digits", "root": "", "split_seed": 0, "limit": 0}
    # Replicas draw alike ("iid"), have few classes ("shards") or class shares from Dir(alpha) ("dirichlet").
    config.data.partition = {"kind": "iid", "shards": 2, "alpha": 0.5}
    # Of "image_folder": side of an image, share of `train` that is the validation split, threads (0: all cores).
    config.folder = {"size": 224, "validation": 0.02, "threads": 0}
    config.network = {"kind": "lenet_300_100", "depth": 20, "width": 1.0, "normalization": "group"}
    config.update(settings())  # of the other tasks
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
    """Runs the study in a run folder: tuning, then fresh seeds. A stopped study continues."""
    check(config)
    if config.distributed or config.single.wanted or jax.process_count() > 1:
        processes.train(config, folder, stop)
        return
    task = load(config, folder.path)

    def units_of(progress) -> Units:
        units = Units(config, task, folder, progress, stop)
        units.check()
        return units

    study.conduct(
        config,
        folder,
        data=(task.name, task.fingerprint),
        units=units_of,
        planned=_planned,
        tune=_tune,
        report=_report,
        finish=_finish,
    )


def _planned(units: Units) -> int:
    """Training steps of the whole study."""
    config = units.config
    runs = config.trials * config.tuning_seeds + config.report_seeds
    return sum(units.steps(cell.replicas) * runs for cell in units.cells)


def _tune(units: Units) -> dict[str, dict] | None:
    """The numbers of every cell, from tuning seeds and the validation split; None after a stop."""
    study.write_json(units.folder, "task.json", _described(units))
    seeds = units.tuning_seeds
    # Cells side by side: their programs are compiled at the same time.
    tasks = [(cell, trial, seed) for trial in range(units.config.trials) for seed in seeds for cell in units.cells]
    if None in units.in_parallel(lambda one: units.measure(*one, TUNE), tasks):
        return None
    chosen = {}
    for cell in units.cells:

        def score(trial: int, seed: int, cell: Any = cell) -> float:
            return float(units.measure(cell, trial, seed, TUNE)[f"validation/{units.task.score}"].mean())

        arm = find(cell.arm)
        choice = search.choose(units.space(cell.arm), units.drawn(cell.arm), seeds, score)
        outer_rate, outer_momentum = arm.outer_numbers(choice.numbers)
        chosen[cell.name] = {
            "arm": cell.arm,
            "period": cell.period,
            "replicas": cell.replicas,
            "label": arm.label,
            "definition": arm.definition(),
            "source": arm.source,
            "trial": choice.trial,
            "numbers": choice.numbers,
            "outer_rate": outer_rate,
            "outer_momentum": outer_momentum,
            "runs": choice.runs,
            "at_edge": list(choice.at_edge),
            "tuning": [{**trial.numbers, "score": trial.score} for trial in choice.trials],
        }
    return chosen


def _report(units: Units, chosen: dict[str, dict], writer: MultiWriter) -> bool:
    """Trains every cell on fresh seeds; False after a stop."""
    tasks = [(cell, chosen[cell.name]["trial"], seed) for seed in units.report_seeds for cell in units.cells]
    results = units.in_parallel(lambda one: units.measure(*one, REPORT), tasks)
    for (cell, _, seed), result in zip(tasks, results, strict=True):
        if result is None:
            return False
        for step, score in zip(result["curve/step"], result["curve/score"], strict=True):
            writer.scalars(int(step), {units.task.score: float(score)}, split=f"{cell.name}/{seed}/validation")
    return True


def _finish(units: Units, chosen: dict[str, dict], writer: MultiWriter) -> None:
    from hyperlab.studies.local_sgd import page as report

    report.write(units.folder.path)


def _described(units: Units) -> dict:
    """What the report has to know of the task, and what every cell sends."""
    task, config = units.task, units.config
    compute, cells = units.compute_seconds(), {}
    for cell in units.cells:
        sent = units.traffic(cell)
        cells[cell.name] = {
            "steps": sent.steps,
            "rounds": sent.rounds + sent.synchronous_steps,
            "group_rounds": sent.group_rounds,
            "bytes_sent": sent.bytes_sent,
            "bytes_per_step": sent.bytes_per_step,
            "peak_bytes": sent.peak_bytes,
            "share": sent.share if sent.synchronous_bytes else None,
            "step_seconds": {name: _step_seconds(compute, link, sent) for name, link in links(config).items()},
            "local_batch": config.batch_size,
            "global_batch": config.batch_size * cell.replicas,
            "examples": config.batch_size * cell.replicas * sent.steps,
        }
    params = units.trial(1).shapes
    return {
        **task.described(),
        "parameters": trees.count(params),
        "compute_seconds": compute,
        "links": {name: list(link) for name, link in links(config).items()},
        "cells": cells,
        "predicted": _predicted(units, compute),
    }


def _predicted(units: Units, compute: float) -> list[dict]:
    """Seconds of a step of what sends less than 32 bits a number, for 2 to 1024 replicas; of the rest reports know."""
    largest, rows = max(units.config.replicas), []
    for cell in units.cells:
        sent_as = find(cell.arm).compression
        if sent_as is None or cell.replicas != largest:
            continue
        for count in local_sgd.cost_model.REPLICAS:
            for name, link in links(units.config).items():
                seconds = _step_seconds(compute, link, units.traffic(cell, count))
                rows.append({"replicas": count, "link": name, "period": cell.period, "seconds": seconds})
                rows[-1] |= {"arm": cell.arm, "sent_as": sent_as}
    return rows


def _step_seconds(compute: float, link: local_sgd.Link, sent: local_sgd.Traffic) -> float:
    return local_sgd.cost_model.run_seconds(compute, link, sent) / sent.steps


def links(config: ml_collections.ConfigDict) -> dict[str, local_sgd.Link]:
    """The links that seconds are predicted for, by name."""
    found = {name: local_sgd.ARCHETYPES[name] for name in config.cost.links}
    if config.cost.gigabits > 0:
        found["given"] = local_sgd.cost_model.gigabits(config.cost.gigabits, config.cost.latency)
    return found


if __name__ == "__main__":
    launch.main("experiments.local_sgd")
