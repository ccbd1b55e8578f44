"""What a map runs over: laws of gamma, primaries, and the cells of arms on them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import ml_collections

from hyperlab.studies.stability.arms import Setting

# A bounded number, a latent of a Bayesian or generative network, a weight of which each order of magnitude counts.
LAWS: dict[str, dict[str, Any]] = {
    "uniform": {"dim": 1, "prior": "uniform", "low": 0.0, "high": 1.0},
    "gaussian_16": {"dim": 16, "prior": "normal", "low": 0.0, "high": 1.0},
    "log_uniform": {"dim": 1, "prior": "log_uniform", "low": 0.01, "high": 10.0},
}
WIDTHS = {"mlp": (32, 32), "conv": (8, 16)}  # of the primaries


class MapCell(NamedTuple):
    """An arm with an optimizer, on a primary under a law of gamma: one unit, with all rates and seeds.

    >>> MapCell("mlp", "uniform", "sgd", "mip").key
    'map/mlp/uniform/sgd/mip'
    """

    primary: str
    law: str
    optimizer: str
    arm: str

    @property
    def place(self) -> tuple[str, str]:
        """What it shares with the other arms: a primary and a law."""
        return self.primary, self.law

    @property
    def key(self) -> str:
        """Where it stands in `choices.json`."""
        return "/".join(("map", *self))

    def unit_name(self, phase: str, setting: Setting, seed: Sequence[int]) -> str:
        """The unit of all rates under all seeds."""
        return self.key


def cells_of(config: Any) -> list[MapCell]:
    """All cells of a map, in order."""
    return [
        MapCell(primary, law, optimizer, arm)
        for primary in config["map"]["primaries"]
        for law in config["map"]["laws"]
        for optimizer in config["optimizers"]
        for arm in config["arms"]
    ]


def placed(config: Any, primary: str, law: str) -> Any:
    """A copy of a study's config with the primary and the law of a cell."""
    copy = ml_collections.ConfigDict(config).copy_and_resolve_references()
    copy.update({"primary": {"kind": primary, "widths": WIDTHS[primary]}, "gamma": LAWS[law]})
    return copy
