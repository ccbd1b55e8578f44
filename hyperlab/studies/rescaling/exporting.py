"""Any network that a run of the rescaling study kept, at one factor, as files for elsewhere; no data are read."""

import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from hyperlab import pareto
from hyperlab.data.splits import Split, Splits
from hyperlab.errors import CheckpointError, ConfigError, DataError, nearest
from hyperlab.report.finished import Finished
from hyperlab.studies.rescaling import deploy
from hyperlab.studies.rescaling.arms import ARMS, CASES, Cell, cells_of, widths_of
from hyperlab.studies.rescaling.study import Rescaling
from hyperlab.train.phases import REPORT, report_seeds


def export(
    run: Path,
    out: Path,
    formats: Sequence[str],
    *,
    arm: str,
    factor: float,
    seed: int | None = None,
    width: float = 1.0,
) -> Path:
    """Writes one kept network at one factor; the card names arm, factor and seed, and its test Dice.

    Args:
      run: the folder of a finished run.
      out: a new folder.
      formats: of `pareto.export`.
      arm: that the run trained.
      factor: of an arm with one network for all factors any within the prior, else one that it has a network for.
      seed: by default the first that was kept.
      width: of the arm `width`, which of its networks; of `slimmable`, how wide.

    Returns:
      The folder.

    Raises:
      ConfigError: an arm, factor, seed or width that was not kept; what there is is named.
      DataError: the run kept no network, or too little to make one again.
      WorkdirError: the run is not finished.
    """
    finished = Finished(run)
    config = _config(finished)
    cell = _cell(config, arm, factor, width)
    seed = _seed(run, config, cell, seed)
    classes, shape = _described(run, finished)
    study = Rescaling(config, _without_images(classes, shape), _folder(run), _never_stopped())
    try:
        frozen = deploy.freeze(study, cell, deploy.kept_params(study, cell, seed), factor, width)
    except CheckpointError as error:
        raise DataError(f"{run} cannot be exported: {error}") from error
    measured = finished.unit(cell.unit_name(REPORT, finished.choices[arm]["learning_rate"], seed))
    told = deploy.card(cell, seed, factor, width, measured, classes, frozen)
    example = jax.ShapeDtypeStruct((1, *shape), np.float32)
    return pareto.export(out, frozen.apply, frozen.variables, example, told, formats=formats)


def _config(finished: Finished) -> Any:
    """The config of the run without the devices that trained it; an optimizer that older runs name is a group."""
    kept = {key: value for key, value in finished.config.items() if key != "devices"}
    if isinstance(kept["optimizer"], str):
        kept["optimizer"] = {"name": kept["optimizer"]}
    return ml_collections.ConfigDict(kept)


def _cell(config: Any, arm: str, factor: float, width: float) -> Cell:
    if arm not in config.arms:
        raise ConfigError(f"the run has no arm {arm!r}; {nearest(arm, config.arms)}")
    cells = cells_of(arm, config)
    if ARMS[arm].trains == "prior":
        if not config.prior.low < factor <= config.prior.high:
            raise ConfigError(
                f"phi {factor:g} is outside the prior ({config.prior.low:g}, {config.prior.high:g}] that {arm!r} was "
                "trained on"
            )
        cells = [cell for cell in cells if cell.width == width]
    else:
        cells = [cell for cell in cells if cell.factor == factor and width in widths_of(cell, config)]
    if not cells:
        shown = ", ".join(
            f"{cell.factor:g}" if one == 1 else f"{cell.factor:g} at width {one:g}"
            for cell in cells_of(arm, config)
            if cell.factor is not None
            for one in widths_of(cell, config)
        )
        given = f"phi {factor:g}" + (f" at width {width:g}" if width != 1 else "")
        raise ConfigError(f"arm {arm!r} has no network for {given}; it has {shown or 'one, of width 1'}")
    return cells[0]


def _seed(run: Path, config: Any, cell: Cell, seed: int | None) -> int:
    there = [one for one in report_seeds(config) if (run / cell.network_file(one)).is_file()]
    if not there:
        raise DataError(f"{run} holds no network of {cell.arm!r}: it is not finished, or keep_networks was 0")
    if seed is not None and seed not in there:
        raise ConfigError(f"{cell.network_file(seed)} was not kept; seeds that were: {', '.join(map(str, there))}")
    return there[0] if seed is None else seed


def _described(run: Path, finished: Finished) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The names of the classes, and the shape of an image; older runs have it on the card of their network alone."""
    cases = finished.unit(CASES)
    classes = tuple(map(str, cases["classes"]))
    if "image_shape" in cases:
        return classes, tuple(map(int, cases["image_shape"]))
    try:
        return classes, tuple(pareto.load(run / "network").card["input"]["shape"][1:])
    except CheckpointError as error:
        raise DataError(f"{run} does not say how large its images are (an older version): {error}") from error


def _without_images(classes: tuple[str, ...], shape: tuple[int, ...]) -> Splits:
    """Data of no images: of a study with them, networks and sizes are all that there is."""
    none = np.zeros(0, np.int32)
    empty = Split(np.zeros((0, *shape), np.float32), np.zeros((0, *shape[:-1]), np.int32), none, none)
    return Splits("none", empty, empty, empty, classes, "")


def _folder(run: Path) -> Any:
    return types.SimpleNamespace(path=run, unchanged=True)


def _never_stopped() -> Any:
    return types.SimpleNamespace(requested=False)
