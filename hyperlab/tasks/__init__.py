"""The tasks of the pruning and of the local SGD study by name, and the settings that each of them reads."""

from pathlib import Path
from typing import Any

from hyperlab.errors import ConfigError, nearest
from hyperlab.tasks import classification, hypernetwork, image_folder, in_context, in_context_scales, scale_space
from hyperlab.tasks.task import Task

__all__ = ["TASKS", "Task", "load", "settings"]

TASKS = {
    "classification": lambda config, folder: classification.load(config),
    "hypernetwork": lambda config, folder: hypernetwork.load(config),
    "in_context": in_context.load,
    "in_context_scales": in_context_scales.load,
    "image_folder": lambda config, folder: image_folder.load(config),
    "scale_space": lambda config, folder: scale_space.load(config),
}


def settings() -> dict[str, dict[str, Any]]:
    """The groups of a study's config that some tasks read and the others ignore.

    >>> sorted(settings())
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


def load(config: Any, folder: Path) -> Task:
    """The task that `config.task` names, with its data.

    Raises:
      ConfigError: an unknown task, or settings that it cannot use.
      DataError: data that it cannot use.
    """
    if config.task not in TASKS:
        raise ConfigError(f"task is {config.task!r}; {nearest(config.task, TASKS)}")
    return TASKS[config.task](config, folder)
