"""A stack of runs (seeds x rates) of one hypernetised classifier: one by one, in one program, side by side.

    python benchmarks/vectorised_runs.py --record

What is timed is the mean of a training step of one run. `a call a step` and `windows` train the runs one after
the other, the second with several steps in a compiled call; `lax.map` trains the whole stack one after the other
inside one program, `vmap` side by side. The MLP sees the digits, the ConvNet the same digits at 28x28.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import arguments, compiled, interleave, ratio, report, seconds, table, verdict

import hyperlab as hl
from hyperlab import data, losses, models
from hyperlab.train import state
from hyperlab.train.step import Aux, train_step

SEEDS, RATES = 2, (0.003, 0.01, 0.03, 0.1, 0.3)
BATCH, MOMENTUM, GAMMA = 64, 0.9, 0.3


def main() -> None:
    options = arguments(__doc__, repeats=9).parse_args()
    digits = data.load("digits").train
    large = np.pad(digits.images.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2), (0, 0)))
    cases = {
        "MLP 64-64-64-10": (models.MLP((64, 64)), digits.images, 20),
        "ConvNet 28x28": (models.ConvNet(), large, 5),
    }
    results = {}
    for name, (primary, images, window) in cases.items():
        print(f"\n{name}: {SEEDS * len(RATES)} runs, batch {BATCH}, {window} steps in a window")
        turns, compiling = ways(primary, jnp.asarray(images), jnp.asarray(digits.labels), window)
        times = interleave(turns, options.repeats)
        table(times, compiling, unit="run-step")
        ratios = [verdict(ratio(times, way, "windows")) for way in times if way != "windows"]
        results[name] = {"compile_seconds": compiling, "seconds_per_run_step": times, "ratios": ratios}
    print()
    settings = {"seeds": SEEDS, "rates": RATES, "batch": BATCH, "window": {k: v[2] for k, v in cases.items()}}
    report("vectorised_runs", settings, {"results": results}, options.record)


def ways(primary: Any, images: jax.Array, labels: jax.Array, window: int):
    """The turns (seconds of a run-step) and the compile seconds of each way to train the stack."""
    model = hl.hypernetize(primary, images[:1])
    runs = SEEDS * len(RATES)

    def loss_fn(params, collections, batch, rngs):
        logits = model.apply({"params": params}, jnp.array([GAMMA]), images[batch])
        return losses.cross_entropy(logits, labels[batch]).mean(), Aux()

    def optimizer(rate):
        return optax.sgd(rate, MOMENTUM)

    def train(run, rate, batches):
        """Some steps of one run: `batches [steps, batch]` are rows of the data."""

        def body(run, batch):
            run, metrics = train_step(loss_fn, optimizer(rate))(run, batch, jax.random.key(0))
            return run, metrics["loss"].total

        return jax.lax.scan(body, run, batches)

    seeds, rates = jnp.repeat(jnp.arange(SEEDS), len(RATES)), jnp.tile(jnp.array(RATES), SEEDS)
    batches = jax.random.randint(jax.random.key(1), (runs, window, BATCH), 0, len(images))

    def start():
        return jax.vmap(lambda seed: state.create(model.init(jax.random.key(seed)), optimizer(0.0)))(seeds)

    def stacked(way: Callable) -> tuple[Callable, float]:
        program, compile_seconds = compiled(way, start(), rates, batches, donate_argnums=0)
        current = start()

        def turn():
            nonlocal current
            current, values = program(current, rates, batches)
            return values, current

        return lambda: seconds(turn) / (runs * window), compile_seconds

    def separate(steps: int) -> tuple[Callable, float]:
        stack = start()
        currents = [jax.tree.map(lambda leaf, run=run: leaf[run], stack) for run in range(runs)]
        calls = [[batches[run, step : step + steps] for step in range(0, window, steps)] for run in range(runs)]
        program, compile_seconds = compiled(train, currents[0], rates[0], calls[0][0], donate_argnums=0)

        def turn():
            for run in range(runs):
                for rows in calls[run]:
                    currents[run], _ = program(currents[run], rates[run], rows)
            return currents

        return lambda: seconds(turn) / (runs * window), compile_seconds

    found = {
        "a call a step": separate(1),
        "windows": separate(window),
        "lax.map": stacked(lambda *stack: jax.lax.map(lambda run: train(*run), stack)),
        "vmap": stacked(jax.vmap(train)),
    }
    return {name: turn for name, (turn, _) in found.items()}, {name: s for name, (_, s) in found.items()}


if __name__ == "__main__":
    main()
