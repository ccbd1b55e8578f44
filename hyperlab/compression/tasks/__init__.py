"""The tasks of the pruning study by name: classifiers, in memory or on files, a hypernetwork, an in-context network."""

from pathlib import Path
from typing import Any

from hyperlab.compression.tasks import classification, hypernetwork, image_folder, in_context
from hyperlab.compression.tasks.task import Task
from hyperlab.errors import ConfigError, nearest

__all__ = ["TASKS", "Task", "load"]

TASKS = {
    "classification": lambda config, folder: classification.load(config),
    "hypernetwork": lambda config, folder: hypernetwork.load(config),
    "in_context": in_context.load,
    "image_folder": lambda config, folder: image_folder.load(config),
}


def load(config: Any, folder: Path) -> Task:
    """The task that `config.task` names, with its data.

    Raises:
      ConfigError: an unknown task, or settings that it cannot use.
      DataError: data that it cannot use.
    """
    if config.task not in TASKS:
        raise ConfigError(f"task is {config.task!r}; {nearest(config.task, TASKS)}")
    return TASKS[config.task](config, folder)
