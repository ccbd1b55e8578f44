"""UniverSeg on tasks that it never saw: does in-context segmentation survive pruning?

The tasks are those of the in-context study: trained across tasks, chosen on development tasks, reported on held-out
data sets. What is measured is the Dice of each query with one support set.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab.data.in_context import Pool, Sampler, Sampling, in_task_steps, task_steps
from hyperlab.in_context import benchmark as material
from hyperlab.in_context.networks import network
from hyperlab.in_context.programs import Trial, dice
from hyperlab.in_context.targets import check
from hyperlab.tasks.task import Task
from hyperlab.train.units import memoize_method

DOCUMENTED = "documented"


class InContext(Task):
    """UniverSeg on a store of tasks; see `Task` for its parts.

    Args:
      config: the study's: `tasks` (`store`, `size`, `development`, `held_out`, `queries`, `widths`, `support`),
        `batch_size`, `evaluation_batch`, `data.split_seed`.
      folder: of the run, where the embedded store is made.
    """

    score = "dice"
    exclude = ("head/**",)

    def __init__(self, config: Any, folder: Path):
        given, self.config = config.tasks, config
        data = SimpleNamespace(
            store=given.store, generated=(), size=tuple(given.size), split_seed=config.data.split_seed,
            queries=given.queries,
            development=tuple(given.development), held_out=tuple(given.held_out),
        )  # fmt: skip
        made = material.build(SimpleNamespace(data=data), folder)
        check([*made.development, *made.test], given.support)
        self.targets = {"validation": made.development, "test": made.test}
        self.name, self.fingerprint = made.name, made.fingerprint
        self.architecture = f"UniverSeg {'-'.join(map(str, given.widths))}"
        self.toy = not given.store
        self.tasks = made.training(synthetic=True)
        self.trial = Trial(
            network("universeg", given),
            tuple(given.size),
            in_task=in_task_steps(DOCUMENTED),
            task=task_steps(DOCUMENTED),
            evaluation_batch=config.evaluation_batch,
        )
        self.sizes = {"train": sum(map(len, self.tasks))}
        self.sizes |= {part: sum(len(t.queries) for t in targets) for part, targets in self.targets.items()}

    def init(self, key: jax.Array) -> Any:
        """Fresh variables."""
        return self.trial.module.init(key, *self.trial.inputs(jnp.zeros((1, *self.trial.size, 1))))

    @property
    @memoize_method
    def _pool(self) -> Pool:
        return jax.device_put(Pool.of(self.tasks))

    def train(self) -> Pool:
        """The tasks to train on."""
        return self._pool

    def indices(self, seed: int, step: int) -> Any:
        """Task, queries and support sets."""
        return self._sampler(seed).indices(step)

    @memoize_method
    def _sampler(self, seed: int) -> Sampler:
        return Sampler(self.tasks, Sampling(self.config.batch_size, self.config.tasks.support), seed)

    def loss(self, params, collections, examples, indices, keys: Mapping[str, jax.Array]):
        """Cross-entropy and soft Dice of augmented episodes."""
        return self.episode_loss(self.trial, params, examples, indices, keys)

    def episode_loss(self, trial: Trial, params, examples, indices, keys: Mapping[str, jax.Array]):
        """The loss with the network of a trial."""
        keys = {"augmentation": keys["augmentation"], "network": keys["dropout"]}
        return trial.episode_loss(params, {}, (examples, indices), keys)[0], None

    def still(self, params, collections, examples, indices) -> jax.Array:
        """Cross-entropy and soft Dice of episodes as they are."""
        episode = examples.gather(indices)
        logits = self.trial.module.apply(
            {"params": params}, episode.query_images, episode.support_images, episode.support_labels
        )
        return self.trial.single(logits, episode.query_labels).mean()

    def measure(self, variables: Any, part: str) -> dict[str, np.ndarray]:
        """`dice` of every query, one task after the other."""
        return {"dice": self.dice(self.trial, variables, part)}

    def dice(self, trial: Trial, variables: Any, part: str) -> np.ndarray:
        """Dice of every query with the network of a trial."""
        scores = []
        for target in self.targets[part]:
            support = target.support(self.config.tasks.support, 0)
            masks = trial.predict(variables["params"], target.queries, *support) > 0.5
            scores.append(dice(masks, target.truth > 0.5))  # every query shows its label, so that none is undefined
        return np.concatenate(scores)

    def example(self) -> tuple[Callable, tuple[Any, ...]]:
        """One query with its support set."""
        image = jax.ShapeDtypeStruct((1, *self.trial.size, 1), jnp.float32)
        support = jax.ShapeDtypeStruct((1, self.config.tasks.support, *self.trial.size, 1), jnp.float32)
        return lambda params, *inputs: self.trial.module.apply({"params": params}, *inputs), (image, support, support)


def load(config: Any, folder: Path) -> InContext:
    """The task of a config."""
    return InContext(config, folder)
