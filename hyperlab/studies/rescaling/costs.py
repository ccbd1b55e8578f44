"""What the networks of the study cost: to run, at every factor, and to train."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab import pareto
from hyperlab.studies.rescaling.arms import ARMS
from hyperlab.studies.rescaling.units import Units
from hyperlab.train import compiler
from hyperlab.train.units import Measurements

INFERENCE, TRAINING = "inference", "cost"


def measure(units: Units) -> None:
    """Measures all costs, alone on the machine: before anything is trained, one after the other."""
    config = units.config
    widths = {job.width for name in config.arms for job in ARMS[name].jobs(config)}
    for width in sorted(widths):
        units.files.measure(f"{INFERENCE}/{width:g}", lambda width=width: inference(units, width))
    for name in config.arms:
        for job in ARMS[name].jobs(config):
            units.files.measure(
                f"{TRAINING}/{name}/{job.name}",
                lambda name=name, job=job: training(units, name, job),
                further={"factor": job.factor, "width": job.width},
            )


def inference(units: Units, width: float) -> Measurements:
    """Costs of the primary on one image at every factor of the study; latency at those that are compared.

    Every arm runs this very network in the end (FiLM scales and shifts its features beside), with the exact sizes of
    the factor: where its parameters came from makes no difference.
    """
    config, primary = units.config, units.primary(width)
    images = jnp.zeros((1, *units.splits.image_shape))
    variables = jax.jit(primary.init, compiler_options=compiler.options_once())(jax.random.key(0), images)
    trial = units.trial(ARMS["fixed"], next(iter(ARMS["fixed"].jobs(config))))
    factors = sorted({*config.factors, *config.front, *config.outside})
    rows: dict[str, list[float]] = {"rescaling_factor": factors}
    for factor in factors:
        sizes = trial.sizes(factor)

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


def training(units: Units, arm_name: str, job: Any) -> Measurements:
    """What training one network costs: seconds of compilation, and of a step, alone on the machine.

    For a network of the prior the step is the mean over its buckets, each with its share of the draws.
    """
    arm, trial = ARMS[arm_name], units.trial(ARMS[arm_name], job)
    indices = np.arange(units.config.batch_size, dtype=np.int32) % len(units.splits.train)
    if job.factor is not None:
        wheres = [(job.factor, job.factor, 1.0)]
    else:
        prior = units.prior
        trained = [bucket for bucket in units.buckets if bucket.high <= prior.high + 1e-9]
        wheres = [(b, b.high, prior.cumulative(b.high) - prior.cumulative(b.low)) for b in trained]
    step = sum(
        share * trial.step_seconds(where, units.examples, trial.batch(factor, indices))
        for where, factor, share in wheres
    )
    compiling = sum(trial.compile_seconds["step", where] for where, _, _ in wheres)
    return {
        "compile_seconds": compiling,
        "programs": len(wheres),
        "step_seconds": step,
        "train_seconds": compiling + units.steps(arm) * step,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(trial.start(jax.random.key(0), 0.0).params)),
    }
