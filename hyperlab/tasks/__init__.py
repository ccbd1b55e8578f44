"""The tasks of the pruning and of the local SGD study by name."""

from pathlib import Path

from ml_collections import ConfigDict

from hyperlab.errors import ConfigError, nearest
from hyperlab.tasks import classification, hypernetwork, image_folder, in_context, in_context_scales, scale_space
from hyperlab.tasks.task import Task

__all__ = ["TASKS", "Task", "load"]

TASKS = {
    "classification": lambda config, folder: classification.load(config),
    "hypernetwork": lambda config, folder: hypernetwork.load(config),
    "in_context": in_context.load,
    "in_context_scales": in_context_scales.load,
    "image_folder": lambda config, folder: image_folder.load(config),
    "scale_space": lambda config, folder: scale_space.load(config),
}


def load(config: ConfigDict, folder: Path) -> Task:
    """The task that `config.task` names, with its data.

    Raises:
      ConfigError: an unknown task, or settings that it cannot use.
      DataError: data that it cannot use.
    """
    if config.task not in TASKS:
        raise ConfigError(f"task is {config.task!r}; {nearest(config.task, TASKS)}")
    return TASKS[config.task](config, folder)
