"""What a study of transfer runs over: widths and depths of the primary, and the cells of arms on them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import ml_collections

from hyperlab.studies.stability.arms import Setting


class TransferCell(NamedTuple):
    """An arm with an optimizer, on a multilayer perceptron of a width and a depth: one unit, with all rates and seeds.

    >>> TransferCell(64, 2, "sgd", "mip").key
    'transfer/64x2/sgd/mip'
    """

    width: int
    depth: int
    optimizer: str
    arm: str

    @property
    def place(self) -> tuple[int, int]:
        """What it shares with the other arms: a width and a depth."""
        return self.width, self.depth

    @property
    def key(self) -> str:
        """Where it stands in `choices.json`."""
        return f"transfer/{self.width}x{self.depth}/{self.optimizer}/{self.arm}"

    def unit_name(self, phase: str, setting: Setting, seed: Sequence[int]) -> str:
        """The unit of all rates under all seeds."""
        return self.key


def places_of(config: Any) -> list[tuple[int, int]]:
    """Every width at the first depth, and every depth at the first width.

    >>> places_of({"transfer": {"widths": (64, 1024), "depths": (2, 8)}})
    [(64, 2), (1024, 2), (64, 8)]
    """
    widths, depths = config["transfer"]["widths"], config["transfer"]["depths"]
    return [(width, depths[0]) for width in widths] + [(widths[0], depth) for depth in depths[1:]]


def cells_of(config: Any) -> list[TransferCell]:
    """All cells of a study of transfer, in order."""
    return [
        TransferCell(*place, optimizer, arm)
        for place in places_of(config)
        for optimizer in config["optimizers"]
        for arm in config["arms"]
    ]


def placed(config: Any, width: int, depth: int) -> Any:
    """A copy of a study's config with the primary of a place."""
    copy = ml_collections.ConfigDict(config).copy_and_resolve_references()
    copy.update({"primary": {"kind": "mlp", "widths": (width,) * depth}})
    return copy
