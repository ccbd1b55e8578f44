"""Any network that a run of the rescaling study kept, at one factor, to be used or as files; no data are read."""

import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections
import numpy as np
import pandas as pd

from hyperlab import pareto
from hyperlab.data.splits import Split, Splits
from hyperlab.errors import CheckpointError, ConfigError, DataError, nearest
from hyperlab.inference.network import PREPROCESSING, Card, Network, preprocessing_of
from hyperlab.metrics.defined import mean_defined
from hyperlab.report.finished import Finished
from hyperlab.studies.rescaling import deploy, results
from hyperlab.studies.rescaling.arms import ARMS, CASES, Cell, cells_of, widths_of
from hyperlab.studies.rescaling.study import Rescaling
from hyperlab.train.phases import REPORT, report_seeds

SELECTION = "selection.json"


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
    found = _found(run, arm, factor, seed, width)
    return deploy.export(out, found.frozen, found.shape, found.card, formats)


def load_network(
    run: Path,
    *,
    arm: str | None = None,
    phi: float | None = None,
    budget: float | None = None,
    seed: int | None = None,
    width: float = 1.0,
) -> Network:
    """Any network that the run kept, with its preprocessing.

    Args:
      run: the folder of a finished run.
      arm: by default the one that the run chose, where it did, else its only one.
      phi: by default the chosen one, of the chosen arm; else the only one that the arm has.
      budget: in place of `phi`, the multiply-accumulates that an image may take (at most 1: as a share of the largest
        compared factor's); the best factor on validation within it is taken.
      seed: by default the chosen one, else the first that was kept.
      width: as for `export`.

    Raises:
      ConfigError: phi and budget at once; a choice that is open, with what there is; as `export`.
      DataError: as `export`; the run kept no preprocessing.
    """
    how = preprocessing_of(run)
    arm, phi, chosen_seed = _chosen(run, arm, phi, budget, width)
    found = _found(run, arm, phi, chosen_seed if seed is None else seed, width)
    card = Card(
        "rescaling",
        arm,
        found.card["seed"],
        tuple(found.card["class_names"]),
        found.card["test_dice"],
        how.record(),
        rescaling_factor=phi,
        width=width,
        digest=found.frozen.made_of,
    )
    return Network(found.frozen.apply, found.frozen.variables, how, card)


class _Found(NamedTuple):
    frozen: deploy.Frozen
    card: dict[str, Any]
    shape: tuple[int, ...]


def _found(run: Path, arm: str, factor: float, seed: int | None, width: float) -> _Found:
    """A kept network at a factor, with what is told of it."""
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
    how = preprocessing_of(run) if (run / PREPROCESSING).is_file() else None
    return _Found(frozen, deploy.card(cell, seed, factor, width, measured, classes, frozen, how), shape)


def _chosen(
    run: Path, arm: str | None, phi: float | None, budget: float | None, width: float
) -> tuple[str, float, int | None]:
    """Arm, factor and seed, where the run or a budget chooses what was not given."""
    finished = Finished(run)
    config = _config(finished)
    selection = finished.json(SELECTION) if (run / SELECTION).is_file() else {}
    if arm is None:
        arm = selection.get("arm") or (config.arms[0] if len(config.arms) == 1 else None)
        if arm is None:
            raise ConfigError(f"the run chose no arm; say which: {', '.join(config.arms)}")
    if arm not in config.arms:
        raise ConfigError(f"the run has no arm {arm!r}; {nearest(arm, config.arms)}")
    if phi is not None and budget is not None:
        raise ConfigError(f"phi {phi:g} and a budget of {budget:g}: give one of them")
    own = arm == selection.get("arm")
    if budget is not None:
        phi = _within(run, arm, budget, width)
    if phi is None and own:
        phi = float(selection["rescaling_factor"])
    if phi is None:
        factors = sorted({cell.factor for cell in cells_of(arm, config) if cell.factor is not None})
        if len(factors) != 1:
            there = ", ".join(f"{factor:g}" for factor in factors or sorted(config.factors))
            raise ConfigError(f"which network of {arm!r}: give phi ({there} were measured), or a budget")
        phi = factors[0]
    seed = selection.get("seed") if own and phi == selection["rescaling_factor"] else None
    return arm, phi, seed


def _within(run: Path, arm: str, budget: float, width: float) -> float:
    """The factor of an arm that is best on validation, within a budget."""
    study, rows = results.read(run), []
    for cell, runs in study.runs[arm].items():
        for one in runs:
            for split in ("validation", "test"):
                dice = mean_defined(one[f"{split}/dice"], -1)
                for (factor, of_width), values in zip(results.points_of(cell, one), dice, strict=True):
                    macs, seed = study.macs(factor, of_width), int(one["seed"])
                    rows += [(factor, split, seed, case, macs, value) for case, value in enumerate(values)
                             if of_width == width]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["rescaling_factor", "split", "seed", "case", "macs", "dice"])
    cost = "relative_macs" if budget <= 1 else "macs"
    return pareto.select(frame, budget=budget, cost=cost, bounds=results.MEANS).rescaling_factor


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
