"""The network that a run of the uncertainty study kept, to be used: one pass, in which nothing is dropped."""

from pathlib import Path
from typing import Any

import numpy as np

from hyperlab import pareto, trees
from hyperlab.data.splits import fingerprint
from hyperlab.errors import ConfigError
from hyperlab.inference import saved
from hyperlab.inference.network import Card, Network, preprocessing_of
from hyperlab.report.finished import Finished
from hyperlab.studies.uncertainty import choosing
from hyperlab.studies.uncertainty.cells import TEST
from hyperlab.train.phases import REPORT


def load_network(run: Path, *, arm: str | None = None, seed: int | None = None) -> Network:
    """The network that the run kept, with its preprocessing.

    Args:
      run: the folder of a finished run.
      arm: the one that is kept; another one is refused.
      seed: the same.

    Raises:
      ConfigError: another arm or seed than the kept one.
      DataError: the run kept no network, or no preprocessing.
      WorkdirError: the run is not finished.
    """
    kept, how = saved.load(run), preprocessing_of(run)
    of_arm, _, of_seed = kept.name.rpartition("_")
    for name, given, own in (("arm", arm, of_arm), ("seed", seed, int(of_seed))):
        if given not in (None, own):
            raise ConfigError(f"{name} {given!r}: the run kept one network, of arm {of_arm!r} and seed {of_seed}")

    def apply(variables: Any, images: Any) -> Any:
        logits: Any = kept.module.apply(variables, images)
        return logits / kept.temperature

    digest = fingerprint(*map(np.asarray, trees.flatten(kept.variables).values()))
    dice = _test_dice(Finished(run), of_arm, int(of_seed))
    card = Card("uncertainty", of_arm, int(of_seed), kept.classes, dice, how.record(), digest=digest, over="images")
    return Network(apply, kept.variables, how, card)


def _test_dice(finished: Finished, arm: str, seed: int) -> dict[str, Any] | None:
    """Test Dice of one pass, with an interval over images."""
    cell = choosing.best(finished.choices, arm)
    rate = choosing.at(finished.choices, cell)["learning_rate"]
    measured = finished.unit(cell.unit_name(REPORT, rate, seed))
    return pareto.told_of_cases(measured[f"{TEST}/pass/dice"])
