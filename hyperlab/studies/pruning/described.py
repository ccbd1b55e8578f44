"""What the report has to know of the task of a pruning study, and what the task's network cannot be asked."""

from typing import Any

from hyperlab import trees
from hyperlab.errors import ConfigError
from hyperlab.studies.pruning.arms import find, methods_of
from hyperlab.studies.pruning.counts import Counts
from hyperlab.tasks import Task


def check_task(config: Any, task: Task) -> None:
    """Refuses what the task's network cannot be asked.

    Raises:
      ConfigError: a method that prunes each operating point by itself where there are none; a compression that cannot
        be reached.
    """
    for name in methods_of(config):
        if find(name).per_point and not task.operating_points():
            raise ConfigError(f"method {name!r} prunes each point of a front by itself, and {config.task} has no front")
    ceiling = Counts(task).ceiling
    beyond = [compression for compression in config.compressions if compression >= ceiling]
    if beyond:
        raise ConfigError(
            f"compressions {beyond} cannot be reached: {task.architecture} has parameters that may not be pruned "
            f"(prunable {tuple(task.prunable)}, exclude {tuple(task.exclude)}), so that the ceiling is "
            f"{ceiling:.4g} (exclusive)"
        )


def of(study: Any) -> dict[str, Any]:
    """The contents of `task.json`."""
    task, counts, config = study.task, study.counts, study.config
    kernels, total = counts.macs()
    return {
        **task.described(),
        "shapes": {path: list(leaf.shape) for path, leaf in trees.flatten(counts.pruned).items()},
        "prunable": counts.prunable,
        "ceiling": counts.ceiling,
        "macs": total,
        "front": {point: count for point, (_, count) in counts.macs_at_points().items()},
        "kernel_macs": kernels,
        "parent_steps": study.parent_steps,
        "tuning_steps": study.tuning_steps,
        # Parent included: the same in both tracks.
        "examples_seen": (study.parent_steps + study.tuning_steps) * config.batch_size,
    }
