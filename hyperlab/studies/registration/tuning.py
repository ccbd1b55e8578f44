"""Tuning of the registration study, on tuning seeds and the validation split, and the choice of a weight.

A network is scored by the loss on the validation split over that of the identity, averaged over the weights: what
training minimises, on one scale. The weight of an arm is that of its best validation Dice, what a user would take.
"""

from typing import Any

import numpy as np

from hyperlab.metrics.defined import mean_defined
from hyperlab.registration.measurements import relative_objective
from hyperlab.studies import tuning
from hyperlab.studies.registration.arms import ARMS, Arm
from hyperlab.studies.registration.units import Units
from hyperlab.train.phases import TUNE


def tune(units: Units) -> dict[str, dict] | None:
    """Tunes every arm of a study, and the optimisation of pairs.

    Args:
      units: of the study; its config names arms, rates, initialisers and tuning seeds.

    Returns:
      For each arm and for `pairwise` what `choices.json` holds: label, definition, initialiser, learning rate (one for
      each weight where networks are separate), trials, every score, the validation Dice at each weight, and the
      `weight` where it is best. None after a stop.
    """
    if units.identity(TUNE) is None:
        return None
    chosen: dict[str, Any] = {}
    for name in units.config.arms:
        arm = ARMS[name]
        if arm.tuned_as in chosen:
            chosen[name] = _taken_over(units, name, arm, chosen[arm.tuned_as])
        elif arm.hypernetwork:
            chosen[name] = _tune_network(units, name, arm, None)
        else:
            # A network of its own for each weight, tuned as the one HyperMorph is.
            single = [_tune_network(units, name, arm, weight) for weight in units.config.weights]
            chosen[name] = None if None in single else _together(arm, single)
        if chosen[name] is None:
            return None
        chosen[name] |= _weight_of(units.config.weights, chosen[name]["validation_dice"])
    pairwise = _tune_pairwise(units)
    return None if pairwise is None else chosen | {"pairwise": pairwise}


def _tune_network(units: Units, name: str, arm: Arm, weight: float | None) -> dict | None:
    config, variants, identity = units.config, arm.variants(units.config.initializers), units.identity(TUNE)
    dice: dict[tuple[int, float], list] = {}

    def measure(index: int, runs: list[tuple[float, int]]) -> np.ndarray | None:
        scores = []
        for rate, seed in runs:
            at = "" if weight is None else f"/{weight:g}"
            unit = f"{name}{at}/{TUNE}/{variants[index].initializer}/{rate:.3g}/{seed}"
            result = units.train(unit, variants[index], rate, seed, TUNE, weight)
            if result is None:
                return None
            dice.setdefault((index, rate), []).append(mean_defined(result["dice"], (1, 2)))
            # What training minimises, as a share of where it started: one scale for all weights.
            scores.append(-relative_objective(result, identity).mean())
        return np.array(scores)

    choice = tuning.choose(len(variants), config.rates, units.tuning_seeds, measure, widenings=config.widenings)
    if choice is None:
        return None
    return choice.record([one.initializer for one in variants]) | {
        "label": arm.label,
        "definition": variants[choice.variant].definition(),
        "validation_dice": np.mean(dice[choice.variant, choice.rate], 0).tolist(),
    }


def _taken_over(units: Units, name: str, arm: Arm, choice: dict) -> dict | None:
    """Another arm's choices, without trials; the validation Dice, and with it the weight, is the arm's own."""
    variant = arm.variants(units.config.initializers)[choice["variant"]]
    dice = []
    for seed in units.tuning_seeds:
        unit = f"{name}/{TUNE}/{variant.initializer}/{choice['learning_rate']:.3g}/{seed}"
        result = units.train(unit, variant, choice["learning_rate"], seed, TUNE)
        if result is None:
            return None
        dice.append(mean_defined(result["dice"], (1, 2)))
    own = {"label": arm.label, "definition": f"{variant.definition()}, tuned as {arm.tuned_as}", "trials": 0}
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


def _tune_pairwise(units: Units) -> dict | None:
    identity, dice = units.identity(TUNE), {}

    def measure(_: int, runs: list[tuple[float, int]]) -> np.ndarray | None:
        results = [units.optimize(f"pairwise/{TUNE}/{rate:.3g}", rate, TUNE) for rate, _ in runs]
        if None in results:
            return None
        dice.update({rate: mean_defined(r["dice"], (1, 2)) for (rate, _), r in zip(runs, results, strict=True)})
        return np.array([-relative_objective(result, identity).mean() for result in results])

    rates = units.config.pairwise.rates
    choice = tuning.choose(1, rates, [0], measure, widenings=units.config.widenings)
    if choice is None:
        return None
    own = {
        "label": "every pair optimised",
        "definition": f"{units.config.pairwise.steps} steps of Adam on the velocity of each pair",
        "validation_dice": dice[choice.rate].tolist(),
    }
    return choice.record() | own | _weight_of(units.config.weights, dice[choice.rate])


def _weight_of(weights, dice) -> dict[str, float]:
    """The weight of the best validation Dice: among those of the separate networks, for every arm."""
    return {"weight": float(weights[int(np.argmax(dice))])}
