"""What the settings of the pruning study mean and may be, and what they ask of each other.

The groups that say what is learnt, by which network on which data, are those of the local SGD study too.
"""

from typing import Any

from hyperlab.data.datasets import check_source
from hyperlab.data.factors import KINDS
from hyperlab.data.published import curves, packaged
from hyperlab.errors import ConfigError, DataError
from hyperlab.models import cifar_resnet, resnet
from hyperlab.models.backbones import NORMALIZATIONS
from hyperlab.studies.in_context.schema import check_data, check_store
from hyperlab.studies.pruning.arms import METHODS, control_name, find, with_controls
from hyperlab.studies.pruning.units import DENSE
from hyperlab.tasks import TASKS, in_context_scales, scale_space
from hyperlab.tasks.classification import NETWORKS
from hyperlab.tasks.generated import NETWORKS as GENERATED
from hyperlab.train import settings
from hyperlab.train.fields import Choice, Duration, Field, Flag, Number, Several, Text, Whole
from hyperlab.train.schema import Schema, under

_ARMS = (*METHODS, *(control_name(masks, like) for like in METHODS for masks in ("random", "magnitude")))
_COMPRESSION = Number("", above=1)
_FACTOR = Number("", above=0, high=1)


def network() -> dict[str, Field]:
    """The group `network`: a classifier."""
    return under(
        "network",
        {
            "kind": Choice("of a classifier", tuple(NETWORKS), "network"),
            "depth": Whole("of the networks that come in several", low=1),
            "width": Number("multiplier of the channels", above=0),
            "normalization": Choice("of the convolutional networks", NORMALIZATIONS, "normalization"),
        },
    )


def optimizer(schedules: tuple[str, ...]) -> dict[str, Field]:
    """The group `optimizer`.

    Args:
      schedules: that the rate may follow.
    """
    return under(
        "optimizer",
        {
            "name": settings.OPTIMIZER,
            "schedule": Choice("of the rate", schedules, "schedule"),
            "weight_decay": Number("added to the gradient; of adamw to the update", low=0),
            "momentum": Number("of sgd", low=0, below=1),
            "nesterov": Flag("the gradient is taken where momentum leads"),
        },
    )


def tasks() -> dict[str, dict[str, Field]]:
    """The groups of `compression.tasks.settings`, which some tasks read and the others ignore, by title."""
    store = {
        "store": Text("folder of a store of tasks; empty: tasks that are drawn"),
        "size": settings.size("of all images"),
        "queries": Whole("images of each task that are judged, at most", low=1),
        "development": Several("data sets, whole, of the validation score", Text("")),
        "held_out": Several("data sets, whole, of the test score", Text("")),
        "widths": settings.widths("of UniverSeg's levels"),
        "support": Whole("examples of a support set", low=1),
        "network": Choice("theta from phi, or one theta ('in_context_scales')", GENERATED, "network"),
        "factors": Several("phi, by which images are rescaled ('in_context_scales')", _FACTOR),
    }
    front = {
        "network": Choice("theta from phi, or one theta for all phi", GENERATED, "network"),
        "widths": settings.widths("of the U-Net's levels"),
        "convs_per_block": settings.CONVS_PER_BLOCK,
        "prior": Choice("of phi, or of the pixels that it leaves", KINDS, "prior"),
        "low": Number("drawn phi are above it", low=0, high=1),
        "high": Number("drawn phi are at most it", low=0, high=1),
        "factors": Several("fixed phi that networks are measured at", _FACTOR),
        "size": settings.size("of the images; (): their own", empty=True, dims=(2, 3)),
        "count": Whole("images of the procedural shapes", low=1),
        "difficulty": Number("of the procedural shapes, 0 easy to 1 hard", low=0, high=1),
    }
    return {
        "tasks whose parameters are generated": settings.hypernet(),
        "the tasks 'in_context' and 'in_context_scales'": under("tasks", store),
        "the task 'scale_space'": under("scale_space", front),
    }


SCHEMA: Schema = {
    "the question": {
        **settings.run("pruning"),
        "task": Choice("what is learnt", tuple(name for name in TASKS if name != "image_folder"), "task"),
        **settings.compared(_ARMS, "test score, mean over the compared compressions"),
        "controls": Flag("the controls of the arms are run too"),
        "compressions": Several("parameters over parameters that are kept; 1 is the parent", _COMPRESSION),
        "compared": Several("of the compressions, what contrasts are means over", _COMPRESSION),
        "speedup_contrasts": settings.contrasts("comparisons at equal theoretical speedup"),
        "published.dataset": Text("whose published curves are drawn behind; empty: none"),
        "published.architecture": Text("of those curves"),
    },
    "data": settings.source(),
    "networks": network(),
    "training": {
        **optimizer(("", "cosine")),
        "augment": settings.AUGMENT,
        "parent_rates": settings.rates("learning rates of what is trained from the start"),
        "rates": settings.rates("learning rates of what is tuned after pruning"),
        "tuning_compression": Number("the compression that rates are chosen at", above=1),
        **settings.trials(),
        "parent_length": Duration("of a parent's training"),
        "tuning_length": Duration("after pruning"),
        "batch_size": settings.batch("examples of a step"),
    },
    "methods": {
        "rounds": Whole("of the methods that prune in rounds", low=1),
        "rewind_to": Number("share of the parent's training whose values are rewound to", low=0, high=1),
        "masks_until": Number("share of the training until which masks may change", above=0, high=1),
    },
    **tasks(),
    "measuring": {"curve_points": settings.CURVE_POINTS, "evaluation_batch": settings.EVALUATION_BATCH},
    "the machine": {"workers": settings.WORKERS},
}


def methods_of(config: Any) -> tuple[str, ...]:
    """The methods of a config, with their controls and with what nothing is pruned of."""
    arms = tuple(config.arms)
    for arm in arms:
        find(arm)
    arms = with_controls(arms) if config.controls else arms
    tracks = dict.fromkeys(find(arm).parent for arm in arms)
    return (*(DENSE[track] for track in tracks), *arms)


def check(config: Any) -> None:
    """What keys ask of each other, known before anything is read.

    Raises:
      ConfigError: contrasts of methods that are not run; compressions that are compared and not run; a network or
        factors that cannot be.
      DataError: a network that nobody published curves of.
    """
    names = methods_of(config)
    settings.check_contrasts("contrasts", config.contrasts, names)
    settings.check_contrasts("speedup_contrasts", config.speedup_contrasts, names)
    for compression in (*config.compared, config.tuning_compression):
        if compression not in config.compressions:
            raise ConfigError(f"{compression:g} is compared or tuned at, but not in compressions {config.compressions}")
    if config.published.dataset:
        curves(packaged(), config.published.dataset, config.published.architecture)
    check_task(config)


def check_task(config: Any) -> None:
    """Refuses settings that the task of a config cannot use.

    Raises:
      ConfigError: the settings, and what was expected.
    """
    kind, depth = config.network.kind, config.network.depth
    if config.task in ("in_context", "in_context_scales"):
        check_data(config.tasks, "tasks")
        if config.task == "in_context_scales":
            in_context_scales.check_factors(config.tasks)
    elif config.task == "scale_space":
        scale_space.prior_of(config.scale_space)
    elif kind == "resnet":
        resnet.check_depth(depth)
    elif kind == "cifar_resnet":
        cifar_resnet.blocks_of(depth)


def check_files(config: Any) -> None:
    """What is asked of data sets, folders and stores, known before any is read.

    Raises:
      ConfigError: a set of another kind.
      DataError: an unknown set; a folder or a store that is missing, or that the task does not read.
    """
    in_context = config.task in ("in_context", "in_context_scales")
    if config.data.root and in_context:
        raise DataError(f"data.root is {config.data.root!r}, but the task {config.task!r} reads tasks.store")
    if config.tasks.store and not in_context:
        raise DataError(f"tasks.store is {config.tasks.store!r}, but the task {config.task!r} reads data.root")
    if in_context:
        check_store(config.tasks.store, "tasks")
    else:
        check_source(config.data, "data", classified=config.task != "scale_space")
