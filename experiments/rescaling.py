"""One hypernetwork for every rescaling factor: as accurate as a network for each, and at what cost?

    python -m experiments.rescaling                                      # procedural shapes, under three minutes
    python -m experiments.rescaling --config configs/rescaling/wbc.py --config.data.root=DIR

A U-Net whose down-samplings all scale by phi is trained in arms that differ in where its parameters come from: a
network for each phi (Fixed), one set of parameters for all (Stochastic), one set with its features modulated by phi
(FiLM), parameters generated from phi (SSHN), and controls. Learning rates are chosen on tuning seeds and the validation
split, with the same grid for every arm; what is reported comes from fresh seeds and the test split.
"""

import ml_collections
import numpy as np

from hyperlab import launch
from hyperlab.data.labelled_pixels import load_segmented, optional_keys
from hyperlab.metrics.defined import mean_dice
from hyperlab.studies import base as study
from hyperlab.studies import tuning
from hyperlab.studies.rescaling import ARMS, Units, cases, costs, deploy
from hyperlab.studies.rescaling.schema import SCHEMA, check, check_files, check_levels
from hyperlab.train.phases import REPORT, TUNE
from hyperlab.train.writers import MultiWriter

__all__ = ["OPTIONAL", "SCHEMA", "check", "check_files", "get_config", "run"]  # what `launch` asks of a study

OPTIONAL = optional_keys()


def get_config() -> ml_collections.ConfigDict:
    """The embedded default: procedural shapes, the four arms of the paper, a front of nine factors."""
    config = ml_collections.ConfigDict()
    config.study = "rescaling"
    config.seed = 0
    config.data = {"name": "shapes", "root": "", "split_seed": 0, "limit": 0, "size": (48, 48)}
    config.data.update({"count": 200, "difficulty": 0.05})  # of the shapes: Fixed reaches a Dice of about .8
    config.primary = {"widths": (8, 8, 8, 8), "convs_per_block": 2, "normalization": ""}
    config.primary.update({"activation": "leaky_relu", "skip": "concat"})
    config.hypernet = {"hidden": (16, 64, 96), "activation": "leaky_relu"}
    config.prior = {"kind": "uniform", "low": 0.0, "high": 0.5}
    config.factors = (0.1, 0.3, 0.5)  # compared: Fixed has a network for each, Dice is averaged over them
    config.front = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)  # networks of the prior are measured at all
    config.outside = (0.6, 0.75, 1.0)
    config.widths = (0.25, 0.5, 0.75)  # of the arm `width`
    config.arms = ("fixed", "stochastic", "film", "sshn")
    # Named before running; the metric is test Dice, mean over the compared factors.
    config.contrasts = ("sshn - fixed", "sshn - stochastic")
    config.margin = 0.01  # of non-inferiority, in Dice
    config.optimizer = "adam"
    config.rates = (0.001, 0.003, 0.01)
    config.tuning_seeds = 2
    config.widenings = 0
    config.report_seeds = 3
    config.train_length = "200 steps"  # or "20 epochs", "10000 examples"
    config.batch_size = 8
    config.curve_points = 4
    config.curve_examples = 32
    config.evaluation_batch = 20
    config.surface_tolerance = 1.0  # of the normalised surface Dice: mm where the spacing is known, else pixels
    config.programs = 2  # compiled for the prior, one for each bucket of factors
    config.keep_networks = 1  # trained parameters are kept for so many of the first report seeds
    config.tolerance = 0.01  # Dice that `select` may give away
    config.workers = 0  # networks in work at the same time; 0: one for each of at most four cores on CPU, else 1
    return config


def run(config: ml_collections.ConfigDict, folder, stop) -> None:
    """Runs the study in a run folder: costs, tuning, then fresh seeds. A stopped study continues."""
    splits = _load(config)
    study.conduct(
        config,
        folder,
        data=(config.data.name, splits.fingerprint),
        units=lambda progress: Units(config, splits, folder, progress, stop),
        planned=_planned,
        tune=_tune,
        report=_report,
        finish=_finish,
    )


def _tune(units: Units) -> dict[str, dict] | None:
    """The learning rate of each arm, from tuning seeds and the validation split; None after a stop."""
    study.write_json(units.folder, "data.json", {"notes": list(units.splits.notes)})
    cases.keep(units)
    costs.measure(units)
    config = units.config

    def score(arm: str, rate: float, seed: int) -> float | None:
        """Validation Dice in the end, mean over what the arm is compared at."""
        measured = [units.measure(arm, job, rate, seed, TUNE) for job in ARMS[arm].jobs(config)]
        return None if None in measured else np.mean([mean_dice(one["validation/dice"]) for one in measured])

    grids = dict.fromkeys(config.arms, config.rates)
    chosen = tuning.choose_rates(grids, units.tuning_seeds, score, units.in_parallel, widenings=config.widenings)
    return chosen and {
        arm: {"label": ARMS[arm].label, "definition": ARMS[arm].definition(), **choice.record()}
        for arm, choice in chosen.items()
    }


def _report(units: Units, chosen: dict[str, dict], writer: MultiWriter) -> bool:
    """Trains each arm at its rate on fresh seeds, measured on validation and test; False after a stop."""
    config = units.config
    tasks = [(arm, job, seed) for arm in config.arms for job in ARMS[arm].jobs(config) for seed in units.report_seeds]

    def measure(task):
        arm, job, seed = task
        return units.measure(arm, job, chosen[arm]["learning_rate"], seed, REPORT)

    for (arm, job, seed), result in zip(tasks, units.in_parallel(measure, tasks), strict=True):
        if result is None:
            return False
        for step, dice in zip(result["curve/step"], result["curve/dice"], strict=True):
            writer.scalars(int(step), {"dice": float(dice)}, split=f"{arm}/{job.name}/{seed}/validation")
    return True


def _finish(units: Units, chosen: dict[str, dict], writer: MultiWriter) -> None:
    from hyperlab.studies.rescaling import page as rescaling

    deploy.write(units, chosen, writer)
    rescaling.write(units.folder.path)


def _load(config: ml_collections.ConfigDict):
    """The data of a config; what the two cannot give each other is refused before anything is compiled."""
    check(config)
    splits = load_segmented(config.data)
    check_levels(config, splits.image_shape[:-1])
    return splits


def _planned(units: Units) -> int:
    """Training steps of the whole study, unless a grid is widened."""
    config = units.config
    networks = len(config.rates) * config.tuning_seeds + config.report_seeds
    return sum(networks * len(ARMS[name].jobs(config)) * units.steps(ARMS[name]) for name in config.arms)


if __name__ == "__main__":
    launch.main("experiments.rescaling")
