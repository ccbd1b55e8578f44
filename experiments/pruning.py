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

from hyperlab import launch, trees
from hyperlab.errors import ConfigError
from hyperlab.studies import conducted as study
from hyperlab.studies import tuning
from hyperlab.studies.pruning import DENSE, Units
from hyperlab.studies.pruning.schema import SCHEMA, check, check_files, methods_of
from hyperlab.tasks import load, settings
from hyperlab.train.phases import REPORT, TUNE
from hyperlab.train.writers import MultiWriter

__all__ = ["SCHEMA", "check", "check_files", "get_config", "methods_of", "run"]  # what `launch` asks of a study

PARENT = "parent"  # what is chosen for the networks that are pruned


def get_config() -> ml_collections.ConfigDict:
    """The embedded default: digits, LeNet-300-100, both tracks, six compressions."""
    config = ml_collections.ConfigDict()
    config.study = "pruning"
    config.seed = 0
    config.task = "classification"  # or "hypernetwork", "in_context", "scale_space", "in_context_scales"
    config.data = {"name": "digits", "root": "", "split_seed": 0, "limit": 0}
    config.network = {"kind": "lenet_300_100", "depth": 20, "width": 1.0, "normalization": "batch"}
    config.update(settings())  # of the other tasks
    config.arms = ("global_magnitude", "layer_magnitude", "global_gradient", "random", "snip")
    config.controls = True  # adds those of `compression.methods.with_controls`
    config.compressions = (2.0, 4.0, 8.0, 16.0, 32.0)  # the point at 1 is the parent itself
    # Named before running; the metric is the test score, mean over the compared compressions.
    config.contrasts = ("global_magnitude - layer_magnitude", "global_magnitude - random", "layer_magnitude - random")
    config.compared = (4.0, 8.0, 16.0, 32.0)
    # The same at equal theoretical speedup, over the speedups that both reach.
    config.speedup_contrasts = ("global_magnitude - layer_magnitude",)
    config.published = {"dataset": "", "architecture": ""}  # whose curves are drawn behind, see data.published
    config.optimizer = {"name": "adam", "schedule": "", "weight_decay": 0.0, "momentum": 0.9, "nesterov": False}
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
    check(config)
    task = load(config, folder.path)

    def units_of(progress) -> Units:
        units = Units(config, task, folder, progress, stop)
        _check_task(units)
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


def _tune(units: Units) -> dict[str, dict] | None:
    """The learning rates, from tuning seeds and the validation split; None after a stop."""
    parents = _choose(units, {PARENT: units.config.parent_rates}, lambda _, rate, seed: units.parent(rate, seed))
    if parents is None:
        return None
    units.parent_rate = parents[PARENT].rate
    choices = _choose(
        units, {name: _rates(units, name) for name in methods_of(units.config)}, lambda *trial: _tried(units, *trial)
    )
    if choices is None:
        return None
    chosen = {PARENT: parents[PARENT].record()}
    for name, choice in choices.items():
        method = units.method(name)
        chosen[name] = choice.record() | {"label": method.label, "track": method.track}
        chosen[name] |= {"definition": method.definition(), "source": method.source}
    return chosen


def _choose(units: Units, grids: dict[str, tuple[float, ...]], measure) -> dict[str, tuning.Choice] | None:
    """The best rate of each by its validation score."""

    def score(*trial) -> float | None:
        measured = measure(*trial)
        return None if measured is None else measured[f"validation/{units.task.score}"].mean()

    return tuning.choose_rates(grids, units.tuning_seeds, score, units.in_parallel, widenings=units.config.widenings)


def _tried(units: Units, name: str, rate: float, seed: int):
    """A trial of a method's rate, at one compression."""
    compression = 1.0 if name in DENSE.values() else units.config.tuning_compression
    return units.measure(name, compression, rate, seed, TUNE)


def _rates(units: Units, name: str) -> tuple[float, ...]:
    return units.config.rates if units.method(name).parent == "trained" else units.config.parent_rates


def _report(units: Units, chosen: dict[str, dict], writer: MultiWriter) -> bool:
    """Prunes and trains with every method at every compression on fresh seeds; False after a stop."""
    study.write_json(units.folder, "task.json", _described(units))
    config, seeds = units.config, units.report_seeds
    # Parents first: what shares one would train it side by side.
    if None in units.in_parallel(units.unpruned, seeds):
        return False
    tasks = [
        (name, compression, seed)
        for name in methods_of(config)
        for compression in ((1.0,) if name in DENSE.values() else config.compressions)
        for seed in seeds
    ]

    def measure(one):
        name, compression, seed = one
        return units.measure(name, compression, chosen[name]["learning_rate"], seed, REPORT)

    for (name, compression, seed), result in zip(tasks, units.in_parallel(measure, tasks), strict=True):
        if result is None:
            return False
        for step, score in zip(result["curve/step"], result["curve/score"], strict=True):
            writer.scalars(
                int(step), {units.task.score: float(score)}, split=f"{name}/{compression:g}/{seed}/validation"
            )
    return True


def _finish(units: Units, chosen: dict[str, dict], writer: MultiWriter) -> None:
    from hyperlab.studies.pruning import page as pruning

    pruning.write(units.folder.path)


def _check_task(units: Units) -> None:
    """Refuses what the task's network cannot be asked."""
    config = units.config
    for name in methods_of(config):
        if not units.networks(units.method(name)):
            raise ConfigError(f"method {name!r} prunes each point of a front by itself, and {config.task} has no front")
    beyond = [c for c in config.compressions if c >= units.ceiling]
    if beyond:
        raise ConfigError(
            f"compressions {beyond} cannot be reached: {units.task.architecture} has parameters that may not be pruned "
            f"(prunable {tuple(units.task.prunable)}, exclude {tuple(units.task.exclude)}), so that the ceiling is "
            f"{units.ceiling:.4g} (exclusive)"
        )


def _described(units: Units) -> dict:
    """What the report has to know of the task."""
    task, params = units.task, units.pruned
    kernels, total = units.macs()
    return {
        **task.described(),
        "shapes": {path: list(leaf.shape) for path, leaf in trees.flatten(params).items()},
        "prunable": units.prunable,
        "ceiling": units.ceiling,
        "macs": total,
        "front": {point: count for point, (_, count) in units.front().items()},
        "kernel_macs": kernels,
        "parent_steps": units.parent_steps,
        "tuning_steps": units.tuning_steps,
        "examples_seen": units.examples_seen,
    }


def _planned(units: Units) -> int:
    """Training steps of the whole study, unless a grid is widened."""
    config = units.config
    total = units.parent_steps * (len(config.parent_rates) * config.tuning_seeds + config.report_seeds)
    for name in methods_of(config):
        compressions = 1 if name in DENSE.values() else len(config.compressions)
        networks = len(_rates(units, name)) * config.tuning_seeds + config.report_seeds * compressions
        method = units.method(name)
        total += networks * units.steps(method) * units.networks(method)
    return total


if __name__ == "__main__":
    launch.main("experiments.pruning")
