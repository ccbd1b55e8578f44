"""Whether a mesh of devices trains as one device does, what each device then holds, and what groups of devices bring.

    python benchmarks/meshes.py [--networks NAME ...] [--steps 50] [--only losses pairs double bytes groups] [--record]

On eight virtual devices of this processor: numbers are exact, times are rough, since all devices share its cores.

- losses: of every study's default network, the largest relative difference of a loss from that of one device. Beside
  it what rounding alone does: one device against itself, every number of its first state moved by one unit in the last
  place.
- pairs: the same, but before every second step the mesh is given the state that one device has there, so that rounding
  grows over two steps and not over 50: gradients and updates of the whole course, each compared.
- double: the losses in twice the precision, where rounding has no room to grow; see `double.py`.
- bytes: of a train state on each device, of a hypernetwork for ten million parameters, by the compiled program's own
  account.
- groups: four trainings, side by side on four groups of one device and one after the other on one: whether results are
  equal, and seconds.

`--record` writes the file after each part and network, and keeps what this call does not measure.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import arguments, recorded, report

import hyperlab
from hyperlab import hypernetize, launch
from hyperlab.studies import trainings
from hyperlab.studies.uncertainty.study import Uncertainty
from hyperlab.train import compiler, groups, loop, state, step
from hyperlab.train.phases import TUNE
from hyperlab.train.run_folder import RunFolder
from hyperlab.train.signals import StopFlag

DEVICES = 8
PARTS = ("losses", "pairs", "double", "bytes", "groups")
# The network that stands for each study; where its batch is smaller than the devices, one that divides.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "stability": ("stability", {"arms": ("mip",), "evaluate_every": 1, "steps_per_call": 1}),
    "rescaling": ("rescaling", {"arms": ("sshn",)}),
    "registration": ("registration", {"arms": ("mip",), "steps_per_call": 1, "batch_size": 8}),
    "in_context": ("in_context", {"arms": ("universeg",), "batch_size": 8}),
    "stochastic": ("stochastic", {"arms": ("tyche",)}),
    "pruning": ("pruning", {}),
    "pruning, hypernetwork": ("pruning", {"task": "hypernetwork"}),
    "local_sgd": ("local_sgd", {"arms": ("local",), "parts": (), "cost.compute_seconds": 0.01}),
    "uncertainty": ("uncertainty", {"arms": ("spatial",)}),
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "data=8": {"devices.mesh.data": 8},
    "data=4, model=2": {"devices.mesh": {"data": 4, "model": 2}},
}
SIDE_BY_SIDE = {"arms": ("none",), "contrasts": (), "data.count": 40, "tuning_length": "50 steps"}


class Course(NamedTuple):
    """The first steps of a training.

    Attributes:
      losses: float64 `[calls]`.
      batch: paths of the leaves of a batch that are dealt.
      state: paths of the leaves of the state that are split, after the last step.
      programs: that were compiled in each call.
      starts: the state before every second call, on the host, where that was asked for.
    """

    losses: np.ndarray
    batch: list[str]
    state: list[str]
    programs: list[int]
    starts: list[Any]


class _Enough(Exception):
    """The course is known."""


def course(
    study: str, settings: Mapping[str, Any], steps: int, *, nudged: bool = False, starts: Sequence[Any] | None = None
) -> Course:
    """Runs a study until the first of its trainings has done some steps.

    Args:
      study: its name.
      settings: of its config.
      steps: how many.
      nudged: whether every number of the first state is moved by one unit in the last place, up or down at random.
      starts: the states of another course, to go on from before every second call; empty: they are kept; None: neither.
    """
    found: list[Course] = []

    def fit(start, step_fn, batch_fn, *, total_steps, root_key, place, steps_per_call=1, **_):
        current, losses, programs = loop.strong(nudge(start) if nudged else start), [], []
        kept: list[Any] = []
        for call, at in enumerate(range(0, min(steps, total_steps), steps_per_call)):
            if starts and call % 2 == 0:
                places = jax.tree.map(lambda leaf: leaf.sharding, current)
                current = jax.device_put(starts[call // 2], places)
            elif starts is not None and call % 2 == 0:
                kept.append(jax.tree.map(np.array, current))
            batch = widened(place(batch_fn(at)))
            with compiler.compilations() as compiled:
                current, metrics = step_fn(current, batch, root_key)
            losses.append(np.mean(np.asarray(metrics["loss"].total / metrics["loss"].count)))
            programs.append(compiled.programs)
        found.append(Course(np.array(losses, np.float64), split(batch), split(current), programs, kept))
        raise _Enough

    one_thread = {} if study == "registration" else {"workers": 1}
    given = {"contrasts": (), **one_thread, **settings}
    config = launch.parse(study, [f"--config.{key}={value}" for key, value in given.items()])[1]
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(trainings.loop, "fit", fit),
        contextlib.suppress(_Enough),
    ):
        hyperlab.run(config, Path(folder) / "run")
    return found[0]


def split(tree: Any) -> list[str]:
    """The paths of what is not whole on every device."""
    leaves = hyperlab.trees.flatten(tree)
    return [path for path, x in leaves.items() if isinstance(x, jax.Array) and not x.sharding.is_fully_replicated]


def widened(tree: Any) -> Any:
    """Floating-point numbers as wide as the library computes; see `double.py`."""
    wide = jnp.dtype(jnp.float32)

    def one(leaf: Any) -> Any:
        dtype = jnp.result_type(leaf)
        return leaf.astype(wide) if jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize < wide.itemsize else leaf

    return jax.tree.map(one, tree)


def nudge(tree: Any) -> Any:
    """Every floating-point number moved by one unit in the last place, up or down."""
    rng = np.random.default_rng(0)

    def moved(leaf: Any) -> Any:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        value = np.asarray(leaf)
        aims = np.where(rng.random(value.shape) < 0.5, -np.inf, np.inf).astype(value.dtype)
        return jnp.asarray(np.where(value == 0, value, np.nextafter(value, aims)))

    return jax.tree.map(moved, tree)


def losses(name: str, steps: int) -> dict[str, Any]:
    """A network on every mesh against one device."""
    study, settings = NETWORKS[name]
    one = course(study, settings, steps)
    found: dict[str, Any] = {"loss": [one.losses[0], one.losses[-1]]}
    for layout, given in {**LAYOUTS, "one ulp": {}}.items():
        other = course(study, {**settings, **given}, steps, nudged=not given)
        far = np.abs(other.losses / one.losses - 1)
        early, compiled = far[: max(1, len(far) // 10)].max(), [*other.programs[:2], sum(other.programs[2:])]
        found[layout] = {
            "largest": far.max(), "early": early, "batch_dealt": len(other.batch), "state_split": len(other.state),
            "programs": compiled,
        }  # fmt: skip
        print(f"{name}, {layout}: largest {far.max():.1e}, in the first tenth {early:.1e}; ", end="")
        print(f"leaves dealt {len(other.batch)}, split {len(other.state)}; compiled {compiled}", flush=True)
    return found


def pairs(name: str, steps: int) -> dict[str, Any]:
    """A network on every mesh against one device, from whose state it goes on before every second step."""
    study, settings = NETWORKS[name]
    one = course(study, settings, steps, starts=())
    found: dict[str, Any] = {}
    for layout, given in LAYOUTS.items():
        other = course(study, {**settings, **given}, steps, starts=one.starts)
        found[layout] = np.abs(other.losses / one.losses - 1).max()
        print(f"{name}, {layout}, by pairs of steps: largest {found[layout]:.1e}", flush=True)
    return found


def doubled(name: str, steps: int) -> dict[str, Any]:
    """The same in twice the precision, in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("double.py")), name, str(steps)]
    *shown, last = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    print("\n".join(shown), flush=True)
    return json.loads(last)


class TenMillion(nn.Module):
    """10,001,406 parameters: even, but not a multiple of 4."""

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        return nn.Dense(3162)(images)


def bytes_a_device() -> dict[str, Any]:
    """What a device holds of the train state of a hypernetwork between two steps, at most and as a share of it all."""
    images, optimizer = jax.ShapeDtypeStruct((8, 3162), jnp.float32), optax.adam(0.01)
    model = hypernetize(TenMillion(), images, hidden=(16, 128), memory_limit=2**40)

    def loss(params, collections, batch, keys):
        logits = model.apply({"params": params, **collections}, jnp.array([0.3]), batch)
        return jnp.square(logits).mean(), step.Aux()

    abstract = jax.eval_shape(lambda key: state.create(model.init(key), optimizer), jax.random.key(0))
    whole = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(abstract))
    found = {"parameters": model.spec.size, "whole": whole}
    for parts in (1, 2, 4, 8):
        group = groups.Group(0, jax.devices()[:parts], {"data": 1, "model": parts})
        program = jax.jit(step.train_step(loss, optimizer), donate_argnums=0)
        memory = program.lower(group.abstract(abstract), images, jax.random.key(0)).compile().memory_analysis()
        held = max(memory.argument_size_in_bytes, memory.output_size_in_bytes)
        found[f"model={parts}"] = {"bytes": held, "share": held / whole, "temporary": memory.temp_size_in_bytes}
        print(
            f"model={parts}: {held / 2**20:,.0f} MiB a device of {whole / 2**20:,.0f}, {held / whole:.3f}", flush=True
        )
    return found


def side_by_side() -> dict[str, Any]:
    """Four U-Nets on four groups of one device, against one after the other on one; twice, the second time compiled."""
    layouts = {"one device": {"workers": 1}, "four groups": {"devices.per_training": 1, "workers": 4}}
    found, trained = {}, {}
    for name, given in layouts.items():
        config = launch.parse("uncertainty", [f"--config.{k}={v}" for k, v in (SIDE_BY_SIDE | given).items()])[1]
        with tempfile.TemporaryDirectory() as place, StopFlag() as stop:
            folder = RunFolder.open(Path(place) / "run", config)
            study = Uncertainty(config, Uncertainty.load(config, folder.path), folder, stop)
            (cell,) = study.cells()
            seconds = []
            for first in (0, 4):
                begun = time.perf_counter()
                jobs = [(cell, 0.01, seed, TUNE) for seed in range(first, first + 4)]
                trained[name, first] = study.in_parallel(lambda job, study=study: study.network(*job), jobs)
                seconds.append(time.perf_counter() - begun)
            used = sorted(set(study.trained_on.values()))
            folder.finish("finished")
        found[name] = {"first": seconds[0], "compiled": seconds[1], "groups_used": used}
        print(
            f"{name}: {seconds[0]:.1f} s with compilation, {seconds[1]:.1f} s without; groups used {used}", flush=True
        )
    found["equal"] = all(
        np.array_equal(one[key], other[key], equal_nan=True)
        for first in (0, 4)
        for one, other in zip(trained["one device", first], trained["four groups", first], strict=True)
        for key in one
    )
    print(f"parameters and losses are equal: {found['equal']}")
    return found


def main() -> None:
    """Measures, prints and records."""
    parser = arguments(__doc__, repeats=1)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--only", nargs="*", default=PARTS, choices=PARTS)
    options = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", DEVICES)
    for part, found in measured(options):
        before = json.loads(recorded("meshes").read_text()) if recorded("meshes").exists() else {}
        kept = {name: before.get(name, {}) for name in PARTS}
        kept[part] |= found
        settings = {"steps": options.steps, "devices": DEVICES}
        report("meshes", settings, kept, options.record)


def measured(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Part by part, and network by network."""
    if "bytes" in options.only:
        yield "bytes", bytes_a_device()
    if "groups" in options.only:
        yield "groups", side_by_side()
    for part, measure in (("losses", losses), ("pairs", pairs), ("double", doubled)):
        for name in options.networks if part in options.only else ():
            yield part, {name: measure(name, options.steps)}


if __name__ == "__main__":
    main()
