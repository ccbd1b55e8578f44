"""The settings of the tasks: what is learnt, by which network, on which data, with which optimizer."""

from typing import Any

from ml_collections import ConfigDict

from hyperlab.data.datasets import check_source
from hyperlab.data.factors import KINDS
from hyperlab.errors import DataError
from hyperlab.in_context.settings import check_data, check_store
from hyperlab.models import cifar_resnet, resnet
from hyperlab.models.backbones import NORMALIZATIONS
from hyperlab.tasks import in_context_scales, scale_space
from hyperlab.tasks.classification import NETWORKS
from hyperlab.tasks.generated import NETWORKS as GENERATED
from hyperlab.train import settings
from hyperlab.train.fields import Choice, Field, Flag, Number, Several, Text, Whole
from hyperlab.train.schema import under

_FACTOR = Number("", above=0, high=1)


def defaults() -> dict[str, dict[str, Any]]:
    """The groups of a study's config that some tasks read and the others ignore.

    >>> sorted(defaults())
    ['hypernet', 'scale_space', 'tasks']
    """
    tasks = {"store": "", "size": (32, 32), "development": ("further-synthetic",), "queries": 40}
    tasks |= {"held_out": ("held-out-synthetic",), "widths": (8, 8, 8), "support": 8}
    tasks |= {"network": "hypernetwork", "factors": (0.5, 0.75, 1.0)}  # of `in_context_scales`
    front = {"network": "hypernetwork", "widths": (8, 8, 8), "convs_per_block": 1}
    front |= {"prior": "uniform", "low": 0.0, "high": 0.5, "factors": (0.1, 0.2, 0.3, 0.4, 0.5)}
    front |= {"size": (32, 32), "count": 200, "difficulty": 0.05}
    return {
        "hypernet": {"hidden": (16, 32)},  # of all that generate parameters
        "tasks": tasks,  # of `in_context` and `in_context_scales`
        "scale_space": front,  # network "plain": one theta for all factors; count and difficulty: of the shapes
    }


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


def optimizer(recipe: dict[str, Field]) -> dict[str, Field]:
    """The group `optimizer`.

    Args:
      recipe: its name and schedule, for instance of `settings.recipe`.
    """
    further = {
        "weight_decay": Number("added to the gradient; of adamw to the update", low=0),
        "momentum": Number("of sgd", low=0, below=1),
        "nesterov": Flag("the gradient is taken where momentum leads"),
    }
    return {**recipe, **under("optimizer", further)}


def tasks() -> dict[str, dict[str, Field]]:
    """The groups of `defaults`, which some tasks read and the others ignore, by title."""
    store = {
        "store": Text("folder of a store of tasks; empty: tasks that are drawn"),
        "size": settings.size("of all images"),
        "queries": Whole("images of each task that are measured, at most", low=1),
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


def check_task(config: ConfigDict) -> None:
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


def check_files(config: ConfigDict) -> None:
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
        segmenting = config.task == "scale_space"
        prepared = segmenting and config.study == "pruning"
        check_source(config.data, "data", classified=not segmenting, prepared=prepared)
