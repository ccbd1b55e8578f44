"""Training of the networks of a study over tasks: across all of them, or on the examples of one."""

from collections.abc import Callable
from typing import Any

import jax

from hyperlab.data.in_context import Pool, Sampler, Sampling, StoredTask
from hyperlab.in_context.benchmark import Material
from hyperlab.in_context.programs import Trial
from hyperlab.studies.conducted import StudyUnits
from hyperlab.train import durations
from hyperlab.train.loop import fit
from hyperlab.train.phases import REPORT, TUNE
from hyperlab.train.state import TrainState
from hyperlab.train.units import kept


class Training(StudyUnits):
    """What the units of every study over tasks share: its tasks, its files, its progress, the training itself.

    Args:
      config: the study's config.
      material: its tasks.
      folder: the run's folder.
      progress: a `train.progress.Progress` over training steps.
      stop: an object with `.requested`.
    """

    def __init__(self, config: Any, material: Material, folder: Any, progress: Any, stop: Any):
        super().__init__(config, folder, progress, stop)
        self.material = material
        self.targets = {TUNE: material.development, REPORT: material.test}

    def length(self, phase: str, *, across_tasks: bool) -> int:
        """Training steps of one network; while tuning, networks across tasks may be trained for less."""
        config = self.config
        tried = (config.tuning_length or config.train_length) if phase == TUNE else config.train_length
        length = tried if across_tasks else config.task_length
        examples = sum(map(len, self.material.tasks)) if across_tasks else 1
        return durations.steps(length, batch_size=self.config.batch_size, examples=examples)

    def fit_across_tasks(
        self,
        trial: Trial,
        rate: float,
        draws: int,
        steps: int,
        evaluate: Callable | None = None,
        *,
        synthetic: bool = True,
    ) -> TrainState | None:
        """Trains a network on episodes of all tasks to train on; None after a stop.

        Args:
          trial: the network and its programs.
          rate: of learning.
          draws: seed of initial parameters, episodes and augmentation.
          steps: how many.
          evaluate: called `(state, step, stop)`, `config.curve_points` times after the start.
          synthetic: whether synthetic tasks are among them.
        """
        pool, tasks = self._pool(synthetic)
        sampler = Sampler(tasks, Sampling(self.config.batch_size, self.config.train_support), draws)
        return self.fit(trial, pool, sampler.indices, rate, draws, steps, evaluate)

    def fit(
        self,
        trial: Trial,
        pool: Any,
        batch: Callable[[int], Any],
        rate: float,
        draws: int,
        steps: int,
        evaluate: Callable | None = None,
    ) -> TrainState | None:
        """Trains a network on what `batch` picks from a pool, or `Examples`; None after a stop."""
        if self.stop.requested:
            return None
        key = self.key("initial", draws)
        state = fit(
            trial.start(key, rate),
            lambda state, drawn, root_key: trial.step(state, (pool, drawn), root_key),
            batch,
            total_steps=steps,
            root_key=jax.random.clone(key),
            evaluate=evaluate,
            evaluate_every=max(1, steps // self.config.curve_points) if evaluate else 0,
            stop=self.stop,
            place=lambda drawn: drawn,
            progress=self.counter(),
            on_nonfinite="ignore",  # failures are part of what is measured: a network of NaN finds nothing
        )
        return None if self.stop.requested else state

    @kept
    def _pool(self, synthetic: bool) -> tuple[Pool, list[StoredTask]]:
        """The tasks to train on, on the device, and what the sampler draws from."""
        tasks = self.material.training(synthetic=synthetic)
        return jax.device_put(Pool.of(tasks)), tasks
