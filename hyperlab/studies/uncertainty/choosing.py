"""What is chosen on tuning seeds and the validation split: a learning rate at every dropout rate, and one of these."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hyperlab.studies.tuning import Choice
from hyperlab.studies.uncertainty.arms import SUBJECT, cells_of, find
from hyperlab.studies.uncertainty.cells import Cell
from hyperlab.train.units import Measurements

Chosen = dict[str, Any]


def chosen(config: Any, choices: Mapping[Cell, Choice], known: Mapping[Cell, Sequence[Measurements]]) -> Chosen:
    """The contents of `choices.json`, by arm: those that are tuned, then those that use the networks of one of these.

    Args:
      config: of the study.
      choices: the learning rate of every cell that is tuned.
      known: what each was measured to be worth with it, by tuning seed.
    """
    result = {}
    for arm in dict.fromkeys(cell.arm for cell in choices):
        cells, rates = cells_of(arm, config), {}
        for cell in cells:
            means = {name: float(np.mean([one[name] for one in known[cell]])) for name in ("nll", "dice")}
            rates[cell.rate_key] = choices[cell].record() | means
        best = min(cells, key=lambda cell: rates[cell.rate_key]["nll"])
        result[arm] = {**described(arm), "dropout_rate": best.dropout_rate, "rates": rates}
    _add_matched(config, result)
    return result | {arm: _as_learner(arm, result) for arm in config.arms if find(arm).learner}


def described(arm: str) -> dict[str, str]:
    """What is said of an arm."""
    source = find(arm)
    return {"label": source.label, "definition": source.definition, "source": source.citation}


def _add_matched(config: Any, chosen: Chosen) -> None:
    """Adds the dropout rate at which the validation Dice is nearest to that of the study's subject at its own."""
    if SUBJECT not in chosen:
        return
    own = at(chosen, best(chosen, SUBJECT))["dice"]
    for arm, one in chosen.items():
        cells = cells_of(arm, config)
        one["matched_rate"] = min(cells, key=lambda cell: abs(at(chosen, cell)["dice"] - own)).dropout_rate


def _as_learner(arm: str, chosen: Chosen) -> dict[str, Any]:
    like = chosen[find(arm).learner]
    return described(arm) | {key: like[key] for key in ("dropout_rate", "rates", "matched_rate") if key in like}


def best(chosen: Chosen, arm: str, share: float = 1.0) -> Cell:
    """An arm at the dropout rate that was chosen for it."""
    return Cell(arm, chosen[arm]["dropout_rate"], share)


def at(chosen: Chosen, cell: Cell) -> dict[str, Any]:
    """What was chosen for an arm at a dropout rate: `learning_rate`, validation `nll` and `dice`."""
    return chosen[cell.arm]["rates"][cell.rate_key]
