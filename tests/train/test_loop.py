import contextlib
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab.errors import ConfigError, NonFiniteError
from hyperlab.train import optimizers, state, step
from hyperlab.train.checkpoints import Checkpoints
from hyperlab.train.loop import fit
from hyperlab.train.step import Aux, Metric

KEY = jax.random.key(0)
TARGET = np.random.default_rng(5).normal(size=(3, 1)).astype(np.float32)


class Rows:
    """A writer that keeps its rows, and forgets on request."""

    def __init__(self):
        self.rows, self.flushed = [], 0

    def scalars(self, step, values, split="train"):
        self.rows.append((step, split, dict(values)))

    def truncate_after(self, step):
        self.rows = [row for row in self.rows if row[0] <= step]

    def flush(self):
        self.flushed = len(self.rows)

    def of(self, split="train"):
        return {step: values for step, where, values in self.rows if where == split}


class Stop:
    def __init__(self):
        self.requested = False


class Progress:
    def __init__(self):
        self.seen, self.paused = [], []

    def update(self, done, **shown):
        self.seen.append(done)

    @contextlib.contextmanager
    def pause(self, name):
        self.paused.append(name)
        yield


def batch_fn(step):
    x = np.random.default_rng((7, step)).normal(size=(8, 3)).astype(np.float32)
    return {"x": x, "y": x @ TARGET}


def loss_fn(params, collections, batch, rngs):
    noise = 0.01 * jax.random.normal(rngs["dropout"], batch["x"].shape)
    return jnp.square((batch["x"] + noise) @ params["w"] - batch["y"]).mean(), Aux()


def pieces(**options):
    params = {"w": jnp.zeros((3, 1))}
    optimizer = optimizers.build({"name": "adam", "learning_rate": 0.05}, params)
    return state.create({"params": params}, optimizer), step.make_train_step(loss_fn, optimizer, **options)


def evaluate(current, at, stop):
    return {"error": float(np.square(np.asarray(current.params["w"]) - TARGET).sum())}


def test_the_order_is_evaluate_save_draw_step_and_log_the_previous():
    events, (start, train) = [], pieces()

    class Saves:
        def restore(self, like, expect=None):
            return None

        def save(self, step, state, meta, wait=False):
            events.append(f"save {step}")

    class Writer(Rows):
        def scalars(self, step, values, split="train"):
            events.append(f"{split} {step}")

    def draw(step):
        events.append(f"draw {step}")
        return batch_fn(step)

    def call(*arguments):
        events.append("step")
        return train(*arguments)

    fit(start, call, draw, total_steps=3, root_key=KEY, evaluate=evaluate, evaluate_every=2, save_every=2,
        checkpoints=Saves(), writer=Writer())  # fmt: skip
    assert events == [
        "validation 0", "draw 0", "step", "draw 1", "step", "train 0", "train 1", "validation 2", "save 2",
        "draw 2", "step", "train 2", "validation 3", "save 3",
    ]  # fmt: skip


def test_it_learns_logs_and_shows_progress_and_compiles_once():
    rows, progress, (start, train) = Rows(), Progress(), pieces(grad_norm=True)
    with jax.transfer_guard("disallow"):
        key = jax.random.wrap_key_data(jax.device_put(np.zeros(2, np.uint32)))
        fit(start, train, batch_fn, total_steps=60, root_key=key, evaluate=evaluate, evaluate_every=20,
            writer=rows, log_every=10, progress=progress)  # fmt: skip
    assert list(rows.of()) == [0, 10, 20, 30, 40, 50]
    assert list(rows.of("validation")) == [0, 20, 40, 60]
    assert rows.of("validation")[60]["error"] < 0.2 * rows.of("validation")[0]["error"]
    assert set(rows.of()[0]) == {"loss", "grad_norm", "nonfinite"}
    assert progress.seen[-1] == 60 and progress.paused == ["evaluation"] * 4
    assert train._cache_size() == 1


def test_several_steps_per_call_give_the_same_run():
    one, four = Rows(), Rows()
    start, train = pieces()
    first = fit(start, train, batch_fn, total_steps=12, root_key=KEY, writer=one, evaluate=evaluate, evaluate_every=4)
    start, train = pieces(steps_per_call=4)

    def batches(step):
        return jax.tree.map(lambda *leaves: np.stack(leaves), *(batch_fn(step + i) for i in range(4)))

    second = fit(start, train, batches, total_steps=12, root_key=KEY, writer=four, evaluate=evaluate,
                 evaluate_every=4, steps_per_call=4)  # fmt: skip
    np.testing.assert_allclose(first.params["w"], second.params["w"], rtol=1e-5)
    assert list(four.of()) == [3, 7, 11]
    assert four.of()[3]["loss"] == pytest.approx(np.mean([one.of()[i]["loss"] for i in range(4)]), rel=1e-5)
    assert one.of("validation")[8] == pytest.approx(four.of("validation")[8], rel=1e-4)
    with pytest.raises(ConfigError, match="steps_per_call 4 must divide"):
        fit(start, train, batches, total_steps=10, root_key=KEY, steps_per_call=4)


def test_a_stack_of_runs_is_a_state_like_any_other():
    params = {"w": jnp.zeros((3, 1))}
    optimizer = optimizers.build({"name": "sgd", "momentum": 0.0}, params)
    rates, keys = jnp.array([0.0, 0.05, 0.1, 1e30]), jax.random.split(KEY, 4)

    def make(rate):
        return optimizers.with_learning_rate(state.create({"params": params}, optimizer), rate)

    one = step.train_step(loss_fn, optimizer)
    train = step.compile_step(jax.vmap(one, in_axes=(0, None, 0)))
    rows = Rows()

    def summarize(metrics):
        return {f"loss_{i}": float(t / c) for i, (t, c) in enumerate(zip(*metrics["loss"], strict=True))}

    stack = fit(jax.vmap(make)(rates), train, batch_fn, total_steps=20, root_key=keys, writer=rows,
                summarize=summarize, on_nonfinite="ignore")  # fmt: skip
    single = fit(make(0.05), step.compile_step(one), batch_fn, total_steps=20, root_key=keys[1])
    np.testing.assert_allclose(stack.params["w"][1], single.params["w"], rtol=1e-5)
    assert (stack.params["w"][0] == 0).all() and not np.isfinite(stack.params["w"][3]).all()
    assert set(rows.of()[19]) == {"loss_0", "loss_1", "loss_2", "loss_3"}


def poisoned(step):
    batch = batch_fn(step)
    return {**batch, "y": batch["y"] * np.float32(np.nan)} if step == 6 else batch


@pytest.mark.fast
@pytest.mark.parametrize("steps_per_call", [1, 4])
def test_a_step_that_is_not_finite_is_named(steps_per_call):
    start, train = pieces(steps_per_call=steps_per_call)

    def batches(step):
        several = [poisoned(step + i) for i in range(steps_per_call)]
        return several[0] if steps_per_call == 1 else jax.tree.map(lambda *leaves: np.stack(leaves), *several)

    with pytest.raises(NonFiniteError, match="not finite at step 6 "):
        fit(start, train, batches, total_steps=12, root_key=KEY, steps_per_call=steps_per_call)


@pytest.mark.parametrize("option", ["raise", "stop"])
def test_a_state_that_is_not_finite_is_never_saved(tmp_path, option):
    rows, (start, train) = Rows(), pieces()
    with Checkpoints(tmp_path) as checkpoints:
        guard = pytest.raises(NonFiniteError) if option == "raise" else contextlib.nullcontext()
        with guard:
            fit(start, train, poisoned, total_steps=12, root_key=KEY, checkpoints=checkpoints, save_every=1,
                writer=rows, log_every=5, on_nonfinite=option)  # fmt: skip
        assert checkpoints.latest_step() == 6
    assert list(rows.of()) == [0, 5, 6] and rows.of()[6]["nonfinite"] == 1
    with pytest.raises(ConfigError, match="on_nonfinite"):
        fit(start, train, poisoned, total_steps=12, root_key=KEY, on_nonfinite="warn")


@pytest.mark.parametrize("stop_at", [0, 3, 7])
def test_a_stop_saves_and_the_rest_equals_a_run_without_one(tmp_path, stop_at):
    straight, (start, train) = Rows(), pieces()
    options = {"total_steps": 10, "root_key": KEY, "evaluate": evaluate, "evaluate_every": 5}
    expected = fit(start, train, batch_fn, writer=straight, **options)
    rows, stop, (start, train) = Rows(), Stop(), pieces()

    def stopping(step):
        stop.requested = step == stop_at
        return batch_fn(step)

    with Checkpoints(tmp_path) as checkpoints:
        fit(start, train, stopping, writer=rows, checkpoints=checkpoints, stop=stop, **options)
        assert checkpoints.latest_step() == stop_at + 1
        start, train = pieces()
        final = fit(start, train, batch_fn, writer=rows, checkpoints=checkpoints, stop=Stop(), **options)
    np.testing.assert_array_equal(final.params["w"], expected.params["w"])
    assert rows.rows == straight.rows


def test_rows_past_the_restored_step_are_dropped_and_written_again(tmp_path):
    rows, (start, train) = Rows(), pieces()
    options = {"root_key": KEY, "evaluate": evaluate, "evaluate_every": 2, "writer": rows, "save_every": 4}

    def crash(step):
        if step == 7:
            raise KeyboardInterrupt
        return batch_fn(step)

    with Checkpoints(tmp_path) as checkpoints, pytest.raises(KeyboardInterrupt):
        fit(start, train, crash, total_steps=10, checkpoints=checkpoints, **options)
    assert max(rows.of()) > 4
    start, train = pieces()
    with Checkpoints(tmp_path) as checkpoints:
        fit(start, train, batch_fn, total_steps=10, checkpoints=checkpoints, **options)
    assert sorted(rows.of()) == list(range(10)) and sorted(rows.of("validation")) == [0, 2, 4, 6, 8, 10]
    assert len(rows.rows) == 16


@pytest.mark.fast
def test_an_evaluation_may_name_its_splits_or_give_nothing():
    rows, (start, train), turns = Rows(), pieces(), itertools.count()

    def several(current, at, stop):
        return {"test": {"a": 1.0}, "shifted": {"a": 2.0}} if next(turns) else None

    fit(start, train, batch_fn, total_steps=2, root_key=KEY, writer=rows, evaluate=several, evaluate_every=1)
    assert rows.of("test") == {1: {"a": 1.0}, 2: {"a": 1.0}} and rows.of("shifted")[2] == {"a": 2.0}
    json.dumps(rows.rows)


def test_a_profile_of_some_steps_is_written(tmp_path):
    start, train = pieces()
    fit(start, train, batch_fn, total_steps=5, root_key=KEY, profile_steps=(2, 3), profile_folder=str(tmp_path))
    assert list(tmp_path.rglob("*.xplane.pb"))
    with pytest.raises(ConfigError, match="profile_folder"):
        fit(*pieces(), batch_fn, total_steps=5, root_key=KEY, profile_steps=(2, 3))


def test_metrics_beside_the_loss_are_sums_and_counts():
    def counted(params, collections, batch, rngs):
        return params["w"].sum(), Aux({"hits": Metric(jnp.float32(3), jnp.float32(4))})

    params = {"w": jnp.zeros((3, 1))}
    optimizer = optimizers.build({}, params)
    rows = Rows()
    fit(state.create({"params": params}, optimizer), step.make_train_step(counted, optimizer), batch_fn,
        total_steps=1, root_key=KEY, writer=rows)  # fmt: skip
    assert rows.of()[0]["hits"] == 0.75
