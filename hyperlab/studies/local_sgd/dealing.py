"""Which examples each replica sees at every step: dealt out of one order, or of shares that differ."""

from typing import Any

import jax
import numpy as np

from hyperlab.data import batch_indices
from hyperlab.data.partitions import partition
from hyperlab.errors import ConfigError
from hyperlab.tasks import Task


def indices(config: Any, task: Task, replicas: int, steps: int, draws: int) -> Any:
    """Which examples every replica sees at every step, `[steps, replicas, batch]`.

    IID replicas are dealt consecutive batches of one order of all examples, drawn anew every epoch.

    Args:
      config: of the study.
      task: whose examples they are.
      replicas: how many.
      steps: how many.
      draws: the seed.
    """
    if config.data.partition.kind == "iid":
        rows = [task.indices(draws, step) for step in range(steps * replicas)]
        return jax.tree.map(lambda *leaves: rounds(np.stack(leaves), replicas), *rows)
    own, batch = shares(config, task, replicas), config.batch_size
    # another order for each replica, of its own examples
    orders = [batch_indices(draws + 1_000_003 * (1 + r), range(steps), own.shape[1], batch) for r in range(replicas)]
    return np.stack([own[r][order] for r, order in enumerate(orders)], axis=1)


def shares(config: Any, task: Task, replicas: int) -> np.ndarray:
    """Which examples each replica has, `[replicas, examples]`, where their distributions differ.

    Raises:
      ConfigError: the task has no classes.
    """
    given = config.data.partition
    splits = getattr(task, "splits", None)
    if splits is None:
        raise ConfigError(
            f"data.partition.kind is {given.kind!r}, but the task {config.task} holds no examples with classes"
        )
    labels = splits.train.labels
    return partition(given.kind, labels, replicas, config.data.split_seed, shards=given.shards, alpha=given.alpha)


def rounds(rows: np.ndarray, replicas: int) -> np.ndarray:
    """Consecutive rows, one for each replica: from `[steps x replicas, ...]` to `[steps, replicas, ...]`."""
    return rows.reshape(-1, replicas, *rows.shape[1:])
