"""The network of a finished run, ready to be used; each study says itself what it kept."""

import importlib
import importlib.util
import inspect
import os
from pathlib import Path
from typing import Any

from hyperlab.errors import ConfigError, DataError
from hyperlab.exports import study_of
from hyperlab.inference.network import Network

HOOK = "load_network"  # of `hyperlab.studies.<study>.exporting`
STUDIES = ("rescaling", "uncertainty", "in_context")


def load_network(
    run: str | os.PathLike,
    *,
    arm: str | None = None,
    phi: float | None = None,
    budget: float | None = None,
    seed: int | None = None,
    width: float | None = None,
    support: str | os.PathLike | None = None,
) -> Network:
    """A network that a run kept: images to probabilities, a scan to labels, and what it was measured to be worth.

    Args:
      run: the folder of a finished run of `rescaling`, `uncertainty` or `in_context`.
      arm: of the run; by default the one that the run chose, or kept.
      phi: of a run of `rescaling`, the factor that the network runs at; by default the chosen one.
      budget: of a run of `rescaling`, in place of `phi`: the multiply-accumulates that an image may take, or where it
        is at most 1, that share of the largest factor's. The best factor on validation within it is taken.
      seed: of the training; by default the chosen one, else the first that was kept.
      width: of a run of `rescaling`, of the arms `width` and `slimmable`.
      support: of a run of `in_context`, a folder of images with masks, which the network is shown.

    Returns:
      `network(images) -> probabilities`, `network.predict(scan) -> labels`, `network.card`.

    Raises:
      DataError: no run folder; its study keeps no network that segments; it kept none, or no preprocessing.
      ConfigError: an arm, factor or seed that was not kept, or a choice that the study does not know.
      WorkdirError: the run is not finished.
    """
    run = Path(run).expanduser()
    study = study_of(run)
    if study not in STUDIES:
        raise DataError(
            f"{run} is a run of {study}, which keeps no network that segments: it measures its networks and throws "
            f"them away. Runs of {', '.join(STUDIES)} keep theirs"
        )
    hook = getattr(importlib.import_module(f"hyperlab.studies.{study}.exporting"), HOOK)
    given: dict[str, Any] = {"arm": arm, "phi": phi, "budget": budget, "seed": seed, "width": width, "support": support}
    given = {name: value for name, value in given.items() if value is not None}
    taken = inspect.signature(hook).parameters
    if unknown := [name for name in given if name not in taken]:
        raise ConfigError(
            f"{unknown[0]} chooses nothing in a run of {study}; it takes {', '.join(list(taken)[1:]) or 'no choice'}"
        )
    return hook(run, **given)
