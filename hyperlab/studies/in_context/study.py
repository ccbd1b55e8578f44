"""The in-context study: an arm at one learning rate under one seed, trained, and measured on tasks it never saw."""

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hyperlab.in_context.baselines import BASELINES
from hyperlab.in_context.benchmark import Benchmark, build
from hyperlab.in_context.networks import network
from hyperlab.in_context.programs import Examples, Programs
from hyperlab.in_context.targets import Target
from hyperlab.metrics.defined import mean_defined
from hyperlab.nn.precision import computing_in
from hyperlab.studies.base import Chosen
from hyperlab.studies.episodic import EpisodicStudy
from hyperlab.studies.in_context.arms import ARMS, BASELINE_SCORES, CASES, Arm, Cell
from hyperlab.studies.in_context.schema import check
from hyperlab.train.phases import REPORT
from hyperlab.train.protocols import Folder, Stop
from hyperlab.train.units import Measurements, memoize_method
from hyperlab.train.writers import MultiWriter

SHOWN = 3  # queries of each task in the gallery


class InContext(EpisodicStudy[Cell]):
    """Trains and measures the networks of the study.

    The measurements of a training are `dice/<task>/<support size>` `[draws, queries]`; of networks that take a support
    set also `ensemble/<task>` `[ensemble sizes, queries]` at the largest size; `shown/<task>` bool `[SHOWN, height,
    width, 1]`, `curve/step` and `curve/dice` (development tasks). An arm that knows no support size is measured at the
    largest alone.
    """

    page = "hyperlab.studies.in_context.page"
    chosen_by = "dice"

    def __init__(self, config: Any, data: Benchmark, folder: Folder, stop: Stop):
        super().__init__(config, data, folder, stop)
        self.sizes = tuple(sorted(config.support_sizes))

    @classmethod
    def load(cls, config: Any, folder: Path) -> Benchmark:
        """The tasks of a config."""
        check(config)
        data = build(config.data, folder, support=max(config.support_sizes))
        for arm in config.arms:
            data.training(synthetic=ARMS[arm].synthetic)
        return data

    # -- what there is to do -----------------------------------------------------------------------------------

    def cells(self) -> list[Cell]:
        """The arms."""
        return [Cell(arm) for arm in self.config.arms]

    def describe(self, key: str) -> dict[str, Any]:
        """Of an arm."""
        return {"label": ARMS[key].label, "definition": ARMS[key].definition()}

    def learner(self, cell: Cell) -> Arm:
        """An arm says itself what is trained."""
        return ARMS[cell.arm]

    def networks_a_task(self, cell: Cell, phase: str) -> int:
        """One for each support set that it is trained on."""
        return self.draws(phase) if ARMS[cell.arm].trains == "support" else 1

    def draws(self, phase: str) -> int:
        """Support sets that every query is predicted from."""
        return self.config.draws if phase == REPORT else 1

    def curve(self, cell: Cell, seed: int, measured: Measurements) -> Iterable[tuple[int, dict[str, float], str]]:
        """Dice on the development tasks along training, of networks across tasks."""
        for step, dice in zip(measured.get("curve/step", ()), measured.get("curve/dice", ()), strict=True):
            yield int(step), {"dice": float(dice)}, f"{cell.arm}/{seed}/development"

    def finish(self, chosen: Chosen, writer: MultiWriter) -> None:
        """Baselines, and what the report shows of the held-out tasks."""
        self.files.measure(BASELINE_SCORES, self.baselines)
        self.files.measure(CASES, lambda: self.cases(self.sizes[-1], SHOWN, ("truth",)))

    # -- measuring ---------------------------------------------------------------------------------------------

    def baselines(self) -> Measurements:
        """What needs no network, on the held-out tasks: `dice/<baseline>/<task>/<size>` `[draws, queries]`."""
        result = {}
        for target in self.data.test:
            for size in self.sizes:
                sets = [target.support(size, draw) for draw in range(self.draws(REPORT))]
                for name, baseline in BASELINES.items():
                    scores = [target.dice(baseline(target.queries, *one)) for one in sets]
                    result[f"dice/{name}/{target.name}/{size}"] = np.stack(scores)
        return result

    def train_across_tasks(
        self, cell: Cell, rate: float, seed: int, phase: str, given: Mapping[str, Any]
    ) -> Measurements | None:
        """One network for all tasks."""
        arm, largest = ARMS[cell.arm], self.sizes[-1]
        programs = self.programs(arm)

        def score(params: Any) -> float:
            scores = [self._dice(programs, params, target, largest, draws=1) for target in self._watched]
            return float(mean_defined(np.array([mean_defined(one, None) for one in scores])))

        trained = self.fit_across_tasks(cell, programs, rate, seed, phase, score, synthetic=arm.synthetic)
        if trained is None:
            return None
        params, result = trained
        for target in self.targets[phase]:
            for size in self.sizes if phase == REPORT else (largest,):
                found = self._dice(programs, params, target, size, self.draws(phase))
                result[f"dice/{target.name}/{size}"] = found
            if phase == REPORT:
                result |= self._ensembles(programs, params, target)
        return result

    @functools.cached_property
    def _watched(self) -> list[Target]:
        """Development tasks with a few queries each, for the curve."""
        count = self.config.curve_queries
        return [t._replace(queries=t.queries[:count], truth=t.truth[:count]) for t in self.data.development]

    def _dice(self, programs: Programs, params: Any, target: Target, size: int, draws: int) -> np.ndarray:
        """`[draws, queries]`, with support sets of a size."""
        sets = [target.support(size, draw) for draw in range(draws)]
        return np.stack([target.dice(programs.predict(params, target.queries, *one) > 0.5) for one in sets])

    def _ensembles(self, programs: Programs, params: Any, target: Target) -> Measurements:
        """Means of probabilities over several support sets of the largest size."""
        sets = [target.support(self.sizes[-1], draw) for draw in range(max(self.config.ensembles))]
        passes = np.stack([programs.predict(params, target.queries, *one) for one in sets])
        scores = [target.dice(passes[:count].mean(0) > 0.5) for count in self.config.ensembles]
        return {f"ensemble/{target.name}": np.stack(scores), f"shown/{target.name}": passes[0, :SHOWN] > 0.5}

    def train_task_by_task(
        self, cell: Cell, rate: float, seed: int, phase: str, given: Mapping[str, Any]
    ) -> Measurements | None:
        """A network for each task, and where it is trained on the support set for each of those."""
        arm, size, result = ARMS[cell.arm], self.sizes[-1], {}
        programs, steps = self.programs(arm), self.steps_of_one(cell, phase)
        for target in self.targets[phase]:
            masks, examples = [], Examples(target.images, target.labels)
            for draw in range(self.networks_a_task(cell, phase)):
                rows = target.order(draw)[:size] if arm.trains == "support" else np.arange(len(target.images))
                params = self.fit_to_task(programs, examples, rows, rate, steps, order=seed, draws=seed + 1000 * draw)
                if params is None:
                    return None
                masks.append(programs.predict(params, target.queries) > 0.5)
            result[f"dice/{target.name}/{size}"] = np.stack([target.dice(one) for one in masks])
            result[f"shown/{target.name}"] = masks[0][:SHOWN]
        return result

    def programs(self, arm: Arm) -> Programs:
        """The programs of an arm's network; arms that differ in draws, rates or tasks alone share them."""
        return self._programs(arm.network, arm.task_augmentation and arm.across_tasks, arm.in_task_augmentation)

    @memoize_method
    def _programs(self, name: str, task: bool, in_task: bool) -> Programs:
        module = computing_in(network(name, self.config.network), self.engine.precision)
        return self.make_programs(Programs, module, in_context=name != "unet", in_task=in_task, task=task)
