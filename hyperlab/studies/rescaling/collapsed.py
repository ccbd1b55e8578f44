"""Trainings that came to nothing, by arm, factor and seed: a mean over seeds hides one among them."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from hyperlab.studies.rescaling.results import Study
from hyperlab.train.phases import report_seeds

NOTHING = 0.01  # of Dice: all background scores 0, and so little above it has found nothing
SHARE, FAR = 0.5, 0.1  # of the best seed's Dice, and Dice below it


class Collapsed(NamedTuple):
    """One fresh seed of an arm at a compared factor, with its Dice and that of the arm's best seed there."""

    arm: str
    factor: float
    seed: int
    dice: float
    best: float


def collapsed(study: Study) -> list[Collapsed]:
    """The fresh seeds that stand far below their siblings at a compared factor, on the test split.

    Far below: less than half of the Dice of the arm's best seed at this factor, and 0.1 below it or more; or at most
    0.01, where all background scores 0, whatever the siblings do. The best seed and not the median, so that one which
    learned shows up two which did not.
    """
    found, seeds = [], list(report_seeds(study.config))
    for arm in study.runs:
        for factor in study.config.factors:
            scores = study.scores(arm, factor)
            best = float(np.max(scores, initial=0.0))
            for seed, dice in zip(seeds, map(float, scores), strict=False):
                if dice <= NOTHING or (dice < SHARE * best and dice <= best - FAR):
                    found.append(Collapsed(arm, factor, seed, dice, best))
    return found


def seeds_of(found: Iterable[Collapsed], arm: str) -> list[int]:
    """The collapsed seeds of an arm, each once."""
    return sorted({one.seed for one in found if one.arm == arm})


def sentence(study: Study, found: list[Collapsed]) -> str:
    """All of them in words, those of one arm and seed together; empty where there are none."""
    together: dict[tuple[str, int], list[Collapsed]] = {}
    for one in found:
        together.setdefault((one.arm, one.seed), []).append(one)
    shown = []
    for (arm, seed), ones in together.items():
        factors, dice, best = (
            ", ".join(f"{one[place]:{form}}" for one in ones) for place, form in ((1, "g"), (3, ".3f"), (4, ".3f"))
        )
        shown.append(f"{study.label(arm)}, seed {seed}, at phi {factors} (Dice {dice}; its best seed {best})")
    if not shown:
        return ""
    return (
        f"Collapsed, and counted in every mean: {'; '.join(shown)}. That is, less than half of the arm's best seed and "
        f"{FAR:g} below it, or at most {NOTHING:g}: all background scores 0."
    )
