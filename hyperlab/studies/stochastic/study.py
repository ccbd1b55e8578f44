"""The stochastic study: a network at one rate under one seed, trained, and all arms that answer with it measured."""

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

from hyperlab.in_context.benchmark import Benchmark, build
from hyperlab.in_context.networks import network
from hyperlab.in_context.programs import Examples, Programs
from hyperlab.nn.precision import computing_in
from hyperlab.studies.base import Chosen
from hyperlab.studies.episodic import EpisodicStudy
from hyperlab.studies.stochastic import annotated, families, noise, scoring
from hyperlab.studies.stochastic.annotated import AnnotatedTarget
from hyperlab.studies.stochastic.arms import ARMS, CASES, CONTROL, LEARNERS, OPTIMUM, TYCHE, Cell, Learner, learners
from hyperlab.studies.stochastic.candidates import CandidatePrograms, DropoutPrograms, masks, noise_masks
from hyperlab.studies.stochastic.schema import check
from hyperlab.train import rngs
from hyperlab.train.phases import REPORT, TUNE
from hyperlab.train.protocols import Folder, Stop
from hyperlab.train.units import Measurements, memoize_method
from hyperlab.train.writers import MultiWriter

SHOWN = 2  # queries of each task in the gallery
DIVERSITY = "development/diversity"


class Stochastic(EpisodicStudy[Cell]):
    """Trains and measures the networks of the study.

    The measurements of a training in `TUNE` are `score/<task>` `[queries]`, larger is better: minus the unbiased GED of
    the most candidates, or the Dice of one answer. In `REPORT` they are `<measure>/<arm>/<task>`, see `scoring.scores`,
    means over support draws; `shown/<arm>/<task>` bool `[SHOWN, K, height, width]`; Tyche's `DIVERSITY`; of the noise
    control what `noise.fit` returns. Of networks across tasks, in both, `curve/step` and `curve/score` on the
    development tasks.
    """

    page = "hyperlab.studies.stochastic.page"
    chosen_by = "score"

    def __init__(self, config: Any, data: Benchmark, folder: Folder, stop: Stop):
        super().__init__(config, data, folder, stop)
        self.counts = tuple(sorted(config.candidates))
        self.most = self.counts[-1]

    @classmethod
    def load(cls, config: Any, folder: Path) -> Benchmark:
        """The tasks of a config, with all annotators."""
        check(config)
        return build(
            config.data, folder, support=config.support_size, stores=families.stores, read=annotated.targets_of
        )

    # -- what there is to do -----------------------------------------------------------------------------------

    def tuned(self) -> list[Cell]:
        """The networks that the arms need."""
        return [Cell(name) for name in learners(self.config.arms)]

    def cells(self) -> list[Cell]:
        """The same; the network of the control comes last, as it waits for Tyche's."""
        return sorted(self.tuned(), key=self.is_of_control)

    def is_of_control(self, cell: Cell) -> bool:
        """Whether the control, which is made as diverse as Tyche, answers with a network."""
        return CONTROL in self.arms(cell)

    def arms(self, cell: Cell) -> list[str]:
        """The study's arms that answer with a network."""
        return [arm for arm in self.config.arms if ARMS[arm].learner == cell.learner]

    def describe(self, key: str) -> dict[str, Any]:
        """Of a network."""
        return {"definition": LEARNERS[key].definition(), "scored": LEARNERS[key].scored}

    def learner(self, cell: Cell) -> Learner:
        """By its name."""
        return LEARNERS[cell.learner]

    def networks_a_task(self, cell: Cell, phase: str) -> int:
        """As many as the arms that answer with it need."""
        ensemble = any(ARMS[arm].answers == "networks" for arm in self.arms(cell))
        return self.most if ensemble and phase == REPORT else 1

    def depends_on(self, cell: Cell, seed: int, phase: str) -> dict[str, Any] | None:
        """The arms that are measured, and for the control how diverse Tyche is under the same seed."""
        if phase == TUNE:
            return {"arms": [], "diversity": None}
        diversity = None
        if self.is_of_control(cell):
            tyche = self.train(TYCHE, self.setting(self.chosen, TYCHE), seed, REPORT)
            if tyche is None:
                return None
            diversity = float(tyche[DIVERSITY])
        return {"arms": self.arms(cell), "diversity": diversity}

    def curve(self, cell: Cell, seed: int, measured: Measurements) -> Iterable[tuple[int, dict[str, float], str]]:
        """What the rate was chosen by along training, of networks across tasks."""
        scored = LEARNERS[cell.learner].scored
        for step, score in zip(measured.get("curve/step", ()), measured.get("curve/score", ()), strict=True):
            yield int(step), {scored: float(score)}, f"{cell.learner}/{seed}/development"

    def finish(self, chosen: Chosen, writer: MultiWriter) -> None:
        """What draws from the truth would have, and what the report shows of the held-out tasks."""
        self.files.measure(OPTIMUM, self.optimum)
        cases = lambda: self.cases(self.config.support_size, SHOWN, ("annotations",), ("probabilities",))  # noqa: E731
        self.files.measure(CASES, cases)

    # -- measuring ---------------------------------------------------------------------------------------------

    def optimum(self) -> Measurements:
        """`<measure>/<task>` of draws from the truth, for the held-out tasks where it is known."""
        known = {target.name: scoring.optimum(target, self.counts) for target in self.data.test if target.known}
        return {f"{measure}/{task}": values for task, found in known.items() for measure, values in found.items()}

    def train_across_tasks(
        self, cell: Cell, rate: float, seed: int, phase: str, given: Mapping[str, Any]
    ) -> Measurements | None:
        """One network for all tasks."""
        programs = self.programs(LEARNERS[cell.learner])

        def score(params: Any) -> float:
            scores = [self._score(cell, programs, params, target, seed) for target in self._watched]
            return float(np.nanmean(np.concatenate(scores)))

        trained = self.fit_across_tasks(cell, programs, rate, seed, phase, score)
        if trained is None:
            return None
        params, result = trained
        development = self.data.development
        if phase == TUNE:
            return result | {f"score/{t.name}": self._score(cell, programs, params, t, seed) for t in development}
        if cell == TYCHE:
            drawn = [self._candidates(cell.learner, programs, [params], t, seed, 0)[self.most] for t in development]
            result[DIVERSITY] = np.array(noise.diversity_of(np.concatenate(drawn)))
        fitted = None
        if self.is_of_control(cell):
            size = self.config.support_size
            fitted, found = noise.fit(
                rngs.stream(self.root, "noise", seed),
                [programs.predict(params, target.queries, *target.support(size, 0)) for target in development],
                development,
                diversity=given["diversity"],
                count=self.most,
                smoothness=self.config.smoothness,
            )
            result |= found
        for target in self.data.test:
            result |= self._measured(cell, programs, [params], target, seed, fitted)
        return result

    def train_task_by_task(
        self, cell: Cell, rate: float, seed: int, phase: str, given: Mapping[str, Any]
    ) -> Measurements | None:
        """A network for each task, or several where candidates are networks."""
        programs, steps, result = self.programs(LEARNERS[cell.learner]), self.steps_of_one(cell, phase), {}
        for target in self.targets[phase]:
            annotators = target.labels.shape[1]
            # an image comes with each of its annotators, so that a batch draws one of them
            examples = Examples(
                np.repeat(target.images, annotators, 0),
                target.labels.reshape(-1, *target.labels.shape[2:]),
            )
            networks, rows = [], np.arange(len(examples.images))
            for member in range(self.networks_a_task(cell, phase)):
                draws = seed + 1000 * member
                params = self.fit_to_task(programs, examples, rows, rate, steps, order=draws, draws=draws)
                if params is None:
                    return None
                networks.append(params)
            if phase == TUNE:
                result[f"score/{target.name}"] = self._score(cell, programs, networks[0], target, seed)
            else:
                result |= self._measured(cell, programs, networks, target, seed)
        return result

    def _measured(
        self,
        cell: Cell,
        programs: Programs,
        networks: list[Any],
        target: AnnotatedTarget,
        seed: int,
        fitted: noise.Noise | None = None,
    ) -> Measurements:
        """All measures of all arms that answer with a network, on one task; means over support draws."""
        result = {}
        for arm in self.arms(cell):
            draws = range(self.config.draws if programs.in_context else 1)
            drawn = [self._candidates(arm, programs, networks, target, seed, draw, fitted) for draw in draws]
            found = [scoring.scores(one, target) for one in drawn]
            for measure in found[0]:
                result[f"{measure}/{arm}/{target.name}"] = np.mean([one[measure] for one in found], 0)
            result[f"shown/{arm}/{target.name}"] = drawn[0][self.most][:SHOWN]
        return result

    def _candidates(
        self,
        name: str,
        programs: Programs,
        networks: list[Any],
        target: AnnotatedTarget,
        seed: int,
        draw: int,
        fitted: noise.Noise | None = None,
    ) -> dict[int, np.ndarray]:
        """Candidates of an arm by their number; of independent ones, few are the first of many."""
        arm = ARMS[name]
        key = rngs.stream(rngs.stream(self.root, f"{name}/{target.name}", seed), "support", draw)

        def support(index: int) -> tuple[np.ndarray, np.ndarray]:
            return target.support(self.config.support_size, draw + index * self.config.draws)

        def drawn(count: int) -> np.ndarray:
            one = jax.random.fold_in(key, count)
            if arm.answers == "noise":
                probabilities = programs.predict(networks[0], target.queries, *support(0))
                return noise_masks(one, probabilities, count, *cast("noise.Noise", fitted))
            params = networks if arm.answers == "networks" else networks[0]
            return masks(arm.answers, programs, params, one, target.queries, support, count)

        if arm.independent:
            most = drawn(self.most)
            return {count: most[:, :count] for count in self.counts}
        return {count: drawn(count) for count in self.counts}

    def _score(self, cell: Cell, programs: Programs, params: Any, target: AnnotatedTarget, seed: int) -> np.ndarray:
        """What learning rates are chosen by, `[queries]`; larger is better."""
        learner = LEARNERS[cell.learner]
        support = functools.partial(target.support, self.config.support_size)
        if learner.scored == "dice":
            predicted = programs.predict(params, target.queries, *(support(0) if programs.in_context else ()))
            return scoring.scores({1: predicted[:, None, ..., 0] > 0.5}, target)["mean"][0]
        answers = "dropout" if learner.module == "dropout_unet" else "channel"
        key = rngs.stream(self.root, f"score/{target.name}", seed)
        drawn = masks(answers, programs, params, key, target.queries, support, self.most)
        return -scoring.scores({self.most: drawn}, target)["ged"][0]

    @functools.cached_property
    def _watched(self) -> list[AnnotatedTarget]:
        """Development tasks with a few queries each, for the curve."""
        return [target.few(self.config.curve_queries) for target in self.data.development]

    # -- networks ----------------------------------------------------------------------------------------------

    def programs(self, learner: Learner) -> Programs:
        """The programs of a network; learners that differ in draws or rates alone share them."""
        candidates = learner.candidates or self.config.train_candidates
        return self._programs(learner.module, learner.across_tasks, learner.loss, learner.mix, candidates)

    @memoize_method
    def _programs(self, name: str, across_tasks: bool, loss: str, mix: bool, candidates: int) -> Programs:
        module = computing_in(network(name, self.config.network), self.engine.precision)
        kind, options = Programs, {}
        if name == "tyche":
            kind, options = CandidatePrograms, {"loss": loss, "candidates": candidates}
        elif name == "dropout_unet":
            kind = DropoutPrograms
        return self.make_programs(
            kind,
            module if mix else module.clone(mix_candidates=False),
            in_context=across_tasks,
            in_task=True,
            task=across_tasks and self.config.task_augmentation,
            **options,
        )
