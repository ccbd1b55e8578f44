"""What the settings of the rescaling study mean and may be, and what they ask of each other."""

from typing import Any

from hyperlab.data import patched
from hyperlab.data.augmentation import Augmentation
from hyperlab.data.datasets import STORE, check_source
from hyperlab.data.factors import KINDS, Prior
from hyperlab.data.labelled_pixels import optional_keys
from hyperlab.errors import ConfigError, DataError
from hyperlab.hypernet.network import ACTIVATIONS
from hyperlab.metrics import statistics
from hyperlab.models import unet
from hyperlab.nn import Pyramid
from hyperlab.studies.rescaling.arms import ARMS
from hyperlab.train import settings
from hyperlab.train.fields import Choice, Duration, Flag, Number, Several, Whole
from hyperlab.train.schema import Schema, under

_FACTOR = Number("", above=0, high=1)
_NORMALIZATIONS = tuple(name or "" for name in unet.NORMALIZATIONS)

SCHEMA: Schema = {
    "the question": {
        **settings.run("rescaling"),
        **settings.compared(ARMS, "test Dice, mean over the compared factors"),
        "margin": Number("of non-inferiority, in Dice", low=0, high=1),
        "factors": Several("compared: Fixed has a network for each", _FACTOR),
        "front": Several("networks of the prior are measured at all of them", _FACTOR, least=0),
        "outside": Several("beyond the prior: networks of the prior are tried there too", _FACTOR, least=0),
        "widths": Several("multiples of the channels, of the arms 'width' and 'slimmable'", Number("", above=0)),
        "tolerance": Number("Dice that the choice of one factor may give away", low=0, high=1),
        "surface_tolerance": Number("of the surface Dice, mm where spacing is known, else pixels", low=0),
    },
    "the factor": {
        **under(
            "prior",
            {
                "kind": Choice("of the factor, or of the pixels that it leaves", KINDS, "prior"),
                "low": Number("drawn factors are above it", low=0, high=1),
                "high": Number("drawn factors are at most it", low=0, high=1),
            },
        ),
        "rescale_input": Flag("whether the images are resized too, by phi / prior.high"),
        "axes": Several(
            "powers of phi, one for each axis of the images; 0 leaves it as it is; (): 1 for all",
            Number("", low=0),
            least=2,
            most=3,
            different=False,
            empty=True,
        ),
    },
    "data": settings.segmented("data"),
    "networks": {
        **under(
            "primary",
            {
                "widths": settings.widths("of the U-Net's levels"),
                "convs_per_block": settings.CONVS_PER_BLOCK,
                "normalization": Choice("of the U-Net", _NORMALIZATIONS, "normalization"),
                "activation": Choice("of the U-Net", tuple(unet.ACTIVATIONS), "activation"),
                "skip": Choice("how decoder and encoder are joined", unet.SKIPS, "skip"),
            },
        ),
        **settings.hypernet(ACTIVATIONS),
    },
    "training": {
        **settings.recipe(),
        "rates": settings.rates(),
        **settings.trials(),
        "train_length": Duration("of a network"),
        "batch_size": settings.batch("images of a step"),
        "programs": Whole("compiled for the prior, one for each bucket of factors", low=1),
    },
    "measuring": {
        "curve_points": settings.CURVE_POINTS,
        "curve_examples": Whole("validation images of learning curves; 0: all", low=0),
        "evaluation_batch": settings.EVALUATION_BATCH,
        "keep_networks": settings.KEEP_NETWORKS,
    },
    "the machine": {"workers": settings.WORKERS},
}


# Of the examples of a step: those of a prepared set are changed so, and of others where a config says it.
AUGMENTATION = {"flips": (), "rotation": 15.0, "scaling": 0.15, "translation": 0.0}
AUGMENTATION |= {"brightness": 0.1, "contrast": 0.2, "noise": 0.05}
OPTIONAL = {
    **optional_keys(),
    "primary.remat": False,  # whether its blocks are computed again for their gradients, to hold less
    "data.foreground": patched.FOREGROUND,  # share of the patches of a prepared set that are centred on foreground
    **{f"augmentation.{name}": default for name, default in AUGMENTATION.items()},
}


def augmentation_of(config: Any, axes: int, limits: tuple[float, float] | None = (0.0, 1.0)) -> Augmentation | None:
    """How examples are changed at random, see `data.augmentation.Augmentation`; None: they are not.

    Args:
      config: of the study; what its group `augmentation` lacks is `AUGMENTATION`'s.
      axes: of an example.
      limits: that its values keep to.

    Raises:
      ConfigError: a strength that cannot be, or flips of an axis that does not exist.
    """
    given = dict(config.get("augmentation", {}))
    if not given and config.data.name != STORE:
        return None
    strengths = {**AUGMENTATION, **given}
    flips = tuple(strengths.pop("flips"))
    if not set(flips) <= set(range(axes)):
        raise ConfigError(f"augmentation.flips is {flips}, expected axes from 0 to {axes - 1}")
    try:
        return Augmentation(flips=flips, limits=limits, **strengths)
    except DataError as error:
        raise ConfigError(f"{error} (a key of augmentation)") from None


def check(config: Any) -> None:
    """What keys ask of each other, known before anything is read.

    Raises:
      ConfigError: contrasts of arms that are not run, or not at all compared factors; a warm-up without a schedule; a
        prior that is none; factors outside it; no axis that is resized; images that a factor makes smaller than a
        convolution; batch statistics; widths above 1 of a slimmable network.
    """
    settings.check_contrasts("contrasts", config.contrasts, config.arms)
    settings.check_recipe(config.optimizer)
    _check_widths(config)
    if config.primary.normalization == "batch":
        raise ConfigError(
            "primary.normalization is 'batch': the networks of this study keep no running statistics, which differ "
            "from one factor or width to the next; use 'group' or ''"
        )
    prior = Prior(config.prior.kind, config.prior.low, config.prior.high)
    for factor in (*config.factors, *config.front):
        if not prior.low < factor <= prior.high:
            raise ConfigError(
                f"factor {factor} is outside the prior ({prior.low}, {prior.high}]; widen the prior, or list it in "
                "outside"
            )
    if config.axes and not any(config.axes):
        raise ConfigError(f"axes is {tuple(config.axes)}: no axis is resized; at least one power is above 0")
    augmentation_of(config, len(config.data.size) or 3)
    if not 0 <= config.data.get("foreground", 0) <= 1:
        raise ConfigError(f"data.foreground is {config.data.foreground}, expected a share from 0 to 1")
    if config.data.size:
        check_levels(config, tuple(config.data.size))


def _check_widths(config: Any) -> None:
    """What the arms ask whose operating points are widths."""
    for contrast in config.contrasts:
        for arm in statistics.names_of(contrast):
            if ARMS[arm].by_width:
                raise ConfigError(
                    f"contrasts: {contrast!r}: {arm!r} runs at one factor; contrasts are over all of them"
                )
    slimmable = [arm for arm in config.arms if ARMS[arm].trains == "slimmable"]
    if slimmable and max(config.widths) > 1:
        raise ConfigError(f"widths are {tuple(config.widths)}: those of {slimmable[0]!r} are at most 1")


def pyramid_of(config: Any, shape: tuple[int, ...]) -> Pyramid:
    """Which sizes the U-Net has at a factor; at the prior's largest, images are as they are.

    Raises:
      ConfigError: powers of another number of axes.
    """
    axes = tuple(config.get("axes", ()))  # runs of before have neither key
    if axes and len(axes) != len(shape):
        raise ConfigError(f"axes is {axes}: one power for each axis of images of {shape}")
    full_at = config.prior.high if config.get("rescale_input", False) else None
    return Pyramid(shape, len(config.primary.widths), axes, full_at)


def check_levels(config: Any, shape: tuple[int, ...]) -> None:
    """Refuses images that are too small for the first level's convolutions, at any factor that is measured or drawn.

    Raises:
      ConfigError: the size, and the smallest factor that would do.
    """
    pyramid = pyramid_of(config, shape)
    pyramid.check((*config.factors, *config.front, *config.outside))
    try:
        pyramid.check([max(config.prior.low, 1e-6)])
    except ConfigError as error:
        raise ConfigError(f"prior.low is {config.prior.low:g}: {error}") from None


def check_files(config: Any) -> None:
    """What is asked of the data set and its folder, known before any is read."""
    check_source(config.data, "data", classified=False, prepared=True)
