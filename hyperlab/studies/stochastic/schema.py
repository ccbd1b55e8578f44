"""What the settings of the study of several answers mean and may be, and what they ask of each other."""

from typing import Any

from hyperlab.errors import ConfigError
from hyperlab.in_context.settings import check_data, check_files, data, measuring, training
from hyperlab.studies.stochastic.arms import ARMS, CONTROL, TYCHE
from hyperlab.train import settings
from hyperlab.train.fields import Flag, Number, Several, Whole
from hyperlab.train.schema import Schema, under

_SMALLEST = 32  # pixels along a side of ambiguous shapes

__all__ = ["SCHEMA", "check", "check_files"]  # what `launch` asks of a study

SCHEMA: Schema = {
    "the question": {
        **settings.run("stochastic"),
        **settings.compared(ARMS, "GED, best- and mean-candidate Dice with the most candidates"),
        "candidates": Several("how many, that held-out tasks are measured with", Whole("", low=1)),
        "support_size": Whole("that held-out tasks are measured with", low=1),
        "smoothness": Several("pixels, of the control's noise; chosen on development tasks", Number("", low=0)),
    },
    "data": data(),
    "networks": under(
        "network",
        {
            "widths": settings.widths("of the levels of Tyche and UniverSeg"),
            "unet_widths": settings.widths("of the U-Nets' levels", least=2),
            "dropout": Number("share of the channels, of the U-Net with dropout", low=0, below=1),
        },
    ),
    "training": {
        **training(),
        "task_augmentation": Flag("new tasks are made from those that there are"),
        "train_support": Whole("examples of a support set in training", low=1),
        "train_candidates": Whole("candidates of an image in training", low=1),
    },
    "measuring": measuring(),
    "the machine": {"workers": settings.WORKERS},
}


def check(config: Any) -> None:
    """What keys ask of each other, known before anything is read.

    Raises:
      ConfigError: contrasts of arms that are not run; the control without what it is compared with; one candidate; data
        as `in_context.settings.check_data` refuses them, or too small images.
    """
    settings.check_contrasts("contrasts", config.contrasts, config.arms)
    if CONTROL in config.arms and TYCHE.learner not in config.arms:
        raise ConfigError(f"arms: {CONTROL!r} is made as diverse as 'tyche', which is not among the arms; add it")
    if max(config.candidates) < 2:
        raise ConfigError(
            f"candidates are {tuple(config.candidates)}; one candidate has no diversity: ask for 2 or more"
        )
    check_data(config.data, "data")
    if config.data.size[0] < _SMALLEST:
        raise ConfigError(f"data.size is {tuple(config.data.size)}, expected sides of at least {_SMALLEST} pixels")
