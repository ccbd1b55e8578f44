"""What the network of an arm costs: numbers that it holds, seconds to train, work for a draw."""

import statistics
import time
from typing import Any

import jax
import numpy as np

from hyperlab import trees
from hyperlab.metrics.operations import macs
from hyperlab.pareto.latency import latency
from hyperlab.studies.uncertainty.programs import Trial

STEPS, WARMUP, REPEATS = 9, 2, 3


def measure(
    trial: Trial,
    names: tuple[str, str],
    params: Any,
    batch: tuple,
    beside: Any,
    images: np.ndarray,
    draws: tuple[int, ...],
) -> dict[str, np.ndarray]:
    """The cost of one network, on the machine and beside the work that there is now.

    Args:
      trial: the programs.
      names: of the network that is trained, and of that which answers; see `networks.NETWORKS`.
      params: of the network; they stay as they are.
      batch: `(images, labels, rows, beside)` of a training step.
      beside: what is given beside the parameters afterwards.
      images: `[n, height, width, channel]`, as many as a program predicts at once.
      draws: numbers of draws of the program that samples; none for a network that answers with a pass.

    Returns:
      `parameters`; `macs`, multiply-accumulates of one draw (or pass) of one image, see `metrics.operations`;
      `step_seconds`, the median over training steps; `draw_seconds`, the median, of one draw of one image.
    """
    trained, name = names
    network = trial.network(name)

    def one(params, images):
        key = jax.random.key(0)
        return network.sampler(params, beside)(key, images) if draws else network.one(params, key, images, beside)

    def answer():
        if not draws:
            return trial.predict(name, params, images)
        return trial.sample(name, params, beside, jax.random.key(0), images, draws)[1]

    call = latency(answer, (), repeats=REPEATS, warmup=1)
    return {
        "parameters": np.array(trees.count(params)),
        "macs": np.array(macs(one, params, images[:1])),
        "step_seconds": np.array(_step_seconds(trial, trained, batch)),
        "draw_seconds": np.array(call.median / (len(images) * max(draws, default=1))),
    }


def _step_seconds(trial: Trial, name: str, batch: tuple) -> float:
    step, seconds = trial.step(name), []
    current = trial.start(name, jax.random.key(1), 0.0)  # a state is used up by its step
    for index in range(WARMUP + STEPS):
        key = jax.random.key(index)
        start = time.perf_counter()
        current, _ = jax.block_until_ready(step(current, batch, key))
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[WARMUP:])
