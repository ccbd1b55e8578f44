"""The one training loop: evaluate the old state, save, draw the batch, step, log the previous step.

It knows nothing of models: the state is any pytree (studies pass stacks of many runs), and a compiled call
may advance several steps. Row `s` of the record is the step from state `s` to state `s + 1`, or the evaluation of
state `s`; a checkpoint `s` is written after every row of a step before `s`. So a restart from it
drops the rows from `s` on, evaluates where that is due, and goes on: no row is there twice, none is missing.
"""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from hyperlab.errors import ConfigError, DataError, NonFiniteError
from hyperlab.train import distributed
from hyperlab.train.checkpoints import Checkpoints
from hyperlab.train.protocols import Progress, Resumed, Stop, Writer
from hyperlab.train.state import strong
from hyperlab.train.step import NONFINITE, means

AGREE_EVERY = 10  # calls between two questions to the other processes whether to stop


def fit(
    state: PyTree,
    step_fn: Callable[[PyTree, PyTree, jax.Array], tuple[PyTree, Mapping[str, Any]]],
    batch_fn: Callable[[int], PyTree],
    *,
    total_steps: int,
    root_key: jax.Array,
    steps_per_call: int = 1,
    evaluate: Callable[[PyTree, int, Stop | None], Mapping[str, Any] | None] | None = None,
    evaluate_every: int = 0,
    checkpoints: Checkpoints | None = None,
    save_every: int = 0,
    save_due: Callable[[int], bool] | None = None,
    save_last: bool = True,
    saved: Callable[[int], None] | None = None,
    meta: Mapping[str, Any] | None = None,
    kept: PyTree = None,
    writer: Writer | None = None,
    log_every: int = 1,
    summarize: Callable[[Mapping[str, Any]], Mapping[str, float]] = means,
    observe: Callable[[int, Mapping[str, Any]], None] | None = None,
    stop: Stop | None = None,
    progress: Progress | None = None,
    place: Callable[[PyTree], PyTree] = jax.device_put,
    on_nonfinite: str = "raise",
    profile_steps: tuple[int, int] | None = None,
    profile_folder: str | None = None,
    together: bool | None = None,
) -> PyTree:
    """Trains from the newest checkpoint, or from `state`, until `total_steps` or until a stop is requested.

    Args:
      state: any pytree of arrays; it is used up by the first step.
      step_fn: compiled `step_fn(state, batch, root_key) -> (state, metrics)`; random keys are derived inside, from
        the root key and the step that the state holds. Metrics are device arrays; with `steps_per_call` they
        have that leading axis. A metric `nonfinite` counts what was not finite.
      batch_fn: `batch_fn(step)`, a pure function of seed and step; with `steps_per_call` = k it returns the
        batches of steps `step ... step + k - 1` on a leading axis.
      total_steps: steps of the whole run, restarts included.
      root_key: the run's key.
      steps_per_call: how many steps one call of `step_fn` advances; it divides all periods.
      evaluate: `evaluate(state, step, stop) -> scalars`, or `{split: scalars}`; None when `stop.requested` cut it
        short, and then the restart evaluates the same state again. It must not change the state.
      evaluate_every: steps between evaluations, the first at step 0; the last state is always evaluated.
      checkpoints: without any nothing is saved or resumed.
      save_every: steps between saves; a stopped state is always saved.
      save_due: `step -> ` whether to save now too, of one process: an interval on the clock.
      save_last: whether the last state is saved.
      saved: is told the step of every save, when it has begun.
      meta: saved with the state, and required to be equal on restart: seed, config digest, data fingerprint.
      kept: host arrays that callbacks fill in place along the training, such as a learning curve; saved with the
        state, and filled again on restart. Of fixed shapes: what is not known yet is NaN.
      writer: of the rows.
      log_every: steps between rows.
      summarize: turns a call's metrics, read to the host, into scalars.
      observe: is told the step and the metrics, on the host, of every call, one call late.
      stop: for instance a `signals.StopFlag`; on stop the state is saved and
        returned, and the script ends as usual with code 0.
      progress: is told of every call.
      place: puts a batch on the devices, for instance `partial(shard_batch, mesh=mesh)`.
      on_nonfinite: `raise` a NonFiniteError that names the step, `stop` with a last row that marks it and
        without saving, or `ignore` (stacks of runs, in which some may fail).
      profile_steps: `(first, last)`: writes a profiler trace of these steps.
      profile_folder: where the trace goes.
      together: whether all processes of the run train this together, and stop at the same step; by default they do.

    Returns:
      The last state. Whether it is that of `total_steps` is told by `stop.requested`.

    Raises:
      ConfigError: a period that `steps_per_call` does not divide.
      NonFiniteError: a step was not finite; noticed one call later, and before anything is saved.
      CheckpointError: the checkpoint is not one of this run.
      DataError: a batch cannot be read; the state before its step is saved.
    """
    _check_periods(steps_per_call, on_nonfinite, total_steps, evaluate_every, save_every)
    together = jax.process_count() > 1 and together is not False
    start, state = _resume(strong(state), checkpoints, meta, kept)
    if checkpoints is not None:
        _rewind(writer, start)
    if start and isinstance(progress, Resumed):
        progress.resume(start)
    record = _Record(writer, log_every, summarize, observe, progress, on_nonfinite, steps_per_call)
    profile = _Profile(profile_steps, profile_folder)
    calls = 0
    try:
        for step in range(start, total_steps + 1, steps_per_call):
            last = step >= total_steps
            if _due(step, evaluate_every) or last:
                record.read()
                # several processes must take the same turns, so one alone may not leave an evaluation, or leave it out
                flag = None if together else stop
                if evaluate is not None and not record.failed and not (flag is not None and flag.requested):
                    record.evaluation(step, evaluate, state, flag)
            stopping = _agreed(stop, calls, force=last) if together else stop is not None and stop.requested
            if record.failed:
                break
            periodic = step > start and (_due(step, save_every) or (save_due is not None and save_due(step)))
            if stopping or periodic or (last and save_last):
                record.read()
                if record.failed:
                    break
                tree = saved_tree(state, kept)
                _save(checkpoints, step, tree, meta, writer, progress, wait=stopping or last)
                if checkpoints is not None and saved is not None:
                    saved(step)
            if stopping or last:
                break
            try:
                batch = place(batch_fn(step))
            except DataError:  # a file may be mended: nothing that was trained is lost by then
                record.read()
                if not together:  # else the others know nothing of it, and a save waits for all
                    _save(checkpoints, step, saved_tree(state, kept), meta, writer, progress, wait=True)
                raise
            with profile.around(step):
                state, metrics = step_fn(state, batch, root_key)
            record.read()
            record.pending, calls = (step, metrics), calls + 1
    finally:
        profile.close()
        if writer is not None:
            writer.flush()
    return state


class _Record:
    """Reads the metrics of a call when the next one is on its way, and writes the rows that are due."""

    def __init__(
        self,
        writer: Writer | None,
        log_every: int,
        summarize: Callable[[Mapping[str, Any]], Mapping[str, float]],
        observe: Callable[[int, Mapping[str, Any]], None] | None,
        progress: Progress | None,
        on_nonfinite: str,
        steps_per_call: int,
    ):
        self.writer, self.log_every, self.summarize, self.progress = writer, log_every, summarize, progress
        self.observe = observe
        self.on_nonfinite, self.steps_per_call = on_nonfinite, steps_per_call
        self.pending: tuple[int, Mapping[str, Any]] | None = None
        self.failed = False

    def read(self) -> None:
        if self.pending is None:
            return
        (step, metrics), self.pending = self.pending, None
        after = step + self.steps_per_call
        failed_at = self._first_failure(step, metrics)
        due = -(-step // self.log_every) * self.log_every < after
        shown = due or failed_at is not None
        if shown or self.observe is not None:
            metrics = jax.device_get(metrics)
        if self.observe is not None:
            self.observe(step, metrics)
        scalars = dict(self.summarize(metrics)) if shown else {}
        if scalars and self.writer is not None:
            self.writer.scalars(after - 1, scalars)
        if self.progress is not None:
            self.progress.update(after, **scalars)
        if failed_at is None:
            return
        self.failed = True
        if self.on_nonfinite == "raise":
            raise NonFiniteError(
                f"loss or updated parameters were not finite at step {failed_at} ({scalars}); "
                "the last checkpoint is from before it; try a lower learning_rate or clip_norm"
            )

    def evaluation(self, step: int, evaluate: Callable[..., Any], state: PyTree, stop: Stop | None) -> None:
        with _pause(self.progress, "evaluation"):
            values = evaluate(state, step, stop)
        if values is None or self.writer is None:
            return
        nested = values and all(isinstance(value, Mapping) for value in values.values())
        for split, scalars in (values if nested else {"validation": values}).items():
            self.writer.scalars(step, scalars, split=split)

    def _first_failure(self, step: int, metrics: Mapping[str, Any]) -> int | None:
        if self.on_nonfinite == "ignore" or NONFINITE not in metrics:
            return None
        counts = np.asarray(jax.device_get(jax.tree.leaves(metrics[NONFINITE])[0]))
        if not counts.any():
            return None
        by_step = counts.reshape(self.steps_per_call, -1).any(axis=1)
        return step + int(np.argmax(by_step))


class _Profile:
    """A profiler trace of some steps, each named in it."""

    def __init__(self, steps: tuple[int, int] | None, folder: str | None):
        self.steps, self.folder, self.running = steps, folder, False
        if steps is not None and not folder:
            raise ConfigError("profile_steps needs profile_folder")

    def around(self, step: int) -> contextlib.AbstractContextManager[Any]:
        if self.steps is None:
            return contextlib.nullcontext()
        first, last = self.steps
        if not self.running and first <= step <= last:
            jax.profiler.start_trace(str(self.folder))
            self.running = True
        elif self.running and step > last:
            self.close()
        return jax.profiler.StepTraceAnnotation("train", step_num=step)

    def close(self) -> None:
        if self.running:
            jax.profiler.stop_trace()
            self.running = False


def _resume(
    state: PyTree, checkpoints: Checkpoints | None, meta: Mapping[str, Any] | None, kept: PyTree
) -> tuple[int, PyTree]:
    restored = (
        checkpoints.restore(saved_tree(state, kept), expect=dict(meta or {})) if checkpoints is not None else None
    )
    if restored is None:
        return 0, state
    if kept is None:
        return restored.step, restored.state
    jax.tree.map(np.copyto, kept, jax.tree.map(np.asarray, restored.state["kept"]))
    return restored.step, restored.state["state"]


def saved_tree(state: PyTree, kept: PyTree) -> PyTree:
    """What a checkpoint holds; of `kept` a copy, since it is filled on while the save is being written."""
    return state if kept is None else {"state": state, "kept": jax.tree.map(np.copy, kept)}


def _rewind(writer: Writer | None, start: int) -> None:
    truncate = getattr(writer, "truncate_after", None)
    if truncate is not None:
        truncate(start - 1)


def _save(
    checkpoints: Checkpoints | None,
    step: int,
    state: PyTree,
    meta: Mapping[str, Any] | None,
    writer: Writer | None,
    progress: Progress | None,
    wait: bool,
) -> None:
    if checkpoints is None:
        return
    if writer is not None:
        writer.flush()  # the rows before the checkpoint: after a kill they are not written again
    with _pause(progress, "checkpoint"):
        checkpoints.save(step, state, dict(meta or {}), wait=wait)


def _pause(progress: Progress | None, name: str) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext() if progress is None else progress.pause(name)


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0


def _agreed(stop: Stop | None, calls: int, force: bool) -> bool:
    """Whether to stop, of several processes, which ask one another at the same steps."""
    requested = stop is not None and stop.requested
    return distributed.any_process(requested) if force or calls % AGREE_EVERY == 0 else False


def _check_periods(steps_per_call: int, on_nonfinite: str, *periods: int) -> None:
    if on_nonfinite not in ("raise", "stop", "ignore"):
        raise ConfigError(f"on_nonfinite is {on_nonfinite!r}; valid: 'raise', 'stop', 'ignore'")
    if steps_per_call < 1 or any(period % steps_per_call for period in periods):
        raise ConfigError(
            f"steps_per_call {steps_per_call} must divide total_steps, evaluate_every and save_every: {periods}"
        )
