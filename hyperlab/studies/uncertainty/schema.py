"""What the settings of the uncertainty study mean and may be, and what they ask of each other."""

from typing import Any

from hyperlab.data.datasets import check_source
from hyperlab.data.shifts import SEVERITIES, SHIFTS
from hyperlab.errors import ConfigError
from hyperlab.hypernet.encodings import ENCODINGS
from hyperlab.studies.uncertainty.arms import ARMS, compared, find
from hyperlab.studies.uncertainty.data import check_borders
from hyperlab.studies.uncertainty.scoring import MAPS
from hyperlab.train import settings
from hyperlab.train.fields import Choice, Duration, Number, Several, Table, Text, Whole
from hyperlab.train.schema import Schema, under
from hyperlab.uncertainty.image_scores import SCORES

METRICS = ("dice", "error_detection", "independence", "likelihood")
_SPLITS = ("train", "validation", "test")

SCHEMA: Schema = {
    "the question": {
        **settings.run("uncertainty"),
        **settings.compared(ARMS, "higher is better in each metric", METRICS),
        "dropout_rates": Several("the curve of every arm that drops", Number("", above=0, below=1)),
        "train_shares": Several("of the training images; smaller ones at the chosen rate", Number("", above=0, high=1)),
        "draws": Several("numbers of draws that are scored; the last stands for an arm", Whole("", low=2), rising=True),
    },
    "data": {
        **settings.source(Table("the most examples of some splits", Whole("", low=1), _SPLITS)),
        **under(
            "data",
            {
                "size": settings.size("of all images"),
                "kind": Text("of the images, where a set mixes several; empty: all"),
                "other_kinds": Several("of images that are shown and never scored", Text(""), least=0),
                "count": Whole("procedural images", low=1),
                "difficulty": Number("of procedural images, 0 easy to 1 hard", low=0, high=1),
                "shifts": Several("test images are moved away by", Choice("", tuple(SHIFTS), "shift"), least=0),
                "severities": Several("of each shift", Whole("", low=1, high=SEVERITIES), least=0),
                "borders": Several("widths of procedural bodies' borders, in pixels", Number("", low=0), least=0),
            },
        ),
    },
    "networks": {
        **under(
            "network",
            {
                "widths": settings.widths("of the U-Net's levels"),
                "normalization": Choice("of U-Net and Tyche", ("group", "batch"), "normalization"),
                "convs_per_block": settings.CONVS_PER_BLOCK,
            },
        ),
        "members": Whole("of the deep ensemble", low=2),
        **settings.hypernet(group="bayesian"),
        "bayesian.latent": Whole("size of z, of the Bayesian hypernetwork", low=1),
        "bayesian.encoding": Text(f"of z: {', '.join(ENCODINGS.names())}"),
        **under(
            "tyche",
            {
                "widths": settings.widths("of Tyche's levels"),
                "support": Whole("labelled training images beside each image", low=1),
                "candidates": Whole("of a pass", low=1),
            },
        ),
        "noise.smoothness": Number("pixels, of the control whose diversity is Tyche's", low=0),
    },
    "training": {
        **settings.recipe(),
        "optimizer.weight_decay": Number("added to the gradient; of adamw to the update", low=0),
        "augment": settings.AUGMENT,
        "rates": settings.rates(),
        **settings.trials(),
        "tuning_draws": Whole("while rates are chosen", low=2),
        "train_length": Duration("of a network"),
        "tuning_length": Duration("of a network while rates are chosen"),
        "batch_size": settings.batch("images of a step"),
    },
    "judging": {
        **under(
            "judging",
            {
                "band": Number("pixels on both sides of the predicted boundary", above=0),
                "map": Choice("that stands for several networks or draws", MAPS, "map"),
                "score": Choice("how a map becomes one number an image", tuple(SCORES), "score"),
                "target": Number("mean Dice that images accepted unseen shall have", low=0, high=1),
                "bins": Whole("of calibration", low=1),
                "removed": Number("share of the channels that is removed to see what is spared", low=0, below=1),
                "shown": Whole("images that are kept for figures", low=1),
            },
        ),
        "evaluation_batch": settings.EVALUATION_BATCH,
        "chunk": Whole("draws computed at once", low=1),
    },
    "the machine": {"workers": settings.WORKERS},
}


def check(config: Any) -> None:
    """What keys ask of each other, known before anything is read.

    Raises:
      ConfigError: arms that depend on arms that are not run; contrasts of such, or of what cannot be measured of them;
        training shares without the whole; an encoding or borders that cannot be.
    """
    for arm in config.arms:
        for needed in (find(arm).learner, find(arm).like):
            if needed and needed not in config.arms:
                raise ConfigError(f"{arm!r} depends on the networks of {needed!r}: add {needed!r} to arms")
    settings.check_contrasts("contrasts", config.contrasts, config.arms)
    settings.check_recipe(config.optimizer)
    for contrast in config.contrasts:
        metric, *arms = compared(contrast)
        for arm in arms:
            if metric == "independence" and not find(arm).feature_maps:
                raise ConfigError(f"contrast {contrast!r}: the feature maps of {arm!r} are not those of a U-Net")
    if 1 not in config.train_shares:
        raise ConfigError(f"train_shares are {tuple(config.train_shares)}, expected shares up to 1, and 1 among them")
    ENCODINGS.get(config.bayesian.encoding)
    check_borders(config.data)


def check_files(config: Any) -> None:
    """What is asked of the data set and its folder, known before any is read."""
    check_source(config.data, "data", classified=False)
