"""After the study: the factor that validation chooses, and the ordinary network at that factor, to take along."""

import shutil
from typing import Any

import jax
import numpy as np
import pandas as pd

from hyperlab import pareto
from hyperlab.data.splits import fingerprint
from hyperlab.errors import ConfigError
from hyperlab.files import write_json
from hyperlab.metrics import per_case
from hyperlab.studies.rescaling import cases
from hyperlab.studies.rescaling.arms import ARMS, Cell, inference_name
from hyperlab.train.checkpoints import load_variables
from hyperlab.train.phases import FIRST_REPORT_SEED, REPORT

MADE_OF = "digest_of_variables"  # of the card: a digest of the exported variables
COLOURS = np.array([[0, 0, 0], [230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [204, 121, 167]], np.uint8)


def frame(study: Any, chosen: dict[str, dict], arm: str) -> pd.DataFrame:
    """One row for each split, seed, subject and factor of an arm of the prior: what `pareto.select` reads."""
    rows, costs = [], study.files.read(inference_name(1))
    macs = dict(zip(costs["rescaling_factor"].tolist(), costs["macs"].tolist(), strict=True))
    for seed in study.report_seeds:
        result = study.train(Cell(arm), chosen[arm]["learning_rate"], seed, REPORT)
        for split in ("validation", "test"):
            with np.errstate(invalid="ignore"):
                dice = np.nanmean(result[f"{split}/dice"], -1)  # over classes
            for factor, values in zip(result["factors"].tolist(), dice, strict=True):
                rows += [
                    {"rescaling_factor": factor, "split": split, "seed": seed, "case": case, "dice": value,
                     "macs": macs[factor]} for case, value in enumerate(values)
                ]  # fmt: skip
    return pd.DataFrame(rows)


def write(study: Any, chosen: dict[str, dict], writer: Any) -> None:
    """Writes `selection.json`, `network/`, its `summary.json`, and overlays, for the first SSHN arm of the study."""
    arm = next(
        (name for name in study.config.arms if ARMS[name].network == "hypernet" and ARMS[name].trains == "prior"), None
    )
    if arm is None or not study.config.keep_networks:
        return
    try:
        selection = pareto.select(frame(study, chosen, arm), tolerance=study.config.tolerance)
    except ConfigError:
        return
    record = {
        "arm": arm,
        "tolerance": study.config.tolerance,
        **{key: value._asdict() if hasattr(value, "_asdict") else value for key, value in selection._asdict().items()},
    }
    write_json(study.folder.path / "selection.json", record)
    programs = study.programs(Cell(arm))
    kept = load_variables(study.folder.path / Cell(arm).network_file(FIRST_REPORT_SEED))
    params = jax.tree.map(jax.numpy.asarray, kept["params"])
    factor = selection.rescaling_factor
    sizes, theta = programs.sizes(factor), programs.prepare(params, np.array([factor], np.float32))
    folder, made_of = study.folder.path / "network", fingerprint(*map(np.asarray, jax.tree.leaves(theta)))
    if not _is_of(folder, made_of):
        shutil.rmtree(folder, ignore_errors=True)
        pareto.export(
            folder,
            lambda variables, images: programs.network.primary.apply(variables, images, sizes),
            {"params": theta},
            jax.ShapeDtypeStruct((1, *study.data.image_shape), np.float32),
            {
                "rescaling_factor": factor,
                "sizes": [list(size) for size in sizes],
                "class_names": list(study.data.classes),
                MADE_OF: made_of,
            },
            formats=_formats(),
        )
    per_case.write_summary(study.folder.path / "summary.json", cases.summary(study, programs, theta, factor))
    overlays(study, programs, params, writer)


def _is_of(folder: Any, made_of: str) -> bool:
    """Whether a network was exported there that is whole, and is that of these parameters."""
    try:
        return pareto.load(folder).card.get(MADE_OF) == made_of
    except Exception:  # none, damaged, or without what reads it: it is written again
        return False


def overlays(study: Any, programs: Any, params: Any, writer: Any) -> None:
    """Input, truth, prediction and error of some test images at the compared factors, for TensorBoard and report."""
    split = study.data.test
    images, labels = split.images[:3], split.labels[:3]
    strips = {}
    for factor in study.config.factors:
        logits = programs.logits(programs.prepare(params, np.array([factor], np.float32)), factor, images)
        predicted = logits.argmax(-1)
        strips[f"factor_{factor:g}"] = np.concatenate(
            [
                strip(image, truth, prediction)
                for image, truth, prediction in zip(images, labels, predicted, strict=True)
            ]
        )
    writer.images(0, strips, split="overlay")
    study.files.write("overlays", strips)


def strip(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """One row of four pictures, uint8 `[height, 4 width, 3]`: image, truth, prediction, errors in red.

    Args:
      image: `[height, width, channel]` in 0..1, or a volume, of which the middle slice is shown.
      truth: int, the labels.
      prediction: int, the predicted labels.
    """
    if truth.ndim == 3:
        middle = truth.shape[-1] // 2
        image, truth, prediction = image[:, :, middle], truth[..., middle], prediction[..., middle]
    grey = np.repeat((255 * image.mean(-1, keepdims=True)).astype(np.uint8), 3, -1)
    wrong = np.where((truth != prediction)[..., None], np.array([213, 40, 40], np.uint8), grey)
    return np.concatenate([grey, COLOURS[truth % 6], COLOURS[prediction % 6], wrong], 1)


def _formats() -> tuple[str, ...]:
    """What can be written without a package that is not installed."""
    from importlib.util import find_spec

    formats = ["orbax"]
    formats += ["safetensors"] if find_spec("safetensors") else []
    formats += ["program"] if find_spec("flatbuffers") else []
    return tuple(formats)
