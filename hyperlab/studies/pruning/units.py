"""Units of work of the pruning study: parents, and networks that were pruned from them and trained on."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab import pruning, trees
from hyperlab.data.splits import fingerprint
from hyperlab.metrics.compression import measure
from hyperlab.metrics.operations import macs, macs_per_kernel
from hyperlab.studies.conducted import StudyUnits
from hyperlab.studies.pruning import masking
from hyperlab.studies.pruning.arms import Method, find
from hyperlab.studies.pruning.programs import Trial, with_masks
from hyperlab.tasks import Task
from hyperlab.train import durations, state
from hyperlab.train.phases import REPORT
from hyperlab.train.units import Measurements, kept

DENSE = {"trained": "dense", "initial": "dense_initial"}  # what each track is held against: nothing pruned
STAGES = ("initial", "early", "trained")  # of a parent


class Units(StudyUnits):
    """Trains the networks of one study.

    Args:
      config: the study's config.
      task: network and data.
      folder: the run's folder.
      progress: a `train.progress.Progress` over training steps.
      stop: an object with `.requested`.
    """

    lists = ("arms", "controls", "compressions", "compared", "speedup_contrasts", "published", "parent_rates", "rates",
             "tuning_seeds", "tuning_compression", "widenings", "report_seeds", "tasks.store")  # fmt: skip

    def __init__(self, config: Any, task: Task, folder: Any, progress: Any, stop: Any):
        super().__init__(config, folder, progress, stop)
        self.task = task
        self.trial = Trial(task, config.optimizer)
        self.variables = jax.eval_shape(task.init, jax.random.key(0))
        self.pruned = jax.eval_shape(task.pruned, self.variables["params"])
        self.parent_steps = self._steps(config.parent_length)
        self.tuning_steps = self._steps(config.tuning_length)
        self.parent_rate: float | None = None  # once it was chosen

    def _steps(self, length: Any) -> int:
        return durations.steps(length, batch_size=self.config.batch_size, examples=self.task.sizes["train"])

    # -- what there is to do -----------------------------------------------------------------------------------

    def steps(self, method: Method) -> int:
        """Training steps of one network after its masks were made."""
        return self.tuning_steps if method.parent == "trained" else self.parent_steps + self.tuning_steps

    def networks(self, method: Method) -> int:
        """How many networks a method trains from one parent at one compression."""
        return len(self.task.front()) if method.apart else 1

    @property
    def examples_seen(self) -> int:
        """Training examples in all, parent included: the same in both tracks."""
        return (self.parent_steps + self.tuning_steps) * self.config.batch_size

    @property
    def prunable(self) -> list[str]:
        """Paths of the parameters that may be pruned."""
        return pruning.prunable_paths(self.pruned, self.task.prunable, self.task.exclude)

    @property
    def ceiling(self) -> float:
        """The compression that cannot be reached."""
        return pruning.ceiling(self.pruned, self.prunable)

    @kept
    def macs(self) -> tuple[dict[str, int], int]:
        """Multiply-accumulates for one example: of each kernel, and in all."""
        return self._macs(*self.task.example())

    @kept
    def front(self) -> dict[str, tuple[dict[str, int], int]]:
        """The same at each point of the task's front."""
        return {point: self._macs(*example) for point, example in self.task.front().items()}

    def _macs(self, function: Callable, inputs: tuple) -> tuple[dict[str, int], int]:
        return macs_per_kernel(function, self.pruned, *inputs), macs(function, self.pruned, *inputs)

    # -- parents -----------------------------------------------------------------------------------------------

    def parent(self, rate: float, seed: int) -> Measurements | None:
        """Trains a network from scratch, or reads what is known of it; None after a stop.

        Returns:
          `<stage>/<collection>/<path>` for the stages `initial`, `early` (for rewinding) and `trained`; of the last,
          `validation/<metric>`; `curve/step`, `curve/score`; `digest`, a hash of the trained parameters.
        """
        unit = f"parent/{rate:.3g}/{seed}"
        return self.unit(unit, self.parent_steps, lambda: self._train_parent(rate, seed), further={"rate": rate})

    def stage(self, parent: Measurements, stage: str) -> Any:
        """The variables of a parent at one of its stages."""
        leaves = {path: jnp.asarray(parent[f"{stage}/{path}"]) for path in trees.flatten(self.variables)}
        return trees.unflatten(leaves, self.variables)

    def _train_parent(self, rate: float, seed: int) -> Measurements | None:
        if self.stop.requested:
            return None
        variables = self.trial.init(self.key("initial", seed))
        stages, early = {"initial": variables}, round(self.config.rewind_to * self.parent_steps)

        def remember(current: state.TrainState) -> state.TrainState:
            stages["early"] = jax.device_get(current.variables)
            return current

        stages["initial"] = jax.device_get(variables)
        curve: list[tuple[int, float]] = []
        trained = self._fit(
            self.task, variables, pruning.dense(variables["params"]), rate, self.parent_steps, seed, {early: remember},
            curve,
        )  # fmt: skip
        if trained is None:
            return None
        stages["trained"] = jax.device_get(trained.variables)
        result = {
            f"{stage}/{path}": leaf for stage, tree in stages.items() for path, leaf in trees.flatten(tree).items()
        }
        result |= _curve(curve) | _measured(self.task, stages["trained"], "validation")
        digest = fingerprint(*(np.asarray(leaf) for leaf in trees.flatten(stages["trained"]).values()))
        return result | {"digest": np.array(digest), "seed": np.array(seed), "learning_rate": np.array(rate)}

    # -- pruned networks ---------------------------------------------------------------------------------------

    def measure(self, name: str, compression: float, rate: float, seed: int, phase: str) -> Measurements | None:
        """Prunes the seed's parent, trains on and measures, or reads what is known; None after a stop.

        Returns:
          `validation/<metric>` and, in the report phase, `test/<metric>` after the last step; `pruned/<part>/<metric>`
          before the first; `selected/<part>/<metric>` where validation was best once the masks had changed for the
          last time, an evaluation being all that is chosen; each `[examples]`. `curve/step`, `curve/score`
          (validation); `kept/<path>`, entries; `mask`, a hash of the masks; `parent`, one of the parent; `collapsed`,
          tensors of which nothing is left; see `sizes`.
        """
        unit = f"{name}/{phase}/{compression:g}/{rate:.3g}/{seed}"
        compute = lambda: self._prune(name, compression, rate, seed, phase)  # noqa: E731
        method = self.method(name)
        further = {"compression": compression, "rate": rate, "parent_rate": self.parent_rate}
        return self.unit(unit, self.steps(method) * self.networks(method), compute, further=further)

    def method(self, name: str) -> Method:
        """A method, a control, or what nothing is pruned of."""
        for parent, dense in DENSE.items():
            if name == dense:
                label = "unpruned, tuned" if parent == "trained" else "unpruned, trained as long"
                return Method(label, "none", parent=parent)
        return find(name)

    def unpruned(self, seed: int) -> Measurements | None:
        """The parent as it is, in the report phase: the point at compression 1, by the same code as all others."""

        def compute() -> Measurements | None:
            parent = self.parent(self.parent_rate, seed)
            if parent is None:
                return None
            variables = self.stage(parent, "trained")
            self.reads_test(REPORT)
            measured = _measured(self.task, variables, "validation") | _measured(self.task, variables, "test")
            return measured | {"parent": parent["digest"], "seed": np.array(seed)}

        further = {"parent_rate": self.parent_rate}
        known = self.files.read(f"unpruned/{seed}", further)
        if known is not None and self.parent(self.parent_rate, seed) is None:
            return None
        return known or self.files.measure(f"unpruned/{seed}", compute, further=further)

    def _prune(self, name: str, compression: float, rate: float, seed: int, phase: str) -> Measurements | None:
        parent = self.parent(self.parent_rate, seed)
        method, networks = self.method(name), []
        for task in [self.task.at(point) for point in self.task.front()] if method.apart else [self.task]:
            if parent is None or self.stop.requested:
                return None
            networks.append(self._prune_one(task, name, compression, rate, seed, phase, parent))
        if None in networks:
            return None
        return _joined(networks) if method.apart else networks[0]

    def _prune_one(self, task: Task, name, compression, rate, seed, phase, parent) -> Measurements | None:
        method = self.method(name)
        draws = seed + 10_000 * method.stream
        # Every key is fixed before a mask is made.
        keys = dict(
            zip(("masks", "values", "grow"), jax.random.split(self.key(name.split("~")[0], draws), 3), strict=True)
        )
        steps = self.steps(method)
        variables = self.stage(parent, "trained" if method.parent == "trained" else "initial")
        held, events = self._plan(task, method, variables, compression, steps, seed, keys)
        variables = self._values(method, variables, parent, keys["values"])
        result: Measurements = {"collapsed": np.array(len(pruning.collapsed(held["masks"])))}
        masks = task.spread(held["masks"], variables["params"])
        start = {**variables, "params": pruning.apply(variables["params"], masks)}
        parts = ("validation", "test") if phase == REPORT else ("validation",)
        if phase == REPORT:
            self.reads_test(phase)
            for part in parts:
                result |= {f"pruned/{key}": value for key, value in _measured(task, start, part).items()}
        curve: list[tuple[int, float]] = []
        best: dict[str, Any] = {}
        rate = rate * (method.rate_factor if phase == REPORT else 1.0)
        trained = self._fit(
            task, variables, masks, rate, steps, draws, events, curve, best if phase == REPORT else None
        )
        if trained is None:
            return None
        last = held["masks"]
        for part in parts:
            result |= _measured(task, trained.variables, part)
            if phase == REPORT:
                chosen = _measured(task, best["variables"], part)
                result |= {f"selected/{key}": value for key, value in chosen.items()}
        result |= _curve(curve) | self.sizes(last, list(task.front()))
        result |= {f"kept/{path}": np.array(count) for path, count in pruning.available(last).items()}
        flat = [np.packbits(np.asarray(mask)) for mask in trees.flatten(last).values()]
        return result | {
            "mask": np.array(fingerprint(*flat)),
            "parent": parent["digest"],
            "seed": np.array(seed),
            "learning_rate": np.array(rate),
        }

    def sizes(self, masks: Any, points: Sequence[str] = ()) -> Measurements:
        """Counts of a pruned network, `size/<field of metrics.compression.Compression.row>`.

        At points of a front also `size/nonzero_macs_at_<point>`.
        """

        def count(kernels: dict[str, int], total: int) -> Any:
            return measure(self.pruned, masks, macs=kernels, total_macs=total, prunable=self.prunable)

        row = count(*self.macs()).row() | {
            f"nonzero_macs_at_{point}": count(*self.front()[point]).nonzero_macs for point in points
        }
        return {f"size/{name}": np.array(value) for name, value in row.items() if value is not None}

    def _plan(self, task, method, variables, compression, steps, seed, keys) -> tuple[dict, dict[int, Callable]]:
        """The masks to start with as `masks` of a dict, and events between steps that change both it and the state."""
        config, trial, held = self.config, self.trial, {}

        def made(current: Any, ratio: float, masks: Any = None) -> Any:
            return masking.make(
                method, trial, current, ratio, seed=seed, key=jax.random.clone(keys["masks"]), current=masks, task=task
            )

        def hold(current: state.TrainState, masks: Any) -> state.TrainState:
            held["masks"] = masks
            return with_masks(current, task.spread(masks, current.params))

        def remask(ratio: float) -> Callable:
            def event(current: state.TrainState) -> state.TrainState:
                return hold(current, made(current.variables, ratio, held["masks"]))

            return event

        def exchange(step: int) -> Callable:
            def event(current: state.TrainState) -> state.TrainState:
                share = pruning.drop_fraction(step, until)
                rigl = method.when == "rigl"
                grads = masking.gradients(trial, task, current.variables, seed + step) if rigl else None
                key, weights = jax.random.fold_in(keys["grow"], step), task.pruned(current.params)
                return hold(current, pruning.move(method.when, weights, held["masks"], share, grads=grads, key=key))

            return event

        until = max(1, round(config.masks_until * steps))
        if method.when in ("iterative", "gradual"):
            every = max(1, until // config.rounds)
            if method.when == "iterative":
                events = dict(pruning.schedules.iterative(compression, config.rounds, every))
            else:
                events = dict(pruning.schedules.cubic(compression, 0, until, every))
            first = events.pop(0, None)
            held["masks"] = pruning.dense(self.pruned) if first is None else made(variables, first)
            return held, {step: remask(ratio) for step, ratio in events.items()}
        moves = {}
        if method.when in ("set", "rigl"):
            every = max(1, until // (4 * config.rounds))
            moves = {step: exchange(step) for step in range(every, until, every)}
        held["masks"] = made(variables, compression)
        return held, moves

    def _values(self, method: Method, variables: Any, parent: Measurements, key: jax.Array) -> Any:
        """What the kept entries start from; batch statistics go with them."""
        if method.values == "rewound":
            return self.stage(parent, "early")
        return self.trial.init(key) if method.values == "redrawn" else variables

    # -- parts -------------------------------------------------------------------------------------------------

    def _fit(self, task, variables, masks, rate, steps, draws, events, curve, best=None) -> state.TrainState | None:
        last_change = max(events, default=-1)

        def evaluate(current: state.TrainState, step: int) -> None:
            score = float(np.mean(task.measure(current.variables, "validation")[task.score]))
            curve.append((step, score))
            # Networks whose masks are still to change are larger, or others, than what is reported.
            if best is not None and step > last_change and (not best or score >= best["score"]):
                best.update(score=score, variables=jax.device_get(current.variables))

        return self.trial.train(
            variables,
            masks,
            rate=rate,
            steps=steps,
            indices=lambda index: task.indices(draws, index),
            key=self.key("training", draws),
            events=events,
            evaluate=evaluate,
            evaluate_every=max(1, steps // self.config.curve_points),
            progress=self.counter(),
            stop=self.stop,
        )


def _measured(task: Task, variables: Any, part: str) -> Measurements:
    return {f"{part}/{name}": values for name, values in task.measure(variables, part).items()}


def _joined(networks: Sequence[Measurements]) -> Measurements:
    """One of several networks, each of a point of a front: means, all that belongs to one point, counts of failures."""
    joined = {}
    for name in dict.fromkeys(name for one in networks for name in one):
        values = [one[name] for one in networks if name in one]
        if name == "mask":
            joined[name] = np.array(fingerprint(*values))
        elif name == "collapsed":
            joined[name] = np.sum(values)
        else:
            joined[name] = values[0] if values[0].dtype.kind not in "fiu" else np.mean(values, axis=0)
    return joined


def _curve(points: list[tuple[int, float]]) -> Measurements:
    return {"curve/step": np.array([s for s, _ in points]), "curve/score": np.array([v for _, v in points])}
