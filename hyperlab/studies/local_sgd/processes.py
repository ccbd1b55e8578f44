"""One training of replicas over several real processes: started as a cluster starts them, continued after a death.

Every process holds some of the replicas; process 0 writes. The anchor and all replicas are saved at round boundaries.
Another number of replicas may go on from there: all of them start from the anchor, and the examples that were seen are
not seen again before their epoch ends. When a process dies the others end: at the next synchronisation, which fails, or
where that hangs, after `single.patience` seconds without a step (five minutes, where there was none yet). Where it was
process 0, which coordinates, JAX itself ends the others at once, and says so.

Before it trains, it does some steps on copies and prints what a step takes, and the whole. One process alone is a run
too: `single.wanted`.

    python -m hyperlab.studies.local_sgd.spawn 2 --workdir runs/two          # two processes on this machine
"""

import contextlib
import functools
import math
import os
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn, cast

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from hyperlab import local_sgd
from hyperlab.errors import ConfigError, HyperlabError
from hyperlab.local_sgd.packing import AXIS
from hyperlab.studies.local_sgd import schedules
from hyperlab.studies.local_sgd.arms import find
from hyperlab.studies.local_sgd.outer import with_numbers
from hyperlab.studies.local_sgd.programs import STREAMS, Programs
from hyperlab.studies.local_sgd.watch import Watch
from hyperlab.tasks import Task, load
from hyperlab.train import compiler, distributed, durations, optimizers, rngs, state
from hyperlab.train.checkpoints import Checkpoints, Restored
from hyperlab.train.loop import fit
from hyperlab.train.mesh import make_mesh
from hyperlab.train.progress import Progress
from hyperlab.train.step import Aux, train_step
from hyperlab.train.writers import JsonLines

LONGEST = 8  # rounds of more steps are timed without their synchronisation
TIMED = 4  # steps of such a round, after one that compiles
LEFT = 3  # exit code of a process that others left
FOLDER = "checkpoints-"  # and the number of replicas
Segments = list[list[int]]  # [first step, replicas], one for each number of replicas that trained


def train(config: Any, folder: Any, stop: Any) -> None:
    """Trains `config.single.arm` at the largest H with the most replicas, from the last boundary in the run folder.

    Args:
      config: the study's; `single` holds the arm's numbers.
      folder: the run's folder, which all processes see.
      stop: an object with `.requested`.

    Raises:
      ConfigError: a setting that cannot be, or a task whose examples are no arrays.
    """
    task = load(config, folder.path)
    run = _Run(config, task, folder)
    meta = {"seed": config.single.seed, "fingerprint": task.fingerprint, "segments": run.segments}
    writer = JsonLines(folder.metrics_path) if distributed.is_main() else None
    watch = Watch(config.single.patience, lambda why: _leave(folder, run, why))
    # The watch goes last: checkpoints that are closed wait for the other processes too.
    rows = contextlib.closing(writer) if writer else contextlib.nullcontext()
    with rows, watch, Progress(run.total_steps, "local_sgd") as progress, Checkpoints(run.path) as checkpoints:
        watch.progress = progress if distributed.is_main() else None
        try:
            run.forecast(checkpoints.latest_step() or 0)
            last = fit(
                run.start,
                run.step,
                run.batch,
                total_steps=run.total_steps,
                root_key=rngs.stream(jax.random.key(config.seed), "training"),
                evaluate=run.evaluate,
                evaluate_every=run.period * max(1, run.total_steps // run.period // config.curve_points),
                checkpoints=checkpoints,
                save_every=run.period * config.single.save_rounds,
                meta=meta,
                writer=writer,
                stop=stop,
                place=run.place,
                progress=watch,
            )
        except HyperlabError:
            raise
        except Exception as error:
            if jax.process_count() == 1:
                raise
            traceback.print_exc()
            _leave(folder, run, f"{type(error).__name__}: {str(error).splitlines()[0][:200]}")
    if not stop.requested:
        shown = {part: run.score(last, part) for part in ("validation", "test")}
        folder.note(**{f"{part}_{task.score}": value for part, value in shown.items()}, segments=run.segments)
        if distributed.is_main():
            print(f"{run.replicas} replicas, H = {run.period}: " + ", ".join(f"{k} {v:.4f}" for k, v in shown.items()))


class _Run:
    """What `fit` needs, for the processes that there are."""

    def __init__(self, config: Any, task: Task, folder: Any):
        given = config.single
        self.config, self.task, self.arm = config, task, find(given.arm)
        self.period, self.replicas = max(config.periods), max(config.replicas)
        if config.data.partition.kind != "iid":
            raise ConfigError("a training over processes deals examples out alike: data.partition.kind is 'iid'")
        self.examples = jax.device_get(task.train())
        if not isinstance(self.examples, tuple):
            raise ConfigError(f"the task {config.task!r} does not hold its examples as arrays; use 'classification'")
        self.scale = schedules.scale(config.batch_size * self.replicas, given.base_batch)
        self.numbers = {"rate": given.rate * self.scale, "outer_rate": given.outer_rate, "beta": given.beta}
        self.root = folder.path
        self.path = self.root / f"{FOLDER}{self.replicas}"
        self.mesh = make_mesh(local_sgd.mesh_shape(self.replicas, jax.device_count()))
        if config.batch_size % self.mesh.shape["data"]:
            raise ConfigError(
                f"the {config.batch_size} examples of a replica do not divide by the {self.mesh.shape['data']} devices "
                f"that it has ({jax.device_count()} devices, {self.replicas} replicas)"
            )
        found = _newest(self.root, self.replicas)
        self.segments: Segments = [[0, self.replicas]] if found is None else self._read(*found)
        self._build(self.replicas)
        self.first = jax.jit(self._create, out_shardings=self.shardings, compiler_options=compiler.options_once())
        self.start = self.first(self._initial_key())

    @property
    def total_steps(self) -> int:
        """Steps until all examples of `config.length` were seen, whoever saw them; whole rounds."""
        batch, examples = self.config.batch_size, self.task.sizes["train"]
        wanted = durations.steps(self.config.length, batch_size=batch, examples=examples)
        begin, replicas = self.segments[-1]
        left = max(0, wanted - self._batches(begin))
        return begin + self.period * math.ceil(left / replicas / self.period)

    def _batches(self, step: int) -> int:
        """Batches that all replicas together have seen before a step."""
        ends = [begin for begin, _ in self.segments[1:]] + [step]
        return sum(max(0, min(end, step) - begin) * n for (begin, n), end in zip(self.segments, ends, strict=True))

    def _build(self, replicas: int) -> None:
        accumulated = self.period if self.arm.accumulate else 1
        programs = self._programs(replicas)
        tx = programs.optimizer_for(self.total_steps // accumulated, accumulated)
        self.method_config = programs.config(self.arm, self.period, self.total_steps)
        self.tx = local_sgd.inner_optimizer(tx, self.method_config, self.mesh)

        def loss(params, collections, batch, keys):
            # a task that reads its examples is given them as what it asked for, another one as all that there are
            seen: tuple[Any, Any] = (batch, np.arange(len(batch[0]))) if self.examples else ((), batch)
            value, changed = self.task.loss(params, collections, *seen, keys)
            return value, Aux({}, changed or None)

        make_step = functools.partial(train_step, loss, streams=STREAMS)
        method = local_sgd.build(self.method_config, make_step, tx, self.mesh)
        self.abstract = jax.eval_shape(self._create, self._initial_key())
        self.shardings = local_sgd.shardings(self.abstract, self.mesh)
        self.driver = local_sgd.Driver(method, self.total_steps, compiler_options=compiler.options())

    def _programs(self, replicas: int) -> Programs:
        return Programs(self.task, self.config.optimizer, schedules.of(self.config, self.scale), replicas)

    def _create(self, key: jax.Array) -> local_sgd.LocalState:
        start = local_sgd.create(state.create(self.task.init(key), self.tx), self.method_config)
        start = optimizers.with_learning_rate(start, self.numbers["rate"])
        outer = self.arm.outer_numbers(self.numbers)
        return start.replace(outer=with_numbers(start.outer, *outer, self.numbers["rate"]))

    def _initial_key(self) -> jax.Array:
        return jax.random.fold_in(rngs.stream(jax.random.key(self.config.seed), "initial"), self.config.single.seed)

    def _read(self, path: Path, replicas: int) -> Segments:
        """The segments of the newest checkpoint; one of another number of replicas is turned into one of ours."""
        self.segments = [[0, replicas]]  # for shapes alone
        mesh, self.mesh = self.mesh, make_mesh({AXIS: 1, "data": jax.device_count()})
        programs = self._programs(replicas)
        self.method_config = programs.config(self.arm, self.period, self.period)
        accumulated = self.period if self.arm.accumulate else 1
        tx = programs.optimizer_for(max(1, self.total_steps // accumulated), accumulated)
        self.tx = local_sgd.inner_optimizer(tx, self.method_config)
        abstract = jax.eval_shape(self._create, self._initial_key())
        whole = NamedSharding(self.mesh, PartitionSpec())
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), abstract)
        with Checkpoints(path) as checkpoints:
            restored = cast("Restored", checkpoints.restore(like))
        self.mesh = mesh
        segments = [list(map(int, one)) for one in restored.meta["segments"]]
        if replicas == self.replicas:
            return segments
        moved = jax.device_get(local_sgd.resize(jax.device_get(restored.state), self.replicas))
        moved = _placed(moved, local_sgd.shardings(moved, mesh))
        segments = [*segments, [restored.step, self.replicas]]
        with Checkpoints(self.path) as checkpoints:
            checkpoints.save(restored.step, moved, {**restored.meta, "segments": segments}, wait=True)
        return segments

    def step(self, current: local_sgd.LocalState, batch: Any, key: jax.Array) -> tuple[Any, Any]:
        """A step and what follows it; metrics are those of this process's first device: no process asks the others."""
        current, metrics = self.driver(current, batch, key)
        return current, jax.tree.map(lambda leaf: leaf.addressable_data(0), metrics)

    def forecast(self, begin: int) -> None:
        """Prints what a step takes, and the steps that are left, from a few on a copy of the first state.

        Batches are read as in the training, while the step before is computed.

        Args:
          begin: the step from which the training goes on.
        """
        whole = self.period <= LONGEST
        before, timed = (self.period, self.period) if whole else (1, TIMED)
        left = self.total_steps - begin
        if before + timed >= left:
            return  # to be over sooner than it is foretold
        current, key, begun = self.first(self._initial_key()), jax.random.key(0), 0.0
        for step in range(before + timed):
            if step == before:
                jax.block_until_ready(current)
                begun = time.perf_counter()
            current, _ = self.driver(current, self.place(self.batch(step)), key)
        jax.block_until_ready(current)
        seconds = (time.perf_counter() - begun) / timed
        self.driver.rewind()
        if distributed.is_main():
            extra = "evaluations" if whole else "averages and evaluations"
            examples = self.config.batch_size * self.replicas / seconds
            print(
                f"expected: {seconds:.3g} s a step of {self.replicas} replicas with reading ({examples:.4g} "
                f"examples/s); {left} steps left: {left * seconds / 3600:.2f} h, {extra} on top",
                flush=True,
            )

    def batch(self, step: int) -> Any:
        """Which examples a step sees, leaves `[replicas, batch]`, on the host."""
        first = self._batches(step)
        rows = [self.task.indices(self.config.single.seed, first + r) for r in range(self.replicas)]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)

    def place(self, rows: Any) -> Any:
        """Deals a batch out: replicas over processes, and a replica's examples over its devices.

        A process reads the examples of its own devices, and no others.
        """
        where = NamedSharding(self.mesh, PartitionSpec(AXIS, "data"))
        shape = jax.tree.leaves(rows)[0].shape
        indices = cast("Iterable[tuple[slice, ...]]", where.addressable_devices_indices_map(shape).values())
        mine = {_span(index): index for index in indices}
        read = {span: self._read_examples(rows, index) for span, index in mine.items()}
        first = next(iter(read.values()))
        return tuple(
            jax.make_array_from_callback(
                (*shape, *leaf.shape[2:]),
                where,
                lambda index, at=at: read[_span(index[:2])][at],  # type: ignore[misc]  # none is inferred with a default
            )
            for at, leaf in enumerate(first)
        )

    def _read_examples(self, rows: Any, index: tuple[slice, ...]) -> tuple[np.ndarray, ...]:
        own = self.task.read(jax.tree.map(lambda leaf: leaf[index], rows))
        return tuple(leaf[own] for leaf in self.examples) if self.examples else own

    def evaluate(self, current: local_sgd.LocalState, step: int, stop: Any) -> dict[str, float]:
        """The anchor's score on the validation split, on every process by itself."""
        return {self.task.score: self.score(current, "validation")}

    def score(self, current: local_sgd.LocalState, part: str) -> float:
        """The anchor's mean score."""
        return float(np.mean(self.task.measure(jax.device_get(current.variables), part)[self.task.score]))


def _newest(root: Path, replicas: int) -> tuple[Path, int] | None:
    """The checkpoints that got furthest, and their number of replicas; of equals those of `replicas`."""
    found = []
    for path in sorted(root.glob(f"{FOLDER}*")):
        count = int(path.name.removeprefix(FOLDER))
        with Checkpoints(path) as checkpoints:
            step = checkpoints.latest_step()
        if step is not None:
            found.append((step, count == replicas, count, path))
    if not found:
        return None
    *_, count, path = max(found)
    return path, count


def _span(index: tuple[slice, ...]) -> tuple:
    """An index by its ends: slices are no keys."""
    return tuple((one.start, one.stop) for one in index)


def _placed(tree: Any, where: Any) -> Any:
    """Host arrays that every process has in full, as global arrays."""
    return jax.tree.map(
        lambda leaf, at: jax.make_array_from_callback(np.shape(leaf), at, lambda index: np.asarray(leaf)[index]),
        tree,
        where,
    )


def _leave(folder: Any, run: _Run, why: str) -> NoReturn:
    """Ends this process at once: whoever waits for the others in an orderly shutdown waits for ever."""
    steps = [int(path.name) for path in run.path.glob("*") if path.name.isdigit()]
    message = (
        f"process {jax.process_index()} of {jax.process_count()}: another process died or hangs: {why}; the last round "
        f"boundary on disk is step {max(steps, default=0)}; the same command and --workdir continue from it, with "
        "--config.replicas and --allow_config_change also with another number of replicas"
    )
    print(f"error: {message}", file=sys.stderr, flush=True)
    folder.finish(f"failed: {message}"[:300])
    os._exit(LEFT)
