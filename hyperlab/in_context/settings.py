"""The settings of studies on episodes: tasks of a store, training across tasks or for one, measuring."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from hyperlab import seeds
from hyperlab.errors import ConfigError, DataError
from hyperlab.in_context.benchmark import check_held_out
from hyperlab.train import settings
from hyperlab.train.fields import Duration, Field, Several, Text, Whole
from hyperlab.train.schema import under


def data() -> dict[str, Field]:
    """The group `data` of studies on a store of tasks."""
    return under(
        "data",
        {
            "store": Text("folder of a store of tasks; empty: tasks that are drawn"),
            "size": settings.size("of all images"),
            "split_seed": Whole("of the partition into splits", low=0, high=seeds.LARGEST),
            "queries": Whole("images of each task that are measured, at most", low=1),
            "development": Several("data sets, whole, that choices are made on", Text("")),
            "held_out": Several("data sets, whole, that are reported", Text("")),
        },
    )


def training() -> dict[str, Field]:
    """How networks are trained across tasks, or for one."""
    return {
        "optimizer": settings.OPTIMIZER,
        "rates": settings.rates(),
        **settings.trials(),
        "train_length": Duration("of a network across tasks"),
        "tuning_length": Duration("the same while rates are chosen; empty: as train_length", default="train_length"),
        "task_length": Duration("of a network for one task"),
        "batch_size": settings.batch("episodes, or images of one task, of a step"),
        "augmentation": settings.AUGMENTATION,
    }


def measuring() -> dict[str, Field]:
    """How often, and on how much, networks are measured."""
    return {
        "draws": Whole("support sets of every size", low=1),
        "curve_points": settings.CURVE_POINTS,
        "curve_queries": Whole("images of each task of learning curves", low=1),
        "evaluation_batch": settings.EVALUATION_BATCH,
        "keep_networks": settings.KEEP_NETWORKS,
    }


def check_data(given: Any, group: str) -> None:
    """Refuses data sets that are both for choices and for reports, and images that are not square.

    Args:
      given: with `development`, `held_out` and `size`.
      group: what the config calls them.

    Raises:
      ConfigError: the key, and what was given.
    """
    check_held_out(given, group)
    if given.size[0] != given.size[1]:
        raise ConfigError(f"{group}.size is {tuple(given.size)}, expected equal sides: a store holds square images")


def check_store(store: str, group: str) -> None:
    """Refuses a store that is not there.

    Args:
      store: its folder, empty for none.
      group: what the config calls its settings.

    Raises:
      DataError: the key and the folder.
    """
    if store and not Path(store).expanduser().is_dir():
        raise DataError(
            f"{group}.store is {store!r}, which is no folder; `hyperlab data build` makes a store of tasks from images"
        )


def check_files(config: ConfigDict) -> None:
    """What is asked of the store, known before it is opened; see `check_store`."""
    check_store(config.data.store, "data")
