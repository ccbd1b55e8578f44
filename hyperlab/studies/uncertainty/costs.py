"""What the network of an arm costs: numbers that it holds, seconds to train, work for a draw."""

import statistics
import time
from typing import Any

import jax
import numpy as np

from hyperlab import trees
from hyperlab.data import streaming
from hyperlab.metrics.operations import macs
from hyperlab.pareto.latency import latency
from hyperlab.studies.uncertainty.cells import TEST, Cell, Setting
from hyperlab.studies.uncertainty.programs import Programs
from hyperlab.studies.uncertainty.sources.base import Source
from hyperlab.train.phases import REPORT
from hyperlab.train.units import Measurements

STEPS, WARMUP, REPEATS = 9, 2, 3


def measure(study: Any, cell: Cell, setting: Setting, seed: int) -> Measurements:
    """The cost of a reported network, on the machine and beside the work that there is now.

    Args:
      study: `study.Uncertainty`, of which nothing else is computed at the same time.
      cell: whose network it is.
      setting: of it.
      seed: of it.

    Returns:
      `parameters`; `macs`, multiply-accumulates of one draw (or pass) of one image, see `metrics.operations`;
      `step_seconds`, the median over training steps; `draw_seconds`, the median, of one draw of one image.
    """
    programs, source, trained = study.programs, study.source(cell), study.trained(cell)
    params = study.params(cell, study.network(cell, setting.learning_rate, seed, REPORT))

    def compute() -> Measurements:
        rows = study.rows(cell.share)[: study.config.batch_size]
        learner = study.source(trained)
        beside = learner.train_inputs(study, trained)
        rows = programs.rows(learner)(jax.random.key(0), 0, rows, beside)
        examples, rows = study.supply((study.images, study.labels), streaming.select)(rows)
        batch = (*examples, rows, beside)
        images = study.data.evaluated[TEST].images[: study.config.evaluation_batch]
        aux_inputs = source.aux_inputs(study, cell, setting, params, seed)
        draws = tuple(study.config.draws) if source.draws else ()

        def one(params, images):
            key = jax.random.key(0)
            if draws:
                return source.sampler(params, aux_inputs)(key, images)
            return source.one_pass(params, key, images, aux_inputs)

        def answer():
            if not draws:
                return programs.predict(source, params, images)
            return programs.sample(source, params, aux_inputs, jax.random.key(0), images, draws)[1]

        call = latency(answer, (), repeats=REPEATS, warmup=1)
        return {
            "parameters": np.array(trees.count(params)),
            "macs": np.array(macs(one, params, images[:1])),
            "step_seconds": np.array(_step_seconds(programs, learner, batch)),
            "draw_seconds": np.array(call.median / (len(images) * max(draws, default=1))),
        }

    further = {"point": list(cell), "rate": setting.learning_rate, "seed": seed, "like": setting.listed_like}
    return study.files.measure(cell.cost_name, compute, further=further)


def _step_seconds(programs: Programs, source: Source, batch: tuple) -> float:
    step, seconds = programs.step(source), []
    current = programs.start(source, jax.random.key(1), 0.0)  # a state is used up by its step
    for index in range(WARMUP + STEPS):
        key = jax.random.key(index)
        start = time.perf_counter()
        current, _ = jax.block_until_ready(step(current, batch, key))
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[WARMUP:])
