"""The resume contract, with real processes that are really killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab.train import mesh as meshes
from hyperlab.train import optimizers, state, step
from hyperlab.train.checkpoints import Checkpoints, load_variables
from hyperlab.train.loop import fit
from hyperlab.train.step import Aux

pytestmark = pytest.mark.slow

# A run of 20 steps with dropout and Adam, evaluated at 10 and 20. `event` is what befalls it.
SCRIPT = r"""
import os, signal, sys, time
import jax, jax.numpy as jnp, numpy as np

jax.config.update("jax_platforms", "cpu")
from hyperlab.train import optimizers, state, step
from hyperlab.train.checkpoints import Checkpoints, save_variables
from hyperlab.train.loop import fit
from hyperlab.train.run_folder import RunFolder
from hyperlab.train.signals import StopFlag
from hyperlab.train.step import Aux, Metric
from hyperlab.train.writers import JsonLines

workdir, event, learning_rate = sys.argv[1], sys.argv[2], float(sys.argv[3])
ballast = 4_000_000 if event == "kill_in_save" or os.environ.get("BALLAST") else 4
folder = RunFolder.open(workdir, {"seed": 0, "optimizer": {"learning_rate": learning_rate}})
drawn = open(workdir + "/drawn.txt", "a")

def die(number):
    os.kill(os.getpid(), number)

def batch_fn(at):
    print(at, file=drawn, flush=True)
    while event.startswith("kill") and at == 9 and not (folder.checkpoints / "7").exists():
        time.sleep(0.01)  # saves go on beside the steps; this one is to be finished
    if (event, at) == ("kill", 9) or (event, at) == ("kill_in_save", 14):
        die(signal.SIGKILL)
    if (event, at) == ("stop", 8):
        die(signal.SIGTERM)
    rng = np.random.default_rng((3, at))
    x = rng.normal(size=(16, 8)).astype(np.float32)
    return {"x": x, "y": np.sin(x.sum(1, keepdims=True))}

def loss_fn(params, collections, batch, rngs):
    hidden = jnp.tanh(batch["x"] @ params["w"])
    hidden = hidden * jax.random.bernoulli(rngs["dropout"], 0.8, hidden.shape)
    return jnp.square(hidden @ params["v"] - batch["y"]).mean(), Aux()

def metric_fn(params, collections, batch):
    error = jnp.square(jnp.tanh(batch["x"] @ params["w"]) @ params["v"] - batch["y"])
    return {"error": Metric(error.sum(), jnp.float32(error.size))}

key = jax.random.key(0)
params = {"w": jax.random.normal(key, (8, 32)), "v": jnp.zeros((32, 1)), "ballast": jnp.ones(ballast)}
groups = (("ballast", {"frozen": True}), ("**", {}))
optimizer = optimizers.build({"name": "adam", "learning_rate": learning_rate, "groups": groups}, params)
eval_step = step.make_eval_step(metric_fn)

def evaluate(current, at, stop):
    def batches():
        for index in range(4):
            if (event, at, index) == ("stop_in_evaluation", 10, 2):
                die(signal.SIGTERM)
            yield batch_of(1000 + index)
    total = step.accumulate(eval_step, current, batches(), stop)
    return None if total is None else {"validation": step.means(total)}

def batch_of(at):
    rng = np.random.default_rng((4, at))
    x = rng.normal(size=(16, 8)).astype(np.float32)
    return {"x": x, "y": np.sin(x.sum(1, keepdims=True))}

writer = JsonLines(folder.metrics_path)
with StopFlag() as stop, Checkpoints(folder.checkpoints, keep=2) as checkpoints:
    final = fit(
        state.create({"params": params}, optimizer), step.make_train_step(loss_fn, optimizer), batch_fn,
        total_steps=20, root_key=jax.random.key(1), evaluate=evaluate, evaluate_every=10,
        checkpoints=checkpoints, save_every=7, meta={"seed": 0}, writer=writer, stop=stop,
    )
writer.close()
if not stop.requested:
    kept = {"params": final.params, "opt_state": final.opt_state, "step": final.step}
    save_variables(workdir + "/final.npz", kept)
"""


def run(workdir: Path, event: str = "none", learning_rate: float = 0.01, ballast: bool = False):
    script = workdir.parent / "script.py"
    script.write_text(SCRIPT)
    workdir.mkdir(exist_ok=True)
    environment = {**os.environ, **({"BALLAST": "1"} if ballast else {})}
    command = [sys.executable, str(script), str(workdir), event, str(learning_rate)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


def succeed(*arguments, **options) -> None:
    done = run(*arguments, **options)
    assert done.returncode == 0, done.stderr[-3000:]


def rows(workdir: Path) -> list[dict]:
    """The record apart from times."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if "time" not in key} for row in lines]


def drawn(workdir: Path) -> list[int]:
    return [int(line) for line in (workdir / "drawn.txt").read_text().split()]


def assert_same_run(workdir: Path, straight: Path) -> None:
    one, other = load_variables(workdir / "final.npz"), load_variables(straight / "final.npz")
    for name in ("w", "v"):
        np.testing.assert_array_equal(one["params"][name], other["params"][name])
    assert one["step"] == other["step"] == 20
    assert rows(workdir) == rows(straight)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("straight") / "run"
    succeed(workdir)
    return workdir


def test_killed_in_training_it_ends_as_if_never_killed(tmp_path, straight):
    workdir = tmp_path / "run"
    assert run(workdir, "kill").returncode == -signal.SIGKILL
    assert not (workdir / "final.npz").exists()
    succeed(workdir)
    assert drawn(workdir) == [*range(10), *range(7, 20)]
    assert_same_run(workdir, straight)


def test_killed_during_a_save_the_unfinished_checkpoint_is_ignored(tmp_path, straight):
    workdir = tmp_path / "run"
    assert run(workdir, "kill_in_save").returncode == -signal.SIGKILL
    saved = sorted(path.name for path in (workdir / "checkpoints").iterdir())
    assert "7" in saved and "14" not in saved and any("14" in name for name in saved), saved
    succeed(workdir, ballast=True)
    assert drawn(workdir) == [*range(15), *range(7, 20)]
    assert_same_run(workdir, straight)


def test_terminated_in_training_it_saves_and_exits_with_code_0(tmp_path, straight):
    workdir = tmp_path / "run"
    succeed(workdir, "stop")
    assert not (workdir / "final.npz").exists() and (workdir / "checkpoints" / "9").exists()
    succeed(workdir)
    assert drawn(workdir) == list(range(20))
    assert_same_run(workdir, straight)


def test_terminated_in_evaluation_the_restart_finishes_the_evaluation(tmp_path, straight):
    workdir = tmp_path / "run"
    succeed(workdir, "stop_in_evaluation")
    assert (workdir / "checkpoints" / "10").exists()
    assert not [row for row in rows(workdir) if row["split"] == "validation" and row["step"] == 10]
    succeed(workdir)
    assert drawn(workdir) == list(range(20))
    assert_same_run(workdir, straight)


def test_a_changed_learning_rate_in_the_same_workdir_is_refused_and_named(straight):
    before = {path: path.read_bytes() for path in straight.rglob("*") if path.is_file()}
    refused = run(straight, learning_rate=0.02)
    assert refused.returncode not in (0, -signal.SIGKILL)
    assert "WorkdirError" in refused.stderr and "learning_rate" in refused.stderr
    assert {path: path.read_bytes() for path in straight.rglob("*") if path.is_file()} == before


def test_a_finished_run_started_again_changes_nothing(straight):
    before = rows(straight), len(drawn(straight))
    succeed(straight)
    assert (rows(straight), len(drawn(straight))) == before


def test_no_two_rows_have_the_same_step_split_and_metric(straight):
    keys = [(row["step"], row["split"]) for row in rows(straight)]
    assert len(keys) == len(set(keys)) == 20 + 3


@pytest.mark.parametrize("devices", [2, 1])
def test_saved_on_four_devices_it_continues_on_fewer_with_the_same_data(tmp_path, devices):
    params = {"hidden": jnp.eye(8), "head": {"kernel": jnp.ones((8, 4)) / 8}}
    optimizer = optimizers.build({"name": "adam", "learning_rate": 0.01}, params)

    def loss_fn(params, collections, batch, rngs):
        hidden = jnp.tanh(batch["x"] @ params["hidden"])
        hidden = hidden * jax.random.bernoulli(rngs["dropout"], 0.8, hidden.shape)
        return jnp.square(hidden @ params["head"]["kernel"] - 1).mean(), Aux()

    def train(folder, shape, total):
        mesh, seen = meshes.make_mesh(shape), []

        def batch_fn(at):
            batch = {"x": np.random.default_rng((3, at)).normal(size=(8, 8)).astype(np.float32)}
            seen.append((at, batch["x"].sum()))
            return batch

        start = meshes.create_sharded(lambda: state.create({"params": params}, optimizer), mesh=mesh)
        step_fn = step.make_train_step(loss_fn, optimizer, shardings=meshes.shardings(start, mesh))
        with Checkpoints(folder) as checkpoints:
            final = fit(
                start,
                step_fn,
                batch_fn,
                total_steps=total,
                root_key=jax.random.key(1),
                checkpoints=checkpoints,
                place=lambda batch: meshes.shard_batch(batch, mesh),
            )
        assert step_fn._cache_size() == 1
        return jax.device_get(final.params), seen

    expected, order = train(tmp_path / "straight", {"data": 2, "model": 2}, 20)
    _, first = train(tmp_path / "moved", {"data": 2, "model": 2}, 7)
    moved, second = train(tmp_path / "moved", {"data": devices, "model": 1}, 20)
    assert first + second == order
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), moved, expected)
