"""Units of work of the in-context study: one arm at one learning rate under one seed, trained and judged."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

from hyperlab.data import batch_indices
from hyperlab.data.in_context import in_task_steps, task_steps
from hyperlab.in_context.baselines import FLOORS
from hyperlab.in_context.benchmark import Material
from hyperlab.in_context.networks import network
from hyperlab.in_context.programs import Examples, Trial, dice
from hyperlab.in_context.targets import Target
from hyperlab.studies.episodic import Training
from hyperlab.studies.in_context.arms import ARMS, Arm
from hyperlab.train.checkpoints import save_variables
from hyperlab.train.phases import FIRST_REPORT_SEED, REPORT
from hyperlab.train.units import Measurements, kept

SHOWN = 3  # queries of each task in the gallery


class Units(Training):
    """Trains and judges the networks of one study; the arguments are those of `Training`."""

    lists = ("arms", "rates", "tuning_seeds", "widenings", "report_seeds")

    def __init__(self, config: Any, material: Material, folder: Any, progress: Any, stop: Any):
        super().__init__(config, material, folder, progress, stop)
        self.sizes = tuple(sorted(config.support_sizes))

    # -- what there is to do -----------------------------------------------------------------------------------

    def steps(self, arm: Arm, phase: str) -> int:
        """Training steps of one network of an arm."""
        return self.length(phase, across_tasks=arm.trains == "pool")

    def networks(self, arm: Arm, phase: str) -> int:
        """How many networks an arm trains under one seed."""
        if arm.trains == "pool":
            return 1
        return len(self.targets[phase]) * (self.draws(phase) if arm.trains == "support" else 1)

    def draws(self, phase: str) -> int:
        """Support sets that every query is predicted from."""
        return self.config.draws if phase == REPORT else 1

    # -- measuring ---------------------------------------------------------------------------------------------

    def measure(self, arm_name: str, rate: float, seed: int, phase: str) -> Measurements | None:
        """Trains an arm's networks and judges them, or reads what is known; None after a stop.

        Returns:
          `dice/<task>/<support size>` `[draws, queries]`; of networks that take a support set also
          `ensemble/<task>` `[ensemble sizes, queries]` at the largest size; `shown/<task>` bool `[SHOWN, height,
          width, 1]`, `curve/step` and `curve/dice` (development tasks). An arm that knows no support size is judged at
          the largest alone.
        """
        name = f"{arm_name}/{phase}/{rate:.3g}/{seed}"
        steps = self.steps(ARMS[arm_name], phase) * self.networks(ARMS[arm_name], phase)
        kept = [self.kept_as(arm_name, seed)] if self._keeps(arm_name, seed, phase) else []
        compute = lambda: self._measure(arm_name, rate, seed, phase)  # noqa: E731
        return self.unit(name, steps, compute, further={"rate": rate}, beside=kept)

    def kept_as(self, arm_name: str, seed: int) -> str:
        """The file of a network that is kept, from the run folder."""
        return f"networks/{arm_name}_{seed}.npz"

    def _keeps(self, arm_name: str, seed: int, phase: str) -> bool:
        few = seed < FIRST_REPORT_SEED + self.config.keep_networks
        return phase == REPORT and few and ARMS[arm_name].trains == "pool"

    def floors(self) -> Measurements:
        """What needs no network, on the held-out tasks: `dice/<floor>/<task>/<support size>` `[draws, queries]`."""

        def compute() -> Measurements:
            result = {}
            for target in self.material.test:
                for size in self.sizes:
                    for name, floor in FLOORS.items():
                        masks = [
                            floor(target.queries, *target.support(size, draw)) for draw in range(self.draws(REPORT))
                        ]
                        scores = [dice(one, target.truth > 0.5) for one in masks]
                        result[f"dice/{name}/{target.name}/{size}"] = np.stack(scores)
            return result

        return self.files.measure("floors", compute)

    def _measure(self, arm_name: str, rate: float, seed: int, phase: str) -> Measurements | None:
        arm = ARMS[arm_name]
        rate = rate * (arm.rate_factor if phase == REPORT else 1.0)
        self.reads_test(phase)
        result = {"seed": np.array(seed), "learning_rate": np.array(rate)}
        if arm.trains == "pool":
            measured = self._across_tasks(arm_name, rate, seed, phase)
        else:
            measured = self._task_by_task(arm_name, rate, seed, phase)
        return None if measured is None else result | measured

    # -- one network for all tasks -----------------------------------------------------------------------------

    def _across_tasks(self, arm_name: str, rate: float, seed: int, phase: str) -> Measurements | None:
        arm = ARMS[arm_name]
        trial, curve = self.trial(arm), []

        def evaluate(state, step, stop):
            scores = [self._judged(trial, state.params, target, self.sizes[-1:], 1) for target in self._watched]
            curve.append((step, float(np.nanmean([np.nanmean(one) for one in scores]))))

        draws = seed + 10_000 * arm.stream
        state = self.fit_across_tasks(trial, rate, draws, self.steps(arm, phase), evaluate, synthetic=arm.synthetic)
        if state is None:
            return None
        result = {"curve/step": np.array([s for s, _ in curve]), "curve/dice": np.array([d for _, d in curve])}
        for target in self.targets[phase]:
            for size in self.sizes if phase == REPORT else self.sizes[-1:]:
                result[f"dice/{target.name}/{size}"] = self._judged(
                    trial, state.params, target, (size,), self.draws(phase)
                )
            if phase == REPORT:
                result |= self._ensembles(trial, state.params, target)
        if self._keeps(arm_name, seed, phase):
            save_variables(self.folder.path / self.kept_as(arm_name, seed), {"params": state.params})
        return result

    @functools.cached_property
    def _watched(self) -> list[Target]:
        """Development tasks with a few queries each, for the curve."""
        count = self.config.curve_queries
        return [t._replace(queries=t.queries[:count], truth=t.truth[:count]) for t in self.material.development]

    def _judged(self, trial: Trial, params: Any, target: Target, sizes: tuple[int, ...], draws: int) -> np.ndarray:
        (size,) = sizes
        masks = [trial.predict(params, target.queries, *target.support(size, draw)) > 0.5 for draw in range(draws)]
        return np.stack([dice(one, target.truth > 0.5) for one in masks])

    def _ensembles(self, trial: Trial, params: Any, target: Target) -> Measurements:
        """Means of probabilities over several support sets of the largest size."""
        most, size = max(self.config.ensembles), self.sizes[-1]
        passes = np.stack([trial.predict(params, target.queries, *target.support(size, draw)) for draw in range(most)])
        scores = [dice(passes[:count].mean(0) > 0.5, target.truth > 0.5) for count in self.config.ensembles]
        return {f"ensemble/{target.name}": np.stack(scores), f"shown/{target.name}": passes[0, :SHOWN] > 0.5}

    # -- a network for each task -------------------------------------------------------------------------------

    def _task_by_task(self, arm_name: str, rate: float, seed: int, phase: str) -> Measurements | None:
        arm, size, result = ARMS[arm_name], self.sizes[-1], {}
        trial = self.trial(arm)
        for target in self.targets[phase]:
            rows, masks = len(target.images), []
            examples = Examples(jnp.asarray(target.images), jnp.asarray(target.labels))
            for draw in range(self.draws(phase) if arm.trains == "support" else 1):
                chosen = target.order(draw)[:size] if arm.trains == "support" else np.arange(rows)

                def batch(step, chosen=chosen):
                    # Where there are fewer examples than a batch, some come twice, and are augmented differently.
                    picked = batch_indices(seed, step, len(chosen), self.config.batch_size)
                    return chosen[picked].astype(np.int32)

                state = self.fit(trial, examples, batch, rate, seed + 1000 * draw, self.steps(arm, phase))
                if state is None:
                    return None
                masks.append(trial.predict(state.params, target.queries) > 0.5)
            result[f"dice/{target.name}/{size}"] = np.stack([dice(one, target.truth > 0.5) for one in masks])
            result[f"shown/{target.name}"] = masks[0][:SHOWN]
        return result

    # -- parts -------------------------------------------------------------------------------------------------

    def trial(self, arm: Arm) -> Trial:
        """The trial of an arm's network; arms that differ in draws, rates or tasks alone share its programs."""
        return self._trial(arm.network, arm.task_augmentation and arm.trains == "pool", arm.in_task_augmentation)

    @kept
    def _trial(self, name: str, task: bool, in_task: bool) -> Trial:
        return Trial(
            network(name, self.config.network),
            tuple(self.config.data.size),
            in_context=name != "unet",
            in_task=in_task_steps(self.config.augmentation) if in_task else (),
            task=task_steps(self.config.augmentation) if task else (),
            optimizer=self.config.optimizer,
            evaluation_batch=self.config.evaluation_batch,
        )
