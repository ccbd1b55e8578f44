"""What the networks of the study cost: to run, at every factor, and to train."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab import pareto
from hyperlab.studies.rescaling.arms import Cell, cells_of, inference_name, widths_of
from hyperlab.train import compiler, groups
from hyperlab.train.units import Measurements


def measure(study: Any) -> None:
    """Measures all costs, on one device and alone on the machine: after everything is trained, one after the other."""
    with groups.using(groups.ALONE):
        _measure(study)


def _measure(study: Any) -> None:
    for width in sorted({width for cell in study.cells() for width in widths_of(cell, study.config)}):
        study.files.measure(inference_name(width), lambda width=width: inference(study, width))
    for cell in study.cells():
        further = study.further(cell)
        study.files.measure(cell.cost_name, lambda cell=cell: training(study, cell), further=further)


def inference(study: Any, width: float) -> Measurements:
    """Costs of the primary on one image at every factor of the study; latency at those that are compared.

    Every arm runs this very network in the end (FiLM scales and shifts its features beside), with the exact sizes of
    the factor: where its parameters came from makes no difference.
    """
    config, primary = study.config, study.primary(width)
    images = jnp.zeros((1, *study.data.image_shape))
    variables = jax.jit(primary.init, compiler_options=compiler.options_once())(jax.random.key(0), images)
    programs = study.programs(cells_of("fixed", config)[0])
    factors = sorted({*config.factors, *config.front, *config.outside})
    rows: dict[str, list[float]] = {"rescaling_factor": factors}
    for factor in factors:
        sizes = programs.sizes(factor)

        def apply(variables, images, sizes=sizes):
            return primary.apply(variables, images, sizes)

        row: dict[str, Any] = {}
        if factor in config.factors:
            compiled = jax.jit(apply, compiler_options=compiler.options()).lower(variables, images).compile()
            row |= pareto.cost(apply, variables, images, compiled=compiled)._asdict()
            latency = pareto.latency(compiled, (variables, images))
            row |= {"latency": latency.median, "latency_low": latency.lower_quartile}
            row |= {"latency_high": latency.upper_quartile}
        else:
            row |= pareto.operations(apply, variables, images)._asdict()
        for name in _COLUMNS:
            rows.setdefault(name, []).append(float(row.get(name, np.nan)))
    return {name: np.array(values) for name, values in rows.items()}


_COLUMNS = ("macs", "other_macs", "parameters", "flops", "peak_memory", "latency", "latency_low", "latency_high")


def training(study: Any, cell: Cell) -> Measurements:
    """What training one network costs: seconds of compilation, and of a step, alone on the machine.

    For a network of the prior the step is the mean over its buckets, each with its share of the draws; for a slimmable
    one the mean over its widths.
    """
    programs, networks = study.programs(cell), study.by_width(cell).values()
    numbers, feeding = study.feeding(0)
    if cell.factor is not None:
        trained = [(one, (cell.factor,), (cell.factor,), 1 / len(networks)) for one in networks]
    else:
        prior = study.prior
        buckets = [bucket for bucket in study.buckets if bucket.high <= prior.high + 1e-9]
        factors_of = study.factors_of(cell)
        drawn = [(factors_of.beside(b.high), prior.cumulative(b.high) - prior.cumulative(b.low)) for b in buckets]
        trained = [(programs, tuple(map(programs.bucket, factors)), factors, share) for factors, share in drawn]
    supply, indices = study.supply(feeding.pop("examples", None), **feeding), numbers(0)
    step = sum(
        share * one.step_seconds(where, *supply(one.batch(factors, indices))) for one, where, factors, share in trained
    )
    compiling = sum(one.compile_seconds["step", where] for one, where, _, _ in trained)
    return {
        "compile_seconds": compiling,
        "programs": len(trained),
        "step_seconds": step,
        "train_seconds": compiling + study.steps(cell) * step,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(programs.start(jax.random.key(0), 0.0, 1).params)),
    }
