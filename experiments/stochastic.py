"""Several answers instead of one: does Tyche beat a deterministic network under noise of the same diversity?

    python -m experiments.stochastic                                     # ambiguous shapes, about three minutes
    python -m experiments.stochastic --config configs/stochastic/chasedb1.py --config.data.store=STORE

Networks are trained on tasks with several annotators, one drawn at each step, and answer for held-out tasks with
several candidate masks. The control is UniverSeg with smooth random noise, as diverse as Tyche's candidates are on
development tasks: the best of its candidates improves with their number, too. Beside them: UniverSeg with other support
sets or changed grey values for each candidate, and for each task a U-Net with dropout and an ensemble of U-Nets.
Learning rates are chosen on development tasks with tuning seeds, with the same grid for every network; what is reported
comes from fresh seeds and from tasks that no choice has seen.
"""

from pathlib import Path

import ml_collections
import numpy as np

from hyperlab import launch
from hyperlab.in_context import benchmark as material
from hyperlab.in_context import targets
from hyperlab.studies import conducted as study
from hyperlab.studies import tuning
from hyperlab.studies.stochastic import annotated, families
from hyperlab.studies.stochastic.arms import LEARNERS, learners
from hyperlab.studies.stochastic.schema import CONTROL, SCHEMA, check, check_files
from hyperlab.studies.stochastic.units import DIVERSITY, StochasticUnits
from hyperlab.train.phases import REPORT, TUNE
from hyperlab.train.writers import MultiWriter

__all__ = ["SCHEMA", "check", "check_files", "get_config", "run"]  # what `launch` asks of a study


def get_config() -> ml_collections.ConfigDict:
    """The embedded default: families of ambiguous shapes and synthetic tasks, a stretched family held out."""
    config = ml_collections.ConfigDict()
    config.study = "stochastic"
    config.seed = 0
    config.data = {"store": "", "size": (32, 32), "split_seed": 0, "queries": 60}
    config.data.update({"development": (families.DEVELOPMENT,), "held_out": (families.HELD_OUT,)})  # data sets, whole
    config.network = {"widths": (8, 8, 8), "unet_widths": (8, 8, 8), "dropout": 0.2}
    config.augmentation = "documented"  # or "faithful", to the published code's quirks too
    config.task_augmentation = False  # new tasks from those that there are: takes longer training than this default
    config.support_size = 8  # that held-out tasks are judged with
    config.train_support = 4
    config.candidates = (1, 2, 4, 8)  # that held-out tasks are judged with
    config.train_candidates = 4
    config.smoothness = (1.0, 2.0, 4.0)  # pixels, of the control's noise; chosen on development tasks
    config.draws = 2  # support sets
    config.arms = (
        "tyche",
        "universeg_noise",
        "universeg_draws",
        "universeg_augmented",
        "dropout_unet",
        "unet_ensemble",
    )
    # Named before running; for unbiased GED, best- and mean-candidate Dice with the most candidates, task by task.
    config.contrasts = ("tyche - universeg_noise",)
    config.optimizer = "adam"
    config.rates = (0.001, 0.003, 0.01, 0.03)
    config.tuning_seeds = 1
    config.widenings = 0
    config.report_seeds = 3
    config.train_length = "240 steps"  # across tasks
    config.tuning_length = "120 steps"  # of networks across tasks while rates are chosen; "": as train_length
    config.task_length = "60 steps"  # of a network for one task
    config.batch_size = 8
    config.curve_points = 4
    config.curve_queries = 16
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
        units=lambda progress: StochasticUnits(config, made, folder, progress, stop),
        planned=_planned,
        tune=_tune,
        report=_report,
        finish=_finish,
    )


def prepare(config: ml_collections.ConfigDict, folder: Path) -> material.Material:
    """The tasks of a config; what the two cannot give each other is an error here, before anything is compiled."""
    check(config)
    made = material.build(config, folder, families.stores, annotated.targets_of)
    targets.check([*made.development, *made.test], config.support_size)
    return made


def _tune(units: StochasticUnits) -> dict[str, dict] | None:
    """The learning rate of each network, from tuning seeds and the development tasks; None after a stop."""
    config = units.config

    def score(name: str, rate: float, seed: int) -> float | None:
        measured = units.measure(name, rate, seed, TUNE)
        return None if measured is None else mean_score(measured)

    grids = dict.fromkeys(learners(config.arms), config.rates)
    chosen = tuning.choose_rates(grids, units.tuning_seeds, score, units.in_parallel, widenings=config.widenings)
    return chosen and {
        name: {"definition": LEARNERS[name].definition(), "scored": LEARNERS[name].scored, **choice.record()}
        for name, choice in chosen.items()
    }


def mean_score(measured: dict[str, np.ndarray]) -> float:
    """Mean over tasks of what one network scored; an undefined value is left out."""
    return float(np.mean([np.nanmean(value) for key, value in measured.items() if key.startswith("score/")]))


def _report(units: StochasticUnits, chosen: dict[str, dict], writer: MultiWriter) -> bool:
    """Trains each network at its rate on fresh seeds and judges its arms on the held-out tasks; False after a stop."""
    seeds = units.report_seeds

    def measure(task):
        name, seed, diversity = task
        return units.measure(name, chosen[name]["learning_rate"], seed, REPORT, diversity)

    tasks = [(name, seed, None) for name in chosen if not _needs_tyche(units, name) for seed in seeds]
    results = units.in_parallel(measure, tasks)
    if None in results:
        return False
    found = {(name, seed): result for (name, seed, _), result in zip(tasks, results, strict=True)}
    controlled = [name for name in chosen if _needs_tyche(units, name)]
    later = [(name, seed, float(found["tyche", seed][DIVERSITY])) for name in controlled for seed in seeds]
    results = units.in_parallel(measure, later)
    if None in results:
        return False
    found |= {(name, seed): result for (name, seed, _), result in zip(later, results, strict=True)}
    for (name, seed), result in found.items():
        for step, score in zip(result.get("curve/step", ()), result.get("curve/score", ()), strict=True):
            writer.scalars(int(step), {LEARNERS[name].scored: float(score)}, split=f"{name}/{seed}/development")
    return True


def _finish(units: StochasticUnits, chosen: dict[str, dict], writer: MultiWriter) -> None:
    from hyperlab.studies.stochastic import page as stochastic

    units.optimum()
    annotated.keep(units.files, units.material.test, units.config.support_size)
    stochastic.write(units.folder.path)


def _needs_tyche(units: StochasticUnits, name: str) -> bool:
    """Whether an arm of a network is the control, which is made as diverse as Tyche."""
    return CONTROL in units.arms(name)


def _planned(units: StochasticUnits) -> int:
    """Training steps of the whole study, unless a grid is widened."""
    config, total = units.config, 0
    for name in learners(config.arms):
        trials = len(config.rates) * config.tuning_seeds
        total += trials * units.networks(name, TUNE) * units.steps(LEARNERS[name], TUNE)
        total += config.report_seeds * units.networks(name, REPORT) * units.steps(LEARNERS[name], REPORT)
    return total


if __name__ == "__main__":
    launch.main("experiments.stochastic")
