"""What `segment` says of the networks that it trains: what is about to be done, and what came out of it."""

from collections.abc import Sequence

import numpy as np

from hyperlab.errors import DataError
from hyperlab.in_context import FOLDS, LEAST, HeldOut
from hyperlab.in_context.cross_validation import fold_of
from hyperlab.in_context.examples import Support
from hyperlab.in_context.working import Working


def folds_of(support: Support, seed: int) -> np.ndarray:
    """The fold in which each example is kept aside: int `[examples]`, subjects whole where there are several.

    Raises:
      DataError: there are too few examples.
    """
    count = len(support.images)
    if count < LEAST:
        raise DataError(
            f"{count} example is too few to train on: a network is measured on an example that it has not seen; give "
            f"{LEAST} or more, or with --params a network that is shown the example"
        )
    return fold_of(support.subjects if len(set(support.subjects)) > 1 else range(count), FOLDS, seed)


def plan(support: Support, aside: np.ndarray, working: Working, steps: int) -> str:
    """What is trained on what, in words."""
    subjects, folds = len(set(support.subjects)), 1 + max(aside)
    shown = f"{len(aside)} examples"
    if 1 < subjects < len(aside):
        shown += f" of {subjects} subjects (by their names, each kept aside whole)"
    lines = [
        f"{shown}; {folds} networks, each without a part of them, at {working}",
        f"at most {steps} steps of each, until the Dice on what they do not see no longer rises",
    ]
    if subjects == 1:
        lines.append("all examples show one subject, by their names: of other subjects expect less than is measured")
    return "\n".join(lines)


def worth(found: HeldOut, classes: Sequence[int], steps: int) -> str:
    """The Dice of each class on examples that were kept aside, beside that of copies of the nearest mask."""
    networks = len(found.fitted.params)
    if found.settled:
        end = f"settled after {found.steps} of at most {steps} steps"
    else:
        end = f"had not settled at the limit of {steps} steps (more: --steps)"
    lines = [
        f"the Dice on what was kept aside {end}",
        f"Dice of each of the {len(found.dice)} examples, whole, by a network that had not seen it, and by a copy of "
        "the nearest mask:",
    ]
    for value, dice, copied in zip(classes, found.dice.T, found.copied.T, strict=True):
        dice, copied = dice[~np.isnan(dice)], copied[~np.isnan(copied)]
        shown = f"{dice.mean():.2f} ({dice.min():.2f} to {dice.max():.2f})" if dice.size else "in none of them"
        lines.append(f"  class {value}: {shown}" + (f"; copy {copied.mean():.2f}" if copied.size else ""))
    lines.append(f"the {networks} networks make the masks together: expect about the same of images like these")
    return "\n".join(lines)


def verdict(found: HeldOut, classes: Sequence[int]) -> str:
    """A sentence that names the classes that are not better than copied masks; empty where all are."""
    poor = [str(value) for value, better in zip(classes, found.better, strict=True) if not better]
    which = f"class {poor[0]} is" if len(poor) == 1 else f"classes {', '.join(poor)} are"
    return f"NOT BETTER THAN A COPY: {which} no better than the nearest example's mask" if poor else ""
