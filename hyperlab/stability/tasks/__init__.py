"""The tasks that the stability study asks its question of: what is learnt, what gamma is there, what counts as good."""

import importlib
from typing import Any

from hyperlab.errors import ConfigError, nearest
from hyperlab.stability.tasks.task import Gammas, Task, Wording

TASKS = ("classification", "rescaling", "registration")  # modules of this package, each with `load(config) -> Task`


def load(config: Any) -> Task:
    """The task that a study's config names, with its data.

    Args:
      config: the study's; `task` is one of `TASKS`.

    Raises:
      ConfigError: an unknown task, or settings that it cannot use.
      DataError: data that it cannot use.
    """
    if config.task not in TASKS:
        raise ConfigError(f"task is {config.task!r}; {nearest(config.task, TASKS)}")
    # Imported when it is asked for: the rooms of the other tasks are no part of the time until the first step.
    return importlib.import_module(f"hyperlab.stability.tasks.{config.task}").load(config)


__all__ = ["TASKS", "Gammas", "Task", "Wording", "load"]
