"""In-context segmentation: does a network that was trained across tasks segment tasks that it never saw?

    python -m experiments.in_context                                     # synthetic tasks, under three minutes
    python -m experiments.in_context --config configs/in_context/held_out.py --config.data.store=STORE

UniverSeg and two few-shot networks are trained once on many tasks; on tasks of held-out data sets they answer from a
support set alone. Beside them: a U-Net trained on the support set, a U-Net trained on all of the task's examples, and
what needs no network (the nearest support mask, the mean mask, Otsu's threshold). Learning rates are chosen on
development tasks with tuning seeds, with the same grid for every arm; what is reported comes from fresh seeds and from
tasks that no choice has seen.
"""

from pathlib import Path

import ml_collections
import numpy as np

from hyperlab import launch
from hyperlab.in_context import benchmark as material
from hyperlab.in_context import targets
from hyperlab.studies import conducted as study
from hyperlab.studies import tuning
from hyperlab.studies.in_context import ARMS, Units
from hyperlab.studies.in_context.schema import SCHEMA, check, check_files
from hyperlab.train.phases import REPORT, TUNE
from hyperlab.train.writers import MultiWriter

__all__ = ["SCHEMA", "check", "check_files", "get_config", "run"]  # what `launch` asks of a study


def get_config() -> ml_collections.ConfigDict:
    """The embedded default: synthetic tasks, held-out procedural shapes, few-shot arms and a U-Net for each task."""
    config = ml_collections.ConfigDict()
    config.study = "in_context"
    config.seed = 0
    config.data = {"store": "", "size": (32, 32), "split_seed": 0, "queries": 40}
    # Data sets, whole: templates of the same generator as those trained on, and shapes of another one.
    config.data.generated = ()  # sets to train on beside a store: "bodies", "shapes"
    config.data.update({"development": ("further-synthetic",), "held_out": ("held-out-synthetic", "shapes")})
    config.network = {"widths": (8, 8, 8), "rival_widths": (16, 16, 16), "unet_widths": (8, 8, 8)}
    config.augmentation = "documented"  # or "faithful", to the published code's quirks too
    config.support_sizes = (1, 4, 8)  # that held-out tasks are judged with
    config.train_support = 8
    config.ensembles = (1, 4)  # support sets whose predictions are averaged
    config.draws = 2  # support sets of every size
    config.arms = ("universeg", "squeeze", "prototypes", "unet_support")
    # Named before running; the metric is Dice at the largest support size, mean over held-out tasks.
    config.contrasts = ("universeg - squeeze", "universeg - prototypes", "universeg - unet_support")
    config.optimizer = "adam"
    config.rates = (0.001, 0.003, 0.01)
    config.tuning_seeds = 1
    config.widenings = 0
    config.report_seeds = 3
    config.train_length = "150 steps"  # across tasks
    config.tuning_length = ""  # of networks across tasks while rates are chosen; by default train_length
    config.task_length = "60 steps"  # of a network for one task
    config.batch_size = 4
    config.curve_points = 4
    config.curve_queries = 8
    config.evaluation_batch = 20
    config.keep_networks = 1  # trained parameters are kept for so many of the first report seeds
    config.workers = 0  # networks in work at the same time; 0: one for each of at most four cores on CPU, else 1
    return config


def run(config: ml_collections.ConfigDict, folder, stop) -> None:
    """Runs the study in a run folder: tuning, then fresh seeds. A stopped study continues."""
    made = prepare(config, folder.path)
    study.conduct(
        config,
        folder,
        data=(made.name, made.fingerprint),
        units=lambda progress: Units(config, made, folder, progress, stop),
        planned=_planned,
        tune=_tune,
        report=_report,
        finish=_finish,
    )


def prepare(config: ml_collections.ConfigDict, folder: Path) -> material.Material:
    """The tasks of a config; what the two cannot give each other is an error here, before anything is compiled."""
    check(config)
    made = material.build(config, folder)
    targets.check([*made.development, *made.test], max(config.support_sizes))
    for arm in config.arms:
        made.training(synthetic=ARMS[arm].synthetic)
    return made


def _tune(units: Units) -> dict[str, dict] | None:
    """The learning rate of each arm, from tuning seeds and the development tasks; None after a stop."""
    config = units.config

    def score(arm: str, rate: float, seed: int) -> float | None:
        measured = units.measure(arm, rate, seed, TUNE)
        return None if measured is None else mean_dice(measured)

    grids = dict.fromkeys(config.arms, config.rates)
    chosen = tuning.choose_rates(grids, units.tuning_seeds, score, units.in_parallel, widenings=config.widenings)
    return chosen and {
        arm: {"label": ARMS[arm].label, "definition": ARMS[arm].definition(), **choice.record()}
        for arm, choice in chosen.items()
    }


def mean_dice(measured: dict[str, np.ndarray]) -> float:
    """Mean over tasks of what one network, or one for each task, scored; an undefined Dice is left out."""
    return float(np.mean([np.nanmean(value) for key, value in measured.items() if key.startswith("dice/")]))


def _report(units: Units, chosen: dict[str, dict], writer: MultiWriter) -> bool:
    """Trains each arm at its rate on fresh seeds and judges it on the held-out tasks; False after a stop."""
    tasks = [(arm, seed) for arm in units.config.arms for seed in units.report_seeds]

    def measure(task):
        arm, seed = task
        return units.measure(arm, chosen[arm]["learning_rate"], seed, REPORT)

    for (arm, seed), result in zip(tasks, units.in_parallel(measure, tasks), strict=True):
        if result is None:
            return False
        for step, dice in zip(result.get("curve/step", ()), result.get("curve/dice", ()), strict=True):
            writer.scalars(int(step), {"dice": float(dice)}, split=f"{arm}/{seed}/development")
    return True


def _finish(units: Units, chosen: dict[str, dict], writer: MultiWriter) -> None:
    from hyperlab.studies.in_context import page as in_context

    units.floors()
    material.keep(units.files, units.material, max(units.config.support_sizes))
    in_context.write(units.folder.path)


def _planned(units: Units) -> int:
    """Training steps of the whole study, unless a grid is widened."""
    config, total = units.config, 0
    for name in config.arms:
        arm = ARMS[name]
        trials = len(config.rates) * config.tuning_seeds
        total += trials * units.networks(arm, TUNE) * units.steps(arm, TUNE)
        total += config.report_seeds * units.networks(arm, REPORT) * units.steps(arm, REPORT)
    return total


if __name__ == "__main__":
    launch.main("experiments.in_context")
