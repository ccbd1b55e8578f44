"""Two real processes over gloo are one run."""

import json
import shutil
import sys

import numpy as np
import pytest

from hyperlab.train import distributed

pytestmark = pytest.mark.slow

SCRIPT = r"""
import json, os, signal, sys
import jax, jax.numpy as jnp, numpy as np

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", int(sys.argv[2]))
from functools import partial
from hyperlab.train import distributed
several = distributed.initialize(timeout=60)
import optax
from hyperlab.train import mesh as meshes, state, step
from hyperlab.train.checkpoints import Checkpoints
from hyperlab.train.loop import fit
from hyperlab.train.step import Aux

from hyperlab.train.signals import StopFlag

workdir, total, stop_at = sys.argv[1], int(sys.argv[3]), int(sys.argv[4])
mesh = meshes.make_mesh({"data": 2, "model": 2})
index, count = jax.process_index(), jax.process_count()

def batch_fn(at):
    if at == stop_at and index == count - 1:
        os.kill(os.getpid(), signal.SIGTERM)  # one process alone gets the signal
    rng = np.random.default_rng((3, at))
    x = rng.normal(size=(16, 8)).astype(np.float32)
    rows = slice(index * 16 // count, (index + 1) * 16 // count)
    return {"x": x[rows], "y": np.sin(x.sum(1, keepdims=True))[rows]}

def loss_fn(params, collections, batch, rngs):
    hidden = jnp.tanh(batch["x"] @ params["hidden"])
    hidden = hidden * jax.random.bernoulli(rngs["dropout"], 0.8, hidden.shape)
    return jnp.square((hidden @ params["head"]["kernel"]).sum(1, keepdims=True) - batch["y"]).mean(), Aux()

optimizer = optax.adam(0.01)

def make(key):
    params = {"hidden": jax.random.normal(key, (8, 32)), "head": {"kernel": jnp.ones((32, 6)) / 32}}
    return state.create({"params": params}, optimizer)

class Rows:
    rows = []
    def scalars(self, step, values, split="train"):
        self.rows.append([step, values["loss"]])
    def flush(self):
        pass

start = meshes.create_sharded(make, jax.random.key(0), mesh=mesh)
train = step.make_train_step(loss_fn, optimizer, shardings=meshes.shardings(start, mesh))
with StopFlag() as stop, Checkpoints(workdir) as checkpoints:
    fit(start, train, batch_fn, total_steps=total, root_key=jax.random.key(1), writer=Rows(),
        place=partial(meshes.shard_batch, mesh=mesh), checkpoints=checkpoints, stop=stop)
print(json.dumps({"processes": count, "main": distributed.is_main(), "rows": Rows.rows}))
"""


def losses(folder, workdir, processes, total=6, stop_at=-1):
    script = folder / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, script, folder / workdir, 4 // processes, total, stop_at]
    done = distributed.launch_local([str(part) for part in command], processes, timeout=100)
    assert [one.returncode for one in done] == [0] * processes, [one.stderr[-2000:] for one in done]
    outputs = [json.loads(one.stdout.splitlines()[-1]) for one in done]
    assert [one["processes"] for one in outputs] == [processes] * processes
    assert [one["main"] for one in outputs] == [True] + [False] * (processes - 1)
    assert all(one["rows"] == outputs[0]["rows"] for one in outputs)
    return outputs[0]["rows"]


def test_two_processes_give_the_losses_of_one_and_continue_as_one(tmp_path):
    one = losses(tmp_path, "one", 1)
    two = losses(tmp_path, "two", 2)
    np.testing.assert_allclose(two, one, rtol=1e-5)
    longer = losses(tmp_path, "one", 2, total=9)
    continued = losses(tmp_path, "two", 1, total=9)
    assert [step for step, _ in longer] == [6, 7, 8]
    np.testing.assert_allclose(continued, longer, rtol=1e-5)


def test_a_signal_to_one_process_stops_both_at_the_same_step(tmp_path):
    rows = losses(tmp_path, "run", 2, total=1000, stop_at=3)
    assert [step for step, _ in rows] == list(range(10))
    assert (tmp_path / "run" / "10").exists()


READS = r"""
import functools, json, sys
import jax, numpy as np
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)
from hyperlab.train import distributed
distributed.initialize(timeout=60)
from hyperlab.train.groups import Group
from hyperlab.train.supply import Supply

group, opened = Group(0, jax.devices(), {"data": 4, "model": 1}), []

def read(drawn):  # stands for files: rows [replicas, batch]
    step, rows = drawn
    opened.extend(rows.ravel().tolist())
    return step, (rows[..., None] * np.ones(3, np.float32), rows % 2)

supply = Supply((), lambda examples, drawn: (examples, drawn), read, group=group, rows=8, leading=1)
with supply.ahead(lambda step: (step, np.arange(16).reshape(2, 8) + 16 * step), 3) as found:
    sums = []
    for step in range(3):
        _, (number, (images, labels)) = supply.place(found(step))
        assert number == step and images.shape == (2, 8, 3) and labels.shape == (2, 8)
        shards = images.addressable_shards
        assert {one.data.shape for one in shards} == {(2, 2, 3)}, shards
        sums.append(float((images[..., 0] * np.arange(1, 17).reshape(2, 8)).sum()))
print(json.dumps({"opened": sorted(opened), "sums": sums}))
"""


def test_each_process_opens_the_files_of_its_own_rows_and_together_they_have_the_batch(tmp_path):
    script = tmp_path / "reads.py"
    script.write_text(READS)
    done = distributed.launch_local([sys.executable, str(script)], 2, timeout=100)
    assert [one.returncode for one in done] == [0, 0], [one.stderr[-2000:] for one in done]
    first, other = [json.loads(one.stdout.splitlines()[-1]) for one in done]
    assert len(first["opened"]) == len(other["opened"]) == 24
    assert sorted(first["opened"] + other["opened"]) == list(range(48))  # each file once, by one of them
    weights = np.arange(1, 17)
    assert first["sums"] == other["sums"] == [float((weights * (np.arange(16) + 16 * step)).sum()) for step in range(3)]


DAMAGED = r"""
import sys
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_platforms", "cpu")
from hyperlab.train import distributed
distributed.initialize()
from hyperlab.errors import DataError
from hyperlab.train.checkpoints import Checkpoints
from hyperlab.train.loop import fit

index, damaged = int(sys.argv[3]) if len(sys.argv) > 3 else jax.process_index(), sys.argv[2] == "damaged"
begun = []

def batch(step):
    begun.append(step)
    if damaged and index == 1 and step == 3:
        raise DataError("row 7 cannot be read")
    return np.float32(step)

with Checkpoints(Path(sys.argv[1]) / str(index), alone=True) as checkpoints:
    try:
        step = jax.jit(lambda state, row, key: ({"sum": state["sum"] + row.astype(jnp.bfloat16)}, {}))
        state = fit({"sum": jnp.zeros((), jnp.bfloat16)}, step, batch,
                    total_steps=5, root_key=jax.random.key(0), checkpoints=checkpoints, together=False, save_last=False)
        print("ended", float(state["sum"]), "from", begun[0])
    except DataError as error:
        print(error)
"""


def test_a_process_that_trains_alone_saves_before_a_row_that_cannot_be_read(tmp_path):
    script = tmp_path / "damaged.py"
    script.write_text(DAMAGED)

    def said(state, folder, processes=2, *index):
        command = [sys.executable, str(script), str(tmp_path / folder), state, *index]
        done = distributed.launch_local(command, processes, timeout=100)
        assert [one.returncode for one in done] == [0] * processes, [one.stderr[-2000:] for one in done]
        return [one.stdout.splitlines()[-1] for one in done]

    assert said("damaged", "runs") == ["ended 10.0 from 0", "row 7 cannot be read"]
    shutil.copytree(tmp_path / "runs", tmp_path / "copy")
    assert said("mended", "runs") == ["ended 10.0 from 0", "ended 10.0 from 3"]
    assert said("mended", "copy", 1, "1") == ["ended 10.0 from 3"]  # one process goes on from what another saved
