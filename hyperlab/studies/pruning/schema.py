"""What the settings of the pruning study mean and may be, and what they ask of each other."""

from typing import Any

from hyperlab.data.published import curves, packaged
from hyperlab.errors import ConfigError
from hyperlab.studies.pruning.arms import METHODS, control_name, methods_of
from hyperlab.tasks import TASKS
from hyperlab.tasks.schema import check_files, check_task, network, optimizer, tasks
from hyperlab.train import settings
from hyperlab.train.fields import Choice, Duration, Flag, Number, Several, Text, Whole
from hyperlab.train.schema import Schema

__all__ = ["SCHEMA", "check", "check_files"]  # what `launch` asks of a study

_ARMS = (*METHODS, *(control_name(masks, like) for like in METHODS for masks in ("random", "magnitude")))
_COMPRESSION = Number("", above=1)


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
        **optimizer(settings.recipe()),
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


def check(config: Any) -> None:
    """What keys ask of each other, known before anything is read.

    Raises:
      ConfigError: contrasts of methods that are not run; compressions that are compared and not run; a network or
        factors that cannot be.
      DataError: a network that nobody published curves of.
    """
    names = methods_of(config)
    settings.check_contrasts("contrasts", config.contrasts, names)
    settings.check_recipe(config.optimizer)
    settings.check_contrasts("speedup_contrasts", config.speedup_contrasts, names)
    for compression in (*config.compared, config.tuning_compression):
        if compression not in config.compressions:
            raise ConfigError(f"{compression:g} is compared or tuned at, but not in compressions {config.compressions}")
    if config.published.dataset:
        curves(packaged(), config.published.dataset, config.published.architecture)
    check_task(config)
