"""A sweep over a study that trains three numbers by the library's own loop, with checkpoints, as slowly as asked."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

STUDY = '''"""Three numbers are pulled to a target, with noise."""

import time

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from hyperlab.errors import ConfigError
from hyperlab.train.checkpoints import Checkpoints
from hyperlab.train.loop import fit
from hyperlab.train.writers import JsonLines


def get_config():
    return ml_collections.ConfigDict(
        {"study": "toy", "seed": 0, "rate": 0.1, "target": (1.0, 2.0), "steps": 6, "pause": 0.0, "fails": ""}
    )


def run(config, folder, stop):
    if config.fails:
        raise ConfigError(config.fails)
    target = jnp.asarray(config.target)

    @jax.jit
    def step(state, batch, key):
        noise = jax.random.normal(jax.random.fold_in(key, state["step"]), (len(config.target),))
        pulled = state["w"] - config.rate * (state["w"] - target + noise + batch)
        return {"w": pulled, "step": state["step"] + 1}, {"loss": jnp.abs(pulled - target).mean()}

    def batch(at):
        (folder.path / "reached.txt").write_text(str(at))
        time.sleep(config.pause)
        return np.float32(at % 3)

    state = {"w": jnp.zeros(len(config.target)), "step": jnp.int32(0)}
    evaluate = lambda state, at, stop: {"score": -float(jnp.abs(state["w"] - target).mean())}
    writer = JsonLines(folder.metrics_path)
    with Checkpoints(folder.checkpoints) as checkpoints:
        state = fit(state, step, batch, total_steps=config.steps, root_key=jax.random.key(config.seed), stop=stop,
                    checkpoints=checkpoints, writer=writer, evaluate=evaluate,
                    summarize=lambda metrics: {"loss": float(metrics["loss"])})
    writer.close()
    if stop.requested:
        return
    lines = [f"w{place},{config.seed},accuracy,{float(value)!r}" for place, value in enumerate(state["w"])]
    (folder.path / "results.csv").write_text("\\n".join(["arm,seed,metric,value", *lines]) + "\\n")
'''

CONFIG = '''"""Rows of the toy."""

import experiments

experiments.__path__.append({folder!r})

from experiments import toy


def get_config():
    config = toy.get_config()
    config.update({changes!r})
    return config


def sweep():
    yield from {rows!r}
'''


def write(folder, rows, **changes):
    """Writes the study and a config file with these rows; returns the config file."""
    (folder / "studies").mkdir()
    (folder / "studies" / "toy.py").write_text(STUDY)
    return write_config(folder / "mine.py", rows, **changes)


def write_config(file, rows, **changes):
    """Writes a config file beside a study that is there already; returns it."""
    file.write_text(CONFIG.format(folder=str(file.parent / "studies"), changes=changes, rows=list(rows)))
    return file


def environment():
    """Variables of a process that runs it: on the CPU, with this checkout first."""
    return os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}


def start(*arguments):
    """A process `python -m hyperlab.sweep`."""
    command = [sys.executable, "-m", "hyperlab.sweep", *map(str, arguments)]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
