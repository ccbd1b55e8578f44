"""What stands beside the networks of a complete study: baselines, costs, images to show, a network to take."""

from typing import Any

from hyperlab import trees
from hyperlab.inference import saved
from hyperlab.studies.record import keep_preprocessing, write_json
from hyperlab.studies.uncertainty import baselines, choosing, costs
from hyperlab.studies.uncertainty.arms import SUBJECT
from hyperlab.studies.uncertainty.cells import BASELINES_UNIT, IMAGES_UNIT, TEST, untrained_name
from hyperlab.train.phases import FIRST_REPORT_SEED, REPORT
from hyperlab.train.units import Measurements


def write(study: Any, chosen: choosing.Chosen) -> None:
    """Measures and writes all of it.

    Args:
      study: a complete `study.Uncertainty`.
      chosen: the contents of `choices.json`.
    """
    study.files.measure(BASELINES_UNIT, lambda: baselines.measure(study.data, study.rules))
    study.files.measure(IMAGES_UNIT, lambda: _images(study))
    for arm in study.config.arms:
        cell = choosing.best(chosen, arm)
        costs.measure(study, cell, study.setting(chosen, cell), FIRST_REPORT_SEED)
    for seed in study.report_seeds:
        study.files.measure(untrained_name(seed), lambda seed=seed: _untrained(study, seed))
    write_json(study.folder, "data.json", _described(study))
    keep_preprocessing(study.folder, study.data.splits)
    _save_network(study, chosen)


def _untrained(study: Any, seed: int) -> Measurements:
    """The feature maps of a U-Net before its first step."""
    unet = study.programs.unet
    return study.probe(unet, study.programs.start(unet, study.key("initial", seed), 0.0).params, seed)


def _images(study: Any) -> Measurements:
    """The first test images, for figures."""
    test, count = study.data.evaluated[TEST], study.rules.shown
    return {"shown/images": test.images[:count], "shown/labels": test.labels[:count]}


def _described(study: Any) -> dict[str, Any]:
    """What the report has to know of the data."""
    splits, evaluated = study.data.splits, study.data.evaluated
    return {
        "name": splits.name,
        "classes": list(splits.classes),
        "notes": list(splits.notes),
        "sizes": {name: len(part) for name, part in splits.parts().items()},
        "parts": {name: len(split.images) for name, split in evaluated.items()},
        "shape": list(study.data.shape),
        "empty": {name: int((split.labels == 0).all((1, 2)).sum()) for name, split in evaluated.items()},
        "parameters": trees.count(study.programs.shapes(study.programs.unet)),
        "steps": study.length(REPORT),
    }


def _save_network(study: Any, chosen: choosing.Chosen) -> None:
    """Keeps the first network that draws by itself, of the first seed, for `hyperlab segment-uncertain`."""
    arms = sorted(study.config.arms, key=lambda arm: arm != SUBJECT)
    cells = [choosing.best(chosen, arm) for arm in arms]
    found = ((cell, study.source(cell).exported(cell)) for cell in cells)
    cell, module = next((one for one in found if one[1] is not None), (None, None))
    if cell is None or module is None:
        return
    rate, splits = study.setting(chosen, cell).learning_rate, study.data.splits
    saved.save(
        study.folder.path,
        module,
        {"params": study.params(cell, study.network(cell, rate, FIRST_REPORT_SEED, REPORT))},
        name=f"{cell.arm}_{FIRST_REPORT_SEED}",
        channels=study.data.shape[-1],
        classes=splits.classes,
        window=study.data.shape[:2],
        scale=splits.scale,
        normalisation=splits.normalisation,
        score=study.rules.score,
    )
