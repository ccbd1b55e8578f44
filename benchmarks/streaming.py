"""A training whose examples stay on the host, against one whose examples are on the device: seconds of a step.

    python benchmarks/streaming.py [--record]

The same compiled steps of a U-Net (Adam, random batches) through the training loop, with the set whole on the device;
with the rows of each batch read ahead from memory; and from a file that is mapped (`.npy`). They take turns of some
steps each, the start of the readers in it. The target is for steps of 50 ms or more. What the loop waits for a batch is
timed too: on a machine with other work it says more than ratios of steps.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import arguments, interleave, quartiles, ratio, report, seconds, table, verdict

from hyperlab import losses
from hyperlab.data import batch_indices, streaming
from hyperlab.models import UNet
from hyperlab.train import loop, state
from hyperlab.train.groups import Group
from hyperlab.train.step import Aux, make_train_step
from hyperlab.train.supply import Supply

LIMIT, LEAST = 1.10, 0.05
# Sizes of images, widths of the U-Net's levels, batches, steps of a turn.
CASES = {
    "small": {"size": 64, "widths": (8, 8, 8), "batch": 8, "steps": 32},
    "large": {"size": 96, "widths": (16, 16, 16), "batch": 8, "steps": 8},
    "accelerator": {"size": 256, "widths": (64, 64, 64, 64), "batch": 64, "steps": 64},
}
SETTINGS = {"examples": 2048, "cases": ("small", "large")}


def main() -> None:
    parser = arguments(__doc__, repeats=9)
    parser.add_argument("--cases", nargs="+", default=SETTINGS["cases"], choices=CASES)
    parser.add_argument("--examples", type=int, default=SETTINGS["examples"])
    options = parser.parse_args()
    found = {}
    for name in options.cases:
        with tempfile.TemporaryDirectory() as folder:
            turns, waits, size = turns_of(CASES[name], options.examples, Path(folder))
            print(f"{name}: {CASES[name]}, {size / 2**20:.0f} MiB of examples")
            times = interleave(turns, options.repeats)
        table(times, {})
        waited = {form: quartiles(values) for form, values in waits.items()}
        print("ms that the loop waits for a batch and its way to the device:", end=" ")
        print(", ".join(f"{form} {1e3 * q['median']:.2f} [{1e3 * q['high']:.2f}]" for form, q in waited.items()))
        fast = float(np.median(times["resident"])) < LEAST
        limit = None if fast else LIMIT
        ratios = [verdict(ratio(times, form, "resident"), limit) for form in ("streamed", "streamed from a file")]
        found[name] = {**CASES[name], "bytes": size, "times": times, "waited": waited, "ratios": ratios}
    settings = {**SETTINGS, "cases": list(options.cases), "examples": options.examples}
    report("streaming", {**settings, "ahead": streaming.AHEAD, "threads": streaming.THREADS}, found, options.record)


def turns_of(case: dict[str, Any], count: int, folder: Path) -> tuple[dict[str, Callable], dict[str, list], int]:
    """Turns that train on, each from where its last one ended; seconds of waiting that they add; bytes of examples."""
    draw, shape = np.random.default_rng(0), (count, case["size"], case["size"])
    examples = {"images": draw.random((*shape, 1), np.float32), "labels": draw.integers(0, 2, shape).astype(np.int32)}
    for name, array in examples.items():
        np.save(folder / f"{name}.npy", array)
    mapped = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in examples}
    unet, optimizer = UNet(case["widths"], 2, convs_per_block=2), optax.adam(1e-3)

    def loss(params, collections, batch, keys):
        given, rows = batch
        logits: Any = unet.apply({"params": params}, given["images"][rows])
        return losses.dice_cross_entropy(logits, given["labels"][rows]).mean(), Aux()

    step = make_train_step(loss, optimizer)

    def turn(given: Any, limit: int, waits: list[float]) -> Callable[[], float]:
        supply = Supply(given, streaming.select, group=Group(0), rows=case["batch"], limit=limit)
        params = unet.init(jax.random.key(0), jnp.zeros((1, *shape[1:], 1)))["params"]
        held = [state.create({"params": params}, optimizer)]
        batches = lambda index: batch_indices(0, index, count, case["batch"])  # noqa: E731

        def train() -> Any:
            with supply.ahead(batches, case["steps"]) as ahead:

                def placed(index: int) -> Any:
                    begun = time.perf_counter()
                    batch = supply.place(ahead(index))
                    waits.append(time.perf_counter() - begun)
                    return batch

                held[0] = loop.fit(
                    held[0],
                    step,
                    placed,
                    total_steps=case["steps"],
                    root_key=jax.random.key(1),
                    place=lambda batch: batch,
                    on_nonfinite="ignore",
                )
            return held[0].params

        return lambda: seconds(train) / case["steps"]

    forms = {"resident": (examples, 2**62), "streamed": (examples, 1), "streamed from a file": (mapped, 1)}
    waits: dict[str, list] = {name: [] for name in forms}
    return {name: turn(*form, waits[name]) for name, form in forms.items()}, waits, streaming.size(examples)


if __name__ == "__main__":
    main()
