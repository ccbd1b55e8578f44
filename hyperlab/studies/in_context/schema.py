"""What the settings of the in-context study mean and may be, and what they ask of each other."""

from typing import Any

from hyperlab.in_context.embedded import BODIES, SHAPES
from hyperlab.in_context.settings import check_data, check_files, data, measuring, training
from hyperlab.studies.in_context.arms import ARMS
from hyperlab.train import settings
from hyperlab.train.fields import Choice, Several, Whole
from hyperlab.train.schema import Schema, under

__all__ = ["SCHEMA", "check", "check_files"]  # what `launch` asks of a study

SCHEMA: Schema = {
    "the question": {
        **settings.run("in_context"),
        **settings.compared(ARMS, "Dice at the largest support size, mean over held-out tasks"),
        "support_sizes": Several("that held-out tasks are measured with", Whole("", low=1)),
        "train_support": Whole("examples of a support set in training", low=1),
        "ensembles": Several("numbers of support sets whose predictions are averaged", Whole("", low=1)),
    },
    "data": {
        **data(),
        "data.generated": Several(
            "sets to train on with a store", Choice("", (BODIES, SHAPES), "generated set"), least=0
        ),
    },
    "networks": under(
        "network",
        {
            "widths": settings.widths("of UniverSeg's levels"),
            "rival_widths": settings.widths("of the other few-shot networks' levels"),
            "unet_widths": settings.widths("of the U-Net's levels"),
        },
    ),
    "training": training(),
    "measuring": measuring(),
    "the machine": {"workers": settings.WORKERS},
}


def check(config: Any) -> None:
    """What keys ask of each other, known before anything is read.

    Raises:
      ConfigError: contrasts of arms that are not run; a choice that sees what is reported; images that are not square.
    """
    settings.check_contrasts("contrasts", config.contrasts, config.arms)
    check_data(config.data, "data")
