"""What the uncertainty study trains and measures, by name: cells, their units, and what answers are scored on."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from hyperlab.train.phases import REPORT, TUNE

BASELINES = {"otsu": "Otsu's threshold", "logistic": "logistic regression of pixels"}  # what needs no network
BASELINES_UNIT = "floors"
IMAGES_UNIT = "images"  # that figures show
VALIDATION, TEST = "validation", "test"
_KIND = {TUNE: "score", REPORT: "judged"}  # of what is measured in a phase


class Cell(NamedTuple):
    """What is trained by itself: an arm at one dropout rate, on a share of the training images.

    >>> Cell("spatial", 0.2).unit_name("report", 0.003, 100)
    'judged/spatial/0.2/1/0.003/100'
    """

    arm: str
    dropout_rate: float = 0.0
    share: float = 1.0

    @property
    def key(self) -> str:
        """The choices of all dropout rates stand under their arm."""
        return self.arm

    @property
    def rate_key(self) -> str:
        """Under which the learning rate at this dropout rate stands, among the arm's choices."""
        return f"{self.dropout_rate:g}"

    @property
    def name(self) -> str:
        """For files and the record."""
        return f"{self.arm}/{self.dropout_rate:g}/{self.share:g}"

    def unit_name(self, phase: str, learning_rate: float, seed: int) -> str:
        """Of what the answers were measured to be worth."""
        return f"{_KIND[phase]}/{self.name}/{learning_rate:.3g}/{seed}"

    def network_name(self, phase: str, learning_rate: float, seed: int) -> str:
        """Of one trained network."""
        return f"network/{self.name}/{phase}/{learning_rate:.3g}/{seed}"

    def scale_name(self, seed: int) -> str:
        """Of the scale at which its noise is as diverse as another arm's draws."""
        return f"scale/{self.name}/{seed}"

    @property
    def cost_name(self) -> str:
        """Of what one network costs."""
        return f"cost/{self.name}"


class Setting(NamedTuple):
    """What a cell is trained and measured with.

    Attributes:
      learning_rate: as it was chosen, or is tried.
      shifted: whether it is measured on shifted images too, or on the validation and test split alone.
      like: the cell whose diversity it is given, and its learning rate.
    """

    learning_rate: float
    shifted: bool = True
    like: tuple[Cell, float] | None = None

    @property
    def listed_like(self) -> list[Any]:
        """What it is like, as JSON holds it."""
        return [] if self.like is None else [list(self.like[0]), self.like[1]]


def untrained_name(seed: int) -> str:
    """The unit of the feature maps of a U-Net before its first step."""
    return f"untrained/{seed}"


# -- what answers are scored on ------------------------------------------------------------------------------------


def shifts(data: Any) -> Iterator[tuple[str, str, int]]:
    """Name, shift and severity of the test images that a config's group `data` asks to shift."""
    return ((f"{shift}/{severity}", shift, severity) for shift in data.shifts for severity in data.severities)


def border_name(width: float) -> str:
    """Of the test images with borders of a width in pixels."""
    return f"border/{width:g}"


def others(data: Any) -> Iterator[tuple[str, str]]:
    """Name and kind of the images of other kinds, which are shown and never scored."""
    return ((f"other/{kind}", kind) for kind in data.other_kinds)


def evaluated(data: Any) -> list[str]:
    """The names of all that answers are scored on, in order; validation is first, since temperatures are from there."""
    names = [VALIDATION, TEST, *(name for name, *_ in shifts(data)), *map(border_name, data.borders)]
    return names + [name for name, _ in others(data)]
