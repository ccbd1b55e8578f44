"""Units of work of the stochastic study: one network at one rate under one seed, and all arms that answer with it."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab.data import batch_indices
from hyperlab.data.in_context import in_task_steps, task_steps
from hyperlab.errors import ConfigError
from hyperlab.in_context.networks import network
from hyperlab.in_context.programs import Examples, Trial
from hyperlab.in_context.stochastic import matching_scale
from hyperlab.metrics.candidates import sample_diversity
from hyperlab.studies.episodic import Training
from hyperlab.studies.stochastic.annotated import SHOWN, AnnotatedTarget
from hyperlab.studies.stochastic.arms import ARMS, LEARNERS, Learner
from hyperlab.studies.stochastic.candidates import CandidateTrial, DropoutTrial, masks, noise_masks
from hyperlab.studies.stochastic.scoring import judged, optimum
from hyperlab.train import rngs
from hyperlab.train.checkpoints import save_variables
from hyperlab.train.phases import FIRST_REPORT_SEED, REPORT, TUNE
from hyperlab.train.units import Measurements, kept

DIVERSITY = "development/diversity"
_DROWNED = 1e3  # a scale at which nothing but the noise is left


class StochasticUnits(Training):
    """Trains and judges the networks of one study; the arguments are those of `Training`."""

    lists = ("arms", "rates", "tuning_seeds", "widenings", "report_seeds")

    def __init__(self, config: Any, material: Any, folder: Any, progress: Any, stop: Any):
        super().__init__(config, material, folder, progress, stop)
        self.counts = tuple(sorted(config.candidates))
        self.most = self.counts[-1]

    # -- what there is to do -----------------------------------------------------------------------------------

    def steps(self, learner: Learner, phase: str) -> int:
        """Training steps of one network."""
        return self.length(phase, across_tasks=learner.trains == "pool")

    def networks(self, name: str, phase: str) -> int:
        """How many networks are trained under one seed."""
        if LEARNERS[name].trains == "pool":
            return 1
        return len(self.targets[phase]) * (self.members(name) if phase == REPORT else 1)

    def members(self, name: str) -> int:
        """Networks for each task: as many as the arms that answer with it need."""
        return self.most if any(ARMS[arm].answers == "networks" for arm in self.arms(name)) else 1

    def arms(self, name: str) -> list[str]:
        """The study's arms that answer with a network."""
        return [arm for arm in self.config.arms if ARMS[arm].learner == name]

    # -- measuring ---------------------------------------------------------------------------------------------

    def measure(
        self, name: str, rate: float, seed: int, phase: str, diversity: float | None = None
    ) -> Measurements | None:
        """Trains a network and judges the arms that answer with it, or reads what is known; None after a stop.

        Args:
          name: of the network, in `LEARNERS`.
          rate: of learning.
          seed: of everything that is drawn.
          phase: `TUNE` or `REPORT`.
          diversity: wanted of the noise control, for its network in the second phase.

        Returns:
          In `TUNE`, `score/<task>` `[queries]`, larger is better: minus the unbiased GED of the most candidates, or the
          Dice of one answer. In `REPORT`, `<measure>/<arm>/<task>`, see `judging.judged`, means over support draws;
          `shown/<arm>/<task>` bool `[SHOWN, K, height, width]`; Tyche's `DIVERSITY`; of the noise control
          `noise/scale`, `noise/smoothness`, `noise/wanted` and `noise/reached`. Of networks across tasks, in both,
          `curve/step` and `curve/score` on the development tasks.
        """
        unit = f"{name}/{phase}/{rate:.3g}/{seed}"
        steps = self.steps(LEARNERS[name], phase) * self.networks(name, phase)
        further = {"rate": rate, "diversity": diversity, "arms": self.arms(name) if phase == REPORT else []}
        kept = [self.kept_as(name, seed)] if self._keeps(name, seed, phase) else []
        compute = lambda: self._measure(name, rate, seed, phase, diversity)  # noqa: E731
        return self.unit(unit, steps, compute, further=further, beside=kept)

    def kept_as(self, name: str, seed: int) -> str:
        """The file of a network that is kept, from the run folder."""
        return f"networks/{name}_{seed}.npz"

    def _keeps(self, name: str, seed: int, phase: str) -> bool:
        few = seed < FIRST_REPORT_SEED + self.config.keep_networks
        return phase == REPORT and few and LEARNERS[name].trains == "pool"

    def optimum(self) -> Measurements:
        """`<measure>/<task>` of draws from the truth, for the held-out tasks where it is known."""
        return self.files.measure(
            "optimum",
            lambda: {
                f"{measure}/{target.name}": values
                for target in self.material.test
                if target.known
                for measure, values in optimum(target, self.counts).items()
            },
        )

    def _measure(self, name: str, rate: float, seed: int, phase: str, diversity: float | None) -> Measurements | None:
        learner = LEARNERS[name]
        rate = rate * (learner.rate_factor if phase == REPORT else 1.0)
        self.reads_test(phase)
        start = {"seed": np.array(seed), "learning_rate": np.array(rate)}
        steps = self._across_tasks if learner.trains == "pool" else self._task_by_task
        measured = steps(name, rate, seed, phase, diversity)
        return None if measured is None else start | measured

    def _across_tasks(self, name, rate, seed, phase, diversity) -> Measurements | None:
        learner, trial, curve = LEARNERS[name], self.trial(LEARNERS[name]), []

        def evaluate(state, step, stop):
            scores = [self._score(name, trial, state.params, target, seed) for target in self._watched]
            curve.append((step, float(np.nanmean(np.concatenate(scores)))))

        state = self.fit_across_tasks(trial, rate, seed + 10_000 * learner.stream, self.steps(learner, phase), evaluate)
        if state is None:
            return None
        result = {"curve/step": np.array([s for s, _ in curve]), "curve/score": np.array([v for _, v in curve])}
        if phase == TUNE:
            scores = {f"score/{t.name}": self._score(name, trial, state.params, t, seed) for t in self._development}
            return result | scores
        if name == "tyche":
            drawn = [self._masks("tyche", trial, state.params, t, seed, 0)[self.most] for t in self._development]
            result[DIVERSITY] = np.array(_diversity(np.concatenate(drawn)))
        noise = None
        if any(ARMS[arm].answers == "noise" for arm in self.arms(name)):
            noise, found = self._fitted_noise(trial, state.params, seed, diversity)
            result |= found
        for target in self.material.test:
            result |= self._judged(name, trial, state.params, target, seed, noise)
        if self._keeps(name, seed, phase):
            save_variables(self.folder.path / self.kept_as(name, seed), {"params": state.params})
        return result

    def _task_by_task(self, name, rate, seed, phase, diversity) -> Measurements | None:
        learner, trial, result = LEARNERS[name], self.trial(LEARNERS[name]), {}
        for target in self.targets[phase]:
            annotators = target.labels.shape[1]
            # an image comes with each of its annotators, so that a batch draws one of them
            examples = Examples(
                jnp.asarray(np.repeat(target.images, annotators, 0)),
                jnp.asarray(target.labels.reshape(-1, *target.labels.shape[2:])),
            )
            trained, count = [], len(examples.images)
            for member in range(self.members(name) if phase == REPORT else 1):

                def batch(step, count=count, draws=seed + 1000 * member):
                    return batch_indices(draws, step, count, self.config.batch_size).astype(np.int32)

                state = self.fit(trial, examples, batch, rate, seed + 1000 * member, self.steps(learner, phase))
                if state is None:
                    return None
                trained.append(state.params)
            if phase == TUNE:
                result[f"score/{target.name}"] = self._score(name, trial, trained[0], target, seed)
            else:
                result |= self._judged(name, trial, trained, target, seed, None)
        return result

    # -- candidates --------------------------------------------------------------------------------------------

    def _judged(self, name, trial, params, target: AnnotatedTarget, seed: int, noise) -> Measurements:
        """All measures of all arms that answer with a network, on one task; means over support draws."""
        result, in_context = {}, trial.in_context
        for arm in self.arms(name):
            draws = range(self.config.draws if in_context else 1)
            drawn = [self._masks(arm, trial, params, target, seed, draw, noise) for draw in draws]
            measured = [judged(one, target) for one in drawn]
            for measure in measured[0]:
                result[f"{measure}/{arm}/{target.name}"] = np.mean([one[measure] for one in measured], 0)
            result[f"shown/{arm}/{target.name}"] = drawn[0][self.most][:SHOWN]
        return result

    def _masks(self, arm_name, trial, params, target: AnnotatedTarget, seed, draw, noise=None) -> dict[int, np.ndarray]:
        """Candidates of an arm by their number; of independent ones, few are the first of many."""
        arm = ARMS[arm_name]
        key = rngs.stream(rngs.stream(self.root, f"{arm_name}/{target.name}", seed), "support", draw)

        def support(index):
            return target.support(self.config.support_size, draw + index * self.config.draws)

        def drawn(count):
            one = jax.random.fold_in(key, count)
            if arm.answers == "noise":
                return noise_masks(one, trial.predict(params, target.queries, *support(0)), count, *noise)
            single = params[0] if arm.answers == "dropout" and isinstance(params, list) else params
            return masks(arm.answers, trial, single, one, target.queries, support, count)

        if arm.independent:
            most = drawn(self.most)
            return {count: most[:, :count] for count in self.counts}
        return {count: drawn(count) for count in self.counts}

    def _fitted_noise(self, trial, params, seed, diversity) -> tuple[tuple[float, float], Measurements]:
        """Scale and smoothness of the noise, from development tasks: as diverse as wanted, then lowest GED."""
        targets = self._development
        predicted = [trial.predict(params, t.queries, *t.support(self.config.support_size, 0)) for t in targets]
        joined, ends = np.concatenate(predicted), np.cumsum([len(one) for one in predicted])[:-1]
        tried = []
        for smoothness in self.config.smoothness:
            key = rngs.stream(self.root, "noise", seed)
            scale = _matched(key, joined, float(diversity), self.most, smoothness)
            drawn = noise_masks(jax.random.clone(key), joined, self.most, scale, smoothness)
            parts = zip(np.split(drawn, ends), targets, strict=True)
            score = np.mean([judged({self.most: one}, target)["ged"].mean() for one, target in parts])
            tried.append((float(score), scale, smoothness, _diversity(drawn)))
        _, scale, smoothness, reached = min(tried)
        found = {
            "noise/scale": scale,
            "noise/smoothness": smoothness,
            "noise/wanted": diversity,
            "noise/reached": reached,
        }
        return (scale, smoothness), {key: np.array(float(value)) for key, value in found.items()}

    # -- scores on development tasks ---------------------------------------------------------------------------

    def _score(self, name: str, trial: Trial, params: Any, target: AnnotatedTarget, seed: int) -> np.ndarray:
        """What learning rates are chosen by, `[queries]`; larger is better."""
        support = lambda index: target.support(self.config.support_size, index)  # noqa: E731
        if LEARNERS[name].scored == "dice":
            predicted = trial.predict(params, target.queries, *(support(0) if trial.in_context else ()))
            return judged({1: predicted[:, None, ..., 0] > 0.5}, target)["mean"][0]
        answers = "dropout" if LEARNERS[name].module == "dropout_unet" else "channel"
        key = rngs.stream(self.root, f"score/{target.name}", seed)
        drawn = masks(answers, trial, params, key, target.queries, support, self.most)
        return -judged({self.most: drawn}, target)["ged"][0]

    @property
    def _development(self) -> Sequence[AnnotatedTarget]:
        return self.material.development

    @functools.cached_property
    def _watched(self) -> list[AnnotatedTarget]:
        """Development tasks with a few queries each, for the curve."""
        return [target.few(self.config.curve_queries) for target in self._development]

    # -- parts -------------------------------------------------------------------------------------------------

    def trial(self, learner: Learner) -> Trial:
        """The trial of a network; learners that differ in draws or rates alone share its programs."""
        candidates = learner.candidates or self.config.train_candidates
        return self._trial(learner.module, learner.trains == "pool", learner.loss, learner.mix, candidates)

    @kept
    def _trial(self, name: str, across_tasks: bool, loss: str, mix: bool, candidates: int) -> Trial:
        config, module = self.config, network(name, self.config.network)
        kind: Callable = {"tyche": CandidateTrial, "dropout_unet": DropoutTrial}.get(name, Trial)
        further = {"loss": loss, "candidates": candidates} if name == "tyche" else {}
        return kind(
            module if mix else module.clone(mix_candidates=False),
            tuple(config.data.size),
            in_context=across_tasks,
            in_task=in_task_steps(config.augmentation),
            task=task_steps(config.augmentation) if across_tasks and config.task_augmentation else (),
            optimizer=config.optimizer,
            evaluation_batch=config.evaluation_batch,
            **further,
        )


def _matched(key: jax.Array, probabilities: np.ndarray, diversity: float, count: int, smoothness: float) -> float:
    """The scale at which noise is as diverse as wanted; where none is, that of noise alone, which the report shows."""
    try:
        return matching_scale(key, probabilities, diversity, count=count, smoothness=smoothness)
    except ConfigError:
        return _DROWNED


def _diversity(drawn: np.ndarray) -> float:
    return float(sample_diversity(jnp.asarray(drawn), unbiased=True).mean())
