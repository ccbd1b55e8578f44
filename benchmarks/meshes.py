"""Whether a mesh of devices trains as one device does, what a device then holds, and what groups of devices bring.

    python benchmarks/meshes.py [STUDY ...] [--steps 50] [--record]

On eight virtual devices of this processor, so the numbers are exact and the times are rough: all eight share its cores.
Of every study's default network: the largest relative difference of a step's loss from that of one device, the same
where one device trains in float64's place of rounding (another order of the batch), and what was dealt. Of a
hypernetwork for ten million parameters: bytes of a train state on each device, from the compiled program's own account.
Of four trainings: seconds side by side on four groups of one device, and one after the other on one.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

DEVICES = 8
if __name__ == "__main__":
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={DEVICES}"

import jax
import numpy as np
from common import arguments, report

import hyperlab
from hyperlab import launch
from hyperlab.studies import base
from hyperlab.train import loop

# Of every study the network that stands for it, and where the default batch is smaller than eight, one that divides.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "stability": ("stability", {"arms": ("mip",), "steps_per_call": 5, "runs_per_program": 1, "workers": 1}),
    "rescaling": ("rescaling", {"arms": ("sshn",), "workers": 1}),
    "registration": ("registration", {"arms": ("mip",), "steps_per_call": 1, "batch_size": 8}),
    "in_context": ("in_context", {"arms": ("universeg",), "batch_size": 8, "workers": 1}),
    "stochastic": ("stochastic", {"arms": ("tyche",), "workers": 1}),
    "pruning": ("pruning", {"workers": 1}),
    "pruning, a hypernetwork": ("pruning", {"task": "hypernetwork", "workers": 1}),
    "local_sgd": ("local_sgd", {"arms": ("local",), "parts": (), "cost.compute_seconds": 0.01, "workers": 1}),
    "uncertainty": ("uncertainty", {"arms": ("spatial",), "workers": 1}),
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "one device": {},
    "data=8": {"devices.mesh.data": 8},
    "data=4, model=2": {"devices.mesh": {"data": 4, "model": 2}},
}


class Course(NamedTuple):
    """The first steps of a training.

    Attributes:
      losses: of every call.
      dealt: leaves of a batch whose rows are dealt, and all of them.
      split: leaves of the state that are split, and all of them.
      programs: that were compiled in every call.
    """

    losses: np.ndarray
    dealt: tuple[int, int]
    split: tuple[int, int]
    programs: list[int]


class _Enough(Exception):
    """The course is known."""


def course(study: str, settings: Mapping[str, Any], steps: int) -> Course:
    """Runs a study until its first training has done some steps."""
    losses, programs, seen = [], [], {}

    def fit(state, step_fn, batch_fn, *, total_steps, root_key, place, steps_per_call=1, **options):
        state = loop.strong(state)
        for step in range(0, min(steps, total_steps), steps_per_call):
            batch = place(batch_fn(step))
            with _compilations() as compiled:
                state, metrics = step_fn(state, batch, root_key)
                losses.append(np.mean(np.asarray(jax.tree.leaves(metrics["loss"])[0])))
            programs.append(compiled[0])
            seen["dealt"] = max(seen.get("dealt", (0, 0)), _split(batch))
            seen["split"] = _split(state)
        raise _Enough

    given = {"contrasts": (), **settings}
    config = launch.parse(study, [f"--config.{key}={value}" for key, value in given.items()])[1]
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(base.loop, "fit", fit):
        with contextlib.suppress(_Enough):
            hyperlab.run(config, Path(folder) / "run")
    return Course(np.array(losses, np.float64), seen["dealt"], seen["split"], programs)


@contextlib.contextmanager
def _compilations() -> Iterator[list[int]]:
    """Counts the programs that are compiled inside the block."""
    count = [0]

    def told(event: str, seconds: float, **_: Any) -> None:
        count[0] += event == "/jax/core/compile/backend_compile_duration"

    jax.monitoring.register_event_duration_secs_listener(told)
    try:
        yield count
    finally:
        jax.monitoring.unregister_event_duration_listener(told)


def _split(tree: Any) -> tuple[int, int]:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)]
    return sum(not leaf.sharding.is_fully_replicated for leaf in leaves), len(leaves)


def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of every call, relative."""
    return np.abs(other - one) / np.maximum(np.abs(one), np.finfo(np.float64).tiny)


def compared(steps: int, names: list[str]) -> dict[str, Any]:
    """Every network on every mesh against one device."""
    found: dict[str, Any] = {}
    for name in names:
        study, settings = NETWORKS[name]
        courses = {layout: course(study, {**settings, **given}, steps) for layout, given in LAYOUTS.items()}
        one = courses.pop("one device")
        for layout, other in courses.items():
            far = difference(one.losses, other.losses)
            row = {"largest": far.max(), "first": far[0], "half": far[: len(far) // 2].max(), "calls": len(far)}
            row |= {
                "dealt": other.dealt,
                "split": other.split,
                "programs": other.programs[:3] + [sum(other.programs[3:])],
            }
            row |= {"loss": [one.losses[0], one.losses[-1]]}
            found.setdefault(name, {})[layout] = row
            print(f"{name:24} {layout:16} largest {far.max():.1e} first {far[0]:.1e}, {row}", flush=True)
    return found


def main() -> None:
    """Measures, prints and records."""
    parser = arguments(__doc__, repeats=1)
    parser.add_argument("networks", nargs="*", default=[], help=", ".join(NETWORKS))
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    found = compared(options.steps, options.networks or list(NETWORKS))
    report("meshes", {"steps": options.steps, "devices": DEVICES}, {"losses": found}, options.record)


if __name__ == "__main__":
    main()
