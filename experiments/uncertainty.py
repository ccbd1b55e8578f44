"""Uncertainty of segmentations: does a network know where it is wrong, and does dropping whole channels help it know?

    python -m experiments.uncertainty                                    # procedural microscopy, under three minutes
    python -m experiments.uncertainty --config configs/uncertainty/nuclei.py --config.data.root=DIR

One U-Net, trained without dropout, with dropout of single activations, with dropout of whole channels at several rates,
and as a deep ensemble; with parameters generated from a latent; and Tyche, which draws candidates from noise and
examples (configs/uncertainty/compared.py). Beside them Otsu's threshold and a logistic classifier of pixels. Learning
rates and dropout rates are chosen by the likelihood of the validation split on tuning seeds, with as many trials for
every arm. Fresh seeds are judged on the test split and on graded shifts away from it, and every map of uncertainty
stands beside what needs none: the entropy of one pass, the distance to the predicted boundary, the mean intensity.
"""

import ml_collections
import numpy as np

from hyperlab import launch
from hyperlab.data.labelled_pixels import optional_keys
from hyperlab.inference import saved
from hyperlab.studies import conducted as study
from hyperlab.studies import tuning
from hyperlab.studies.uncertainty import Point, Units, find
from hyperlab.studies.uncertainty import baselines as floors
from hyperlab.studies.uncertainty import data as material
from hyperlab.studies.uncertainty.schema import SCHEMA, check, check_files
from hyperlab.train.phases import FIRST_REPORT_SEED, REPORT, TUNE
from hyperlab.train.writers import MultiWriter

__all__ = ["OPTIONAL", "SCHEMA", "check", "check_files", "get_config", "run"]  # what `launch` asks of a study

OPTIONAL = optional_keys()


def get_config() -> ml_collections.ConfigDict:
    """The embedded default: procedural microscopy of parasites."""
    config = ml_collections.ConfigDict()
    config.study = "uncertainty"
    config.seed = 0
    config.data = {"name": "parasites", "root": "", "split_seed": 0, "size": (32, 32), "kind": "", "limit": {}}
    config.data.update({"count": 200, "difficulty": 0.3})  # of procedural images
    # Test images moved away from the domain, by severity; of procedural ones borders of known width, in pixels; other
    # kinds of image, which are shown and never scored.
    config.data.update({"shifts": ("size", "blur", "intensity"), "severities": (2, 4)})
    config.data.update({"borders": (), "other_kinds": ()})
    config.network = {"widths": (8, 16, 16), "normalization": "group", "convs_per_block": 2}
    config.arms = ("none", "element", "spatial", "ensemble")
    config.dropout_rates = (0.1, 0.3)  # the curve of every arm that drops
    config.train_shares = (1.0,)  # of the training images; smaller ones at the chosen dropout rate
    config.members = 3  # of the deep ensemble
    # Arms of other networks; Tyche's widths are its own, its support the labelled training images beside each image.
    config.bayesian = {"latent": 4, "hidden": (16, 64), "encoding": "cos_sin"}
    config.tyche = {"widths": (8, 16, 16), "support": 4, "candidates": 4}
    config.noise = {"smoothness": 2.0}  # pixels, of the control whose diversity is Tyche's
    config.draws = (5, 10, 20)  # the last stands for an arm
    config.tuning_draws = 5
    # Named before running; higher is better in each. `error_detection` is the AUROC of the map in a band round the
    # predicted boundary, `independence` 1 - the mean |correlation| between feature maps.
    config.contrasts = ("dice: spatial - none", "error_detection: spatial - element", "independence: spatial - none")
    config.judging = {"band": 3.0, "map": "epistemic", "score": "foreground", "target": 0.9, "bins": 15}
    config.judging.update({"removed": 0.2, "shown": 4})
    config.optimizer = {"name": "adam", "weight_decay": 0.0}
    config.augment = False  # mirror, turn, scale, change the intensity at random
    config.rates = (0.003, 0.01)  # learning rates; arms without dropout try as many in the same range
    config.tuning_seeds = 1
    config.widenings = 1  # where the best rate is at the edge of its grid
    config.report_seeds = 5
    config.train_length = "150 steps"
    config.tuning_length = "100 steps"
    config.batch_size = 8
    config.evaluation_batch = 20
    config.chunk = 1  # draws computed at once
    config.workers = 0  # networks in work at the same time; 0: one for each of at most four cores on CPU, else 1
    return config


def run(config: ml_collections.ConfigDict, folder, stop) -> None:
    """Runs the study in a run folder: tuning, then fresh seeds. A stopped study continues."""
    check(config)
    made = material.build(config)
    study.conduct(
        config,
        folder,
        data=(made.splits.name, made.fingerprint),
        units=lambda progress: Units(config, made, folder, progress, stop),
        planned=_planned,
        tune=_tune,
        report=lambda units, chosen, writer: _report(units, chosen, writer) and _beside(units, chosen),
        finish=_finish,
    )


# -- tuning -------------------------------------------------------------------------------------------------------


def _tune(units: Units) -> dict[str, dict] | None:
    """Learning rate and dropout rate of each arm, from tuning seeds and the validation split; None after a stop."""
    grids = {point: _grid(units, point.arm) for arm in _learned(units) for point in units.points(arm)}

    def score(point: Point, rate: float, seed: int) -> float | None:
        known = units.score(point, rate, seed)
        return None if known is None else -known["nll"]

    choices = tuning.choose_rates(grids, units.tuning_seeds, score, units.in_parallel, widenings=units.config.widenings)
    if choices is None:
        return None
    chosen = {}
    for arm in _learned(units):
        rates = {}
        for point in units.points(arm):
            known = [units.score(point, choices[point].rate, seed) for seed in units.tuning_seeds]
            worth = {name: float(np.mean([one[name] for one in known])) for name in ("nll", "dice")}
            rates[f"{point.dropout_rate:g}"] = choices[point].record() | worth
        best = min(rates, key=lambda rate: rates[rate]["nll"])
        chosen[arm] = {"label": find(arm).label, "definition": find(arm).definition(), "source": find(arm).source}
        chosen[arm] |= {"dropout_rate": float(best), "rates": rates}
    return _with_matched(chosen) | _of_others(units, chosen)


def _learned(units: Units) -> list[str]:
    """Arms that are tuned; the others use the networks of one of these, with their learning rate."""
    return [arm for arm in units.config.arms if not find(arm).learner]


def _grid(units: Units, arm: str) -> list[float]:
    """Learning rates to try; an arm without dropout tries as many as one with it does at all its dropout rates."""
    rates = sorted(units.config.rates)
    if find(arm).drops:
        return rates
    return np.geomspace(rates[0], rates[-1], len(rates) * len(units.config.dropout_rates)).tolist()


def _with_matched(chosen: dict[str, dict]) -> dict[str, dict]:
    """Adds the dropout rate at which the validation Dice is nearest to that of spatial dropout at its own."""
    if "spatial" in chosen:
        own = chosen["spatial"]["rates"][f"{chosen['spatial']['dropout_rate']:g}"]["dice"]
        for one in chosen.values():
            one["matched_rate"] = float(min(one["rates"], key=lambda rate: abs(one["rates"][rate]["dice"] - own)))
    return chosen


def _of_others(units: Units, chosen: dict[str, dict]) -> dict[str, dict]:
    """The choices of arms that use another's networks."""
    result = {}
    for name in units.config.arms:
        arm = find(name)
        if arm.learner:
            like = chosen[arm.learner]
            result[name] = {"label": arm.label, "definition": arm.definition(), "source": arm.source}
            result[name] |= {key: like[key] for key in ("dropout_rate", "rates", "matched_rate") if key in like}
    return result


# -- fresh seeds --------------------------------------------------------------------------------------------------


def _report(units: Units, chosen: dict[str, dict], writer: MultiWriter) -> bool:
    """Trains on fresh seeds and judges; False after a stop."""
    tasks = [(point, _rate(chosen, point), seed) for point in _points(units, chosen) for seed in units.report_seeds]

    def measure(task):
        arm = task[0].arm
        chosen_rate = task[0].dropout_rate == chosen[arm]["dropout_rate"]
        return units.measure(*task, shifted=chosen_rate, like=_like(chosen, arm))

    results = units.in_parallel(measure, tasks)
    for (point, _, seed), result in zip(tasks, results, strict=True):
        if result is None:
            return False
        score = result[f"test/{units.final(point.arm)}/dice"]
        writer.scalars(units.steps(REPORT), {"dice": float(np.nanmean(score))}, split=f"{point.name}/{seed}/test")
    return True


def _points(units: Units, chosen: dict[str, dict]) -> list[Point]:
    """All that is reported: every dropout rate on all images, and the chosen ones on fewer."""
    points = [point for arm in units.config.arms for point in units.points(arm)]
    fewer = [share for share in units.config.train_shares if share != 1]
    return points + [Point(arm, chosen[arm]["dropout_rate"], share) for arm in units.config.arms for share in fewer]


def _rate(chosen: dict[str, dict], point: Point) -> float:
    return chosen[point.arm]["rates"][f"{point.dropout_rate:g}"]["learning_rate"]


def _chosen(chosen: dict[str, dict], arm: str) -> tuple[Point, float]:
    """An arm at its chosen dropout rate, and the learning rate there."""
    point = Point(arm, chosen[arm]["dropout_rate"])
    return point, _rate(chosen, point)


def _like(chosen: dict[str, dict], arm: str) -> tuple[Point, float] | None:
    """The networks whose diversity an arm is given."""
    return _chosen(chosen, find(arm).like) if find(arm).like else None


def _beside(units: Units, chosen: dict[str, dict]) -> bool:
    """What stands beside the networks of a complete study: floors, untrained networks, costs, images to show."""
    units.files.measure("floors", lambda: floors.measure(units.material, units.judging))
    units.files.measure("images", lambda: _shown(units))
    for arm in units.config.arms:
        units.cost(*_chosen(chosen, arm), FIRST_REPORT_SEED, _like(chosen, arm))
    for seed in units.report_seeds:
        units.untrained(seed)
    study.write_json(units.folder, "data.json", _described(units))
    _save(units, chosen)
    return True


def _finish(units: Units, chosen: dict[str, dict], writer: MultiWriter) -> None:
    from hyperlab.studies.uncertainty import page as uncertainty

    uncertainty.write(units.folder.path)


def _save(units: Units, chosen: dict[str, dict]) -> None:
    """Keeps the network that draws, of the first seed, for `hyperlab segment-uncertain`."""
    for arm in ("spatial", *units.config.arms):
        if arm in units.config.arms and find(arm).drops and find(arm).answers == "draws":
            point = Point(arm, chosen[arm]["dropout_rate"])
            units.keep(point, _rate(chosen, point), FIRST_REPORT_SEED, saved.save)
            return


def _shown(units: Units) -> dict:
    """The first test images, for figures."""
    test, count = units.material.parts["test"], units.judging.shown
    return {"shown/images": test.images[:count], "shown/labels": test.labels[:count]}


def _described(units: Units) -> dict:
    """What the report has to know of the data."""
    splits, made = units.material.splits, units.material
    return {
        "name": splits.name,
        "classes": list(splits.classes),
        "notes": list(splits.notes),
        "sizes": {name: len(part) for name, part in splits.parts().items()},
        "parts": {name: len(part.images) for name, part in made.parts.items()},
        "shape": list(made.shape),
        "empty": {name: int((part.labels == 0).all((1, 2)).sum()) for name, part in made.parts.items()},
        "parameters": units.size,
        "steps": units.steps(REPORT),
    }


def _planned(units: Units) -> int:
    """Training steps of the whole study, unless a grid is widened."""
    config, total = units.config, 0
    for arm in config.arms:
        points = len(units.points(arm)) + sum(share != 1 for share in config.train_shares)
        # the first network of an arm that uses another's is trained already
        members = units.members(arm) - bool(find(arm).learner)
        total += points * config.report_seeds * members * units.steps(REPORT)
        if arm in _learned(units):
            total += len(units.points(arm)) * len(_grid(units, arm)) * config.tuning_seeds * units.steps(TUNE)
    return total


if __name__ == "__main__":
    launch.main("experiments.uncertainty")
