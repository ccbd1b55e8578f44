"""After the study: the factor that validation chooses, and the ordinary network at that factor, to take along."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd

from hyperlab import pareto
from hyperlab.data.splits import fingerprint
from hyperlab.errors import ConfigError
from hyperlab.files import write_json
from hyperlab.inference import alone
from hyperlab.inference.network import Preprocessing
from hyperlab.metrics import per_case
from hyperlab.metrics.defined import mean_defined, mean_dice
from hyperlab.models import FilmUNet, UNet
from hyperlab.studies.rescaling import cases
from hyperlab.studies.rescaling import overlays as pictures
from hyperlab.studies.rescaling.arms import ARMS, Cell, inference_name
from hyperlab.studies.rescaling.results import MEANS, test_dice
from hyperlab.train.checkpoints import load_variables
from hyperlab.train.phases import FIRST_REPORT_SEED, REPORT
from hyperlab.train.units import Measurements

MADE_OF = "digest_of_variables"  # of the card: a digest of the exported variables


class Frozen(NamedTuple):
    """A network at one factor, as `pareto.export` takes it.

    Attributes:
      apply: `(variables, images) -> logits`.
      variables: `{"params": ...}`; of FiLM its conditioning input beside them.
      sizes: of the levels.
      made_of: a digest of the variables.
      module: the U-Net, or the one with FiLM.
    """

    apply: Any
    variables: Any
    sizes: tuple[tuple[int, ...], ...]
    made_of: str
    module: UNet | FilmUNet


def freeze(study: Any, cell: Cell, params: Any, factor: float, width: float = 1.0) -> Frozen:
    """The ordinary network that an arm's network is at one factor; generated parameters are numbers from here on.

    The width is that of the cell, unless a slimmable network is to be made narrower.
    """
    programs = study.programs(cell._replace(width=width))
    sizes, prepared = programs.sizes(factor), programs.prepare(params, np.array([factor], np.float32))
    film = ARMS[cell.arm].network == "film"
    variables = {"params": prepared[0], "conditioning": prepared[1]} if film else {"params": prepared}

    def apply(variables, images):
        prepared = (variables["params"], variables["conditioning"]) if film else variables["params"]
        return programs.network.run(prepared, images, sizes, None)

    made_of, primary = fingerprint(*map(np.asarray, jax.tree.leaves(variables))), programs.network.primary
    return Frozen(apply, variables, sizes, made_of, FilmUNet(primary) if film else primary)


def card(
    cell: Cell,
    seed: int,
    factor: float,
    width: float,
    measured: Measurements,
    classes: Sequence[str],
    frozen: Frozen,
    preprocessing: Preprocessing | None,
) -> dict[str, Any]:
    """What the card says of an exported network: which it is, and its own test Dice with an interval over subjects.

    Args:
      cell: what was trained.
      seed: of the training.
      factor: that it runs at.
      width: the same.
      measured: on this seed, see `Rescaling.train`.
      classes: names, the background's first.
      frozen: what is exported.
      preprocessing: of its images; None of runs that kept none.
    """
    return {
        "arm": cell.arm,
        "trained_at": cell.trained_at,
        "seed": seed,
        "rescaling_factor": factor,
        "width": width,
        "sizes": [list(size) for size in frozen.sizes],
        "class_names": [str(name) for name in classes],
        "test_dice": test_dice(cell, measured, factor, width),
        "preprocessing": None if preprocessing is None else preprocessing.record(),
        "architecture": alone.described(frozen.module, frozen.sizes),
        MADE_OF: frozen.made_of,
    }


def export(folder: Path, frozen: Frozen, shape: Sequence[int], told: dict[str, Any], formats: Sequence[str]) -> Path:
    """Writes a network with its card, and what predicts with it."""
    example, beside = jax.ShapeDtypeStruct((1, *shape), np.float32), alone.beside(told, formats)
    return pareto.export(folder, frozen.apply, frozen.variables, example, told, formats=formats, beside=beside)


def write(study: Any, chosen: dict[str, dict], writer: Any) -> None:
    """Writes `selection.json`, `network/`, its `summary.json`, and overlays: what this study gives to be used.

    Which arm: of those with one network for all factors, the highest on validation, mean over compared factors and
    seeds, be it a hypernetwork or not. The study asks what such a network is worth, so a user of it is given the best
    one, and not the one that the study is named after. Arms with a network for each factor stand beside on the page;
    `hyperlab export RUN --arm fixed --phi 0.3` takes one of those. Which factor: the cheapest within the tolerance of
    the arm's best on validation. Which seed: of those that were kept, the highest on validation at this factor.
    """
    arm = best_of_prior(study, chosen)
    if arm is None or not study.config.keep_networks:
        return
    try:
        selection = pareto.select(frame(study, chosen, arm), tolerance=study.config.tolerance, bounds=MEANS)
    except ConfigError:
        return
    cell, factor = Cell(arm), selection.rescaling_factor
    seed, measured = _best_kept(study, chosen, cell, factor)
    record = {
        "arm": arm,
        "seed": seed,
        "tolerance": study.config.tolerance,
        **{key: value._asdict() if hasattr(value, "_asdict") else value for key, value in selection._asdict().items()},
    }
    write_json(study.folder.path / "selection.json", record)
    params = kept_params(study, cell, seed)
    frozen, folder = freeze(study, cell, params, factor), study.folder.path / "network"
    told = card(cell, seed, factor, 1.0, measured, study.data.classes, frozen, study.data.preprocessing)
    if not _is_of(folder, told):
        shutil.rmtree(folder, ignore_errors=True)
        export(folder, frozen, study.data.image_shape, told, _formats())
    programs = study.programs(cell)
    theta = programs.prepare(params, np.array([factor], np.float32))
    per_case.write_summary(study.folder.path / "summary.json", cases.summary(study, programs, theta, factor))
    overlays(study, programs, params, writer)


def best_of_prior(study: Any, chosen: dict[str, dict]) -> str | None:
    """The arm with one network for all factors that is highest on validation, over compared factors and seeds."""
    arms = [arm for arm in study.config.arms if ARMS[arm].trains == "prior"]
    return max(arms, key=lambda arm: _validation(study, chosen, Cell(arm), study.report_seeds), default=None)


def kept_params(study: Any, cell: Cell, seed: int) -> Any:
    """The parameters of a network that a run kept.

    Raises:
      CheckpointError: there is no such file, it is damaged, or what it holds is no such network: of another version.
    """
    like = {"params": jax.eval_shape(study.programs(cell).network.init, jax.random.key(0))}
    held = load_variables(study.folder.path / cell.network_file(seed), like)
    return jax.tree.map(jax.numpy.asarray, held["params"])


def _validation(study: Any, chosen: dict[str, dict], cell: Cell, seeds: Sequence[int]) -> float:
    """Validation Dice over the compared factors and some seeds; nothing defined is the lowest."""
    values = []
    for seed in seeds:
        measured = study.train(cell, chosen[cell.arm]["learning_rate"], seed, REPORT)
        places = [place for place, factor in enumerate(measured["factors"]) if factor in study.config.factors]
        values.append(mean_dice(measured["validation/dice"][places]))
    return float(np.nan_to_num(np.mean(values), nan=-1.0))


def _best_kept(study: Any, chosen: dict[str, dict], cell: Cell, factor: float) -> tuple[int, Measurements]:
    """The kept seed that is highest on validation at a factor, with what was measured of it."""
    seeds = [seed for seed in study.report_seeds if seed < FIRST_REPORT_SEED + study.config.keep_networks]
    found = {seed: study.train(cell, chosen[cell.arm]["learning_rate"], seed, REPORT) for seed in seeds}

    def score(seed: int) -> float:
        place = found[seed]["factors"].tolist().index(factor)
        return float(np.nan_to_num(mean_dice(found[seed]["validation/dice"][place]), nan=-1.0))

    best = max(seeds, key=score)
    return best, found[best]


def frame(study: Any, chosen: dict[str, dict], arm: str) -> pd.DataFrame:
    """One row for each split, seed, subject and factor of an arm of the prior: what `pareto.select` reads."""
    rows, costs = [], study.files.read(inference_name(1))
    macs = dict(zip(costs["rescaling_factor"].tolist(), costs["macs"].tolist(), strict=True))
    for seed in study.report_seeds:
        result = study.train(Cell(arm), chosen[arm]["learning_rate"], seed, REPORT)
        for split in ("validation", "test"):
            dice = mean_defined(result[f"{split}/dice"], -1)  # over classes
            for factor, values in zip(result["factors"].tolist(), dice, strict=True):
                rows += [
                    {"rescaling_factor": factor, "split": split, "seed": seed, "case": case, "dice": value,
                     "macs": macs[factor]} for case, value in enumerate(values)
                ]  # fmt: skip
    return pd.DataFrame(rows)


def _is_of(folder: Any, told: dict[str, Any]) -> bool:
    """Whether a network was exported there that is whole, and of which the same is to be told."""
    try:
        found = pareto.load(folder).card
        return all(found.get(key) == value for key, value in told.items())
    except Exception:  # none, damaged, or without what reads it: it is written again
        return False


def overlays(study: Any, programs: Any, params: Any, writer: Any) -> None:
    """Input, truth, prediction and error of some test images at the compared factors, for TensorBoard and report."""
    split, strips = study.data.test.take(np.arange(min(pictures.CASES, len(study.data.test)))), {}
    for factor in study.config.factors:
        prepared = programs.prepare(params, np.array([factor], np.float32))
        rows = []
        for predicted, part, _ in programs.predicted(prepared, factor, split):
            across = None if part is split or split.axis is None else 0  # planes come first
            rows += [pictures.strip(*one, across) for one in zip(part.images, part.labels, predicted, strict=True)]
        strips[f"factor_{factor:g}"] = np.concatenate(pictures.of_one_size(rows))
    writer.images(0, strips, split="overlay")
    study.files.write(pictures.UNIT, strips)


def _formats() -> tuple[str, ...]:
    """What can be written without a package that is not installed."""
    from importlib.util import find_spec

    formats = ["orbax"]
    formats += ["safetensors"] if find_spec("safetensors") else []
    formats += ["program"] if find_spec("flatbuffers") else []
    return tuple(formats)
