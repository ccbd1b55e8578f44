"""Data of in-context segmentation: augmentation, synthetic tasks, a store of tasks, and episodes drawn from it."""

from hyperlab.data.in_context.augmentation import augment_episodes, in_task_augment, task_augment
from hyperlab.data.in_context.episodes import Indices, Sampler, Sampling, choose
from hyperlab.data.in_context.pool import Episode, Pool, StoreEpisodes
from hyperlab.data.in_context.steps import in_task_steps, task_steps
from hyperlab.data.in_context.store import StoredTask, TaskStore, write_task
from hyperlab.data.in_context.synthetic import Settings, SyntheticTask, synthetic_task
from hyperlab.data.in_context.tasks import SPLITS, TaskData, TaskName

__all__ = [
    "SPLITS",
    "Episode",
    "Indices",
    "Pool",
    "Sampler",
    "Sampling",
    "Settings",
    "StoreEpisodes",
    "StoredTask",
    "SyntheticTask",
    "TaskData",
    "TaskName",
    "TaskStore",
    "augment_episodes",
    "choose",
    "in_task_augment",
    "in_task_steps",
    "synthetic_task",
    "task_augment",
    "task_steps",
    "write_task",
]
