"""Tuning of the registration study, on tuning seeds and the validation split, and the choice of a weight.

A network is scored by the loss on the validation split over that of the identity, averaged over the weights: what
training minimises, on one scale. The weight of an arm is that of its best validation Dice, what a user would take.
"""

from typing import Any, cast

import numpy as np

from hyperlab.metrics.defined import mean_defined
from hyperlab.studies import tuning
from hyperlab.studies.registration.arms import ARMS, Arm, Cell, Setting, cells_of, chosen_setting, taken_over
from hyperlab.train.phases import TUNE


def tune(study: Any) -> dict[str, dict] | None:
    """Tunes every arm of a study, and the optimisation of pairs.

    Returns:
      For each arm and for `pairwise` what `choices.json` holds: label, definition, initialiser, learning rate (one for
      each weight where networks are separate), trials, every score, the validation Dice at each weight, and the
      `weight` where it is best. None after a stop.
    """
    if study.identity(TUNE) is None:
        return None
    chosen: dict[str, Any] = {}
    for name in study.config.arms:
        arm, cells = ARMS[name], cells_of(name, study.config)
        if other := taken_over(name, study.config.arms):
            chosen[name] = _as_tuned(study, cells[0], chosen[other])
        elif arm.hypernetwork:
            chosen[name] = _network(study, cells[0])
        else:
            # A network of its own for each weight, tuned as the one HyperMorph is.
            single = [_network(study, cell) for cell in cells]
            chosen[name] = None if None in single else _together(arm, cast("list[dict]", single))
        if chosen[name] is None:
            return None
        chosen[name] |= _weight_of(study.config.weights, chosen[name]["validation_dice"])
    pairwise = _pairwise(study)
    return None if pairwise is None else chosen | {"pairwise": pairwise}


def _network(study: Any, cell: Cell) -> dict | None:
    """The choice of an initialiser and a rate for one network."""
    config, arm = study.config, ARMS[cell.arm]
    initializers = arm.tried(config.initializers)
    dice: dict[tuple[int, float], list] = {}

    def measure(index: int, runs: list[tuple[float, int]]) -> np.ndarray | None:
        setting = lambda rate: Setting(initializers[index], rate)  # noqa: E731
        results = study.in_parallel(lambda run: study.train(cell, setting(run[0]), run[1], TUNE), runs)
        if None in results:
            return None
        for (rate, _), result in zip(runs, results, strict=True):
            dice.setdefault((index, rate), []).append(mean_defined(result["dice"], (1, 2)))
        return np.array([study.score(result) for result in results])

    choice = tuning.choose(len(initializers), config.rates, study.tuning_seeds, measure, widenings=config.widenings)
    if choice is None:
        return None
    return choice.record(initializers) | {
        "label": arm.label,
        "definition": arm.variant(initializers[choice.variant]).definition(),
        "validation_dice": np.mean(dice[choice.variant, choice.rate], 0).tolist(),
    }


def _as_tuned(study: Any, cell: Cell, choice: dict) -> dict | None:
    """Another arm's choice, without trials; the validation Dice, and with it the weight, is the arm's own."""
    arm, setting = ARMS[cell.arm], chosen_setting(cell, choice, study.config)
    results = [study.train(cell, setting, seed, TUNE) for seed in study.tuning_seeds]
    if None in results:
        return None
    dice = [mean_defined(result["dice"], (1, 2)) for result in results]
    definition = f"{arm.variant(setting.initializer).definition()}, tuned as {arm.tuned_as}"
    own = {"label": arm.label, "definition": definition, "trials": 0}
    return choice | own | {"validation_dice": np.mean(dice, 0).tolist()}


def _together(arm: Arm, single: list[dict]) -> dict:
    """The choices of separate networks as those of one arm."""
    return {
        "label": arm.label,
        "definition": arm.definition(),
        "variant": 0,
        "initializer": "own",
        "learning_rate": [one["learning_rate"] for one in single],
        "trials": sum(one["trials"] for one in single),
        "at_edge": any(one["at_edge"] for one in single),
        "validation_dice": [dice for one in single for dice in one["validation_dice"]],
        "tuning": [one["tuning"] for one in single],
    }


def _pairwise(study: Any) -> dict | None:
    """The choice of a rate for the optimisation of pairs, which has no seeds."""
    dice = {}

    def score(_: str, rate: float, seed: int) -> float | None:
        result = study.optimize(rate, TUNE)
        if result is None:
            return None
        dice[rate] = mean_defined(result["dice"], (1, 2))
        return study.score(result)

    grids, widenings = {"pairwise": study.config.pairwise.rates}, study.config.widenings
    choices = tuning.choose_rates(grids, [0], score, study.in_parallel, widenings=widenings)
    if choices is None:
        return None
    choice = choices["pairwise"]
    own = {
        "label": "every pair optimised",
        "definition": f"{study.config.pairwise.steps} steps of Adam on the velocity of each pair",
        "validation_dice": dice[choice.rate].tolist(),
    }
    return choice.record() | own | _weight_of(study.config.weights, dice[choice.rate])


def _weight_of(weights, dice) -> dict[str, float]:
    """The weight of the best validation Dice: among those of the separate networks, for every arm."""
    return {"weight": float(weights[int(np.argmax(dice))])}
