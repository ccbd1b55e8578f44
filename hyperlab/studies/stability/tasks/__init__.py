"""The tasks that the stability study asks its question of: what is learnt, what gamma is there, what counts as good."""

import importlib
from typing import Any

from hyperlab.errors import ConfigError, DataError, nearest
from hyperlab.studies.stability.tasks.task import Gammas, Task, Wording

TASKS = ("classification", "rescaling", "registration")  # modules of this package, each with `load(config) -> Task`


def load(config: Any) -> Task:
    """The task that a study's config names, with its data.

    Args:
      config: the study's; `task` is one of `TASKS`.

    Raises:
      ConfigError: an unknown task, or settings that it cannot use.
      DataError: data that it cannot use.
    """
    return _module(config).load(config)


def check(config: Any) -> None:
    """Refuses settings that the task cannot use, before its data are read.

    Raises:
      ConfigError: the settings, and what was expected.
    """
    _module(config).check(config)


def check_files(config: Any) -> None:
    """Refuses a data set that the task cannot use, and folders that it would not read.

    Raises:
      ConfigError: a set of another kind.
      DataError: an unknown set, a folder that is missing or that nothing reads.
    """
    module = _module(config)
    for group, data in (("data", config.data), *((f"{name}.data", config[name].data) for name in TASKS[1:])):
        if data.root and group != module.GROUP:
            raise DataError(f"{group}.root is {data.root!r}, but the task {config.task!r} reads {module.GROUP}.root")
    module.check_files(config)


def _module(config: Any) -> Any:
    if config.task not in TASKS:
        raise ConfigError(f"task is {config.task!r}; {nearest(config.task, TASKS)}")
    # Imported when it is asked for: importing the other tasks is no part of the time until the first step.
    return importlib.import_module(f"hyperlab.studies.stability.tasks.{config.task}")


__all__ = ["TASKS", "Gammas", "Task", "Wording", "check", "check_files", "load"]
