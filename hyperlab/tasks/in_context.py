"""UniverSeg on tasks that it never saw: does in-context segmentation survive pruning?

The benchmark is that of the in-context study: trained across tasks, chosen on development tasks, reported on held-out
data sets. What is measured is the Dice of each query with one support set.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from ml_collections import ConfigDict

from hyperlab.data.in_context import Pool, in_task_steps, task_steps
from hyperlab.in_context.benchmark import Episodes, build
from hyperlab.in_context.networks import network
from hyperlab.in_context.programs import Programs
from hyperlab.nn.precision import computing_in
from hyperlab.tasks.task import Task
from hyperlab.train import engine

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

    def __init__(self, config: ConfigDict, folder: Path):
        given, self.config = config.tasks, config
        data = SimpleNamespace(
            store=given.store, generated=(), size=tuple(given.size), split_seed=config.data.split_seed,
            queries=given.queries,
            development=tuple(given.development), held_out=tuple(given.held_out),
        )  # fmt: skip
        benchmark = build(data, folder, support=given.support)
        self.targets = {"validation": benchmark.development, "test": benchmark.test}
        self.name, self.fingerprint = benchmark.name, benchmark.fingerprint
        self.architecture = f"UniverSeg {'-'.join(map(str, given.widths))}"
        self.toy = not given.store
        self.episodes = Episodes(benchmark.training(), config.batch_size, given.support)
        self.programs = Programs(
            computing_in(network("universeg", given), engine.of(config).precision),
            tuple(given.size),
            in_task=in_task_steps(DOCUMENTED),
            task=task_steps(DOCUMENTED),
            evaluation_batch=config.evaluation_batch,
        )
        self.sizes = {"train": len(self.episodes)}
        self.sizes |= {part: sum(len(t.queries) for t in targets) for part, targets in self.targets.items()}

    def init(self, key: jax.Array) -> PyTree:
        """Fresh variables."""
        return self.programs.module.init(key, *self.programs.inputs(jnp.zeros((1, *self.programs.size, 1))))

    def train(self) -> Pool:
        """The tasks to train on."""
        return self.episodes.pool

    def indices(self, seed: int, step: int) -> Any:
        """Task, queries and support sets."""
        return self.episodes.indices(seed, step)

    def select(self, examples: Pool, indices: Any) -> tuple[Pool, Any]:
        """See `Pool.select`."""
        return examples.select(indices)

    def loss(self, params, collections, examples, indices, keys: Mapping[str, jax.Array]):
        """Cross-entropy and soft Dice of augmented episodes."""
        return self.episode_loss(self.programs, params, examples, indices, keys)

    def episode_loss(self, programs: Programs, params, examples, indices, keys: Mapping[str, jax.Array]):
        """The loss with the network of some programs."""
        keys = {"augmentation": keys["augmentation"], "network": keys["dropout"]}
        return programs.episode_loss(params, {}, (examples, indices), keys)[0], None

    def deterministic_loss(self, params, collections, examples, indices) -> jax.Array:
        """Cross-entropy and soft Dice of episodes as they are."""
        episode = examples.gather(indices)
        logits = self.programs.module.apply(
            {"params": params}, episode.query_images, episode.support_images, episode.support_labels
        )
        return self.programs.single(logits, episode.query_labels).mean()

    def measure(self, variables: PyTree, part: str) -> dict[str, np.ndarray]:
        """`dice` of every query, one task after the other."""
        return {"dice": self.dice(self.programs, variables, part)}

    def dice(self, programs: Programs, variables: PyTree, part: str) -> np.ndarray:
        """Dice of every query with the network of some programs."""
        scores = []
        for target in self.targets[part]:
            support = target.support(self.config.tasks.support, 0)
            masks = programs.predict(variables["params"], target.queries, *support) > 0.5
            scores.append(target.dice(masks))  # every query shows its label, so that none is undefined
        return np.concatenate(scores)

    def example(self) -> tuple[Callable, tuple[Any, ...]]:
        """One query with its support set."""
        image = jax.ShapeDtypeStruct((1, *self.programs.size, 1), jnp.float32)
        support = jax.ShapeDtypeStruct((1, self.config.tasks.support, *self.programs.size, 1), jnp.float32)
        apply = lambda params, *inputs: self.programs.module.apply({"params": params}, *inputs)  # noqa: E731
        return apply, (image, support, support)


def load(config: ConfigDict, folder: Path) -> InContext:
    """The task of a config."""
    return InContext(config, folder)
