"""Are a hypernetwork's weights proportional to its input, does that slow training, and what removes it?

    python -m experiments.stability                                     # digits, under three minutes on two cores
    python -m experiments.stability --config configs/stability/mnist.py --config.data.root=DIR

A Bayesian hypernetwork classifier is trained in arms that differ in how theta comes from gamma: no hypernetwork,
default (raw gamma, theta = h), encoding only, additive only, both (MIP), controls, and normalisation inside the
default. Learning rate and initialiser are chosen on tuning seeds and the validation split, with the same grid for
every arm; what is reported comes from fresh seeds and the test split. The report says what came out, either way.
"""

import json

import ml_collections
import numpy as np

from hyperlab import launch
from hyperlab.data import load
from hyperlab.errors import ConfigError, nearest
from hyperlab.stability import ARMS, PRIMARIES, REPORT, TUNE, Run, Units, total_steps
from hyperlab.train import config as configs
from hyperlab.train import tuning
from hyperlab.train.progress import Progress
from hyperlab.train.run_folder import write_atomically
from hyperlab.train.tensorboard import TensorBoard
from hyperlab.train.writers import JsonLines, MultiWriter

FIRST_REPORT_SEED = 100  # fresh seeds: tuning seeds count from 0


def get_config() -> ml_collections.ConfigDict:
    """The embedded default: scikit-learn's digits, SGD with momentum, the arms of the comparison."""
    config = ml_collections.ConfigDict()
    config.study = "stability"
    config.seed = 0
    config.data = {"name": "digits", "root": "", "split_seed": 0, "limit": 0}
    config.primary = {"kind": "mlp", "widths": (64, 64)}
    config.hypernet = {"hidden": (16, 64, 128), "activation": "leaky_relu", "scale_by_dimension": False}
    config.gamma = {"dim": 1, "prior": "uniform", "low": 0.0, "high": 1.0}
    # The comparison, the control for theta0, and one normalisation; configs/stability/digits.py has every arm.
    config.arms = ("plain", "default", "encoding", "additive", "mip", "zero_bias", "layer_norm_after")
    # Named before running: the whole, then theta0 without the encoding, then what the encoding adds.
    config.contrasts = ("mip - default", "additive - default", "mip - additive")
    config.optimizers = ("sgd",)
    config.rates = {"sgd": (0.003, 0.01, 0.03, 0.1, 0.3), "adam": (0.0003, 0.001, 0.003, 0.01, 0.03)}
    config.tuning_seeds = 2
    config.widenings = 2
    config.report_seeds = 10
    config.train_length = "120 steps"  # or "5 epochs", "10000 examples"
    config.batch_size = 64
    config.evaluate_every = 5  # steps
    config.steps_per_call = 40  # of the compiled program: a stop, a checkpoint and the probes wait for its end
    config.checkpoint_every = 0  # steps; 0 repeats a run that was cut off, which is cheap for short ones
    config.samples = 8
    config.curve_examples = 1000
    config.target_accuracy = 0.9
    config.workers = 0  # arms in work at the same time; 0: one for each of at most four cores on CPU, else 1
    config.runs_per_program = 0  # 1 on CPU, more side by side on accelerators (benchmarks/vectorised_runs.py)
    return config


def run(config: ml_collections.ConfigDict, folder, stop) -> None:
    """Runs the study in a run folder: tunes every arm, then reads the test split. A stopped study continues."""
    splits = _load(config)
    folder.check_fingerprint(config.data.name, splits.fingerprint)
    writer = MultiWriter([JsonLines(folder.metrics_path), TensorBoard(folder.path)])
    writer.truncate_after(-1)  # rows of finished units are written again, from their files
    writer.hparams(configs.flat(config))
    with Progress(_planned(config, splits), "stability", unit="run-step") as progress:
        units = Units(config, splits, folder, progress, stop)
        chosen = _tune(units)
        if chosen is None:
            return
        # On disk before the test split is read for the first time.
        write_atomically(folder.path / "choices.json", json.dumps(chosen, indent=1) + "\n")
        complete = _report(units, chosen, writer)
    folder.note(runs_measured_on_the_test_split=units.test_reads)
    writer.close()
    if complete:
        from hyperlab.report import stability

        stability.write(folder.path)


def _tune(units: Units) -> dict[str, dict] | None:
    """The variant and learning rate of each arm, from tuning seeds and the validation split; None after a stop."""
    names = [f"{optimizer}/{arm}" for optimizer in units.config.optimizers for arm in units.config.arms]
    choices = units.in_parallel(lambda name: _tune_arm(units, *name.split("/")), names)
    return None if None in choices else dict(zip(names, choices, strict=True))


def _tune_arm(units: Units, optimizer: str, name: str) -> dict | None:
    config, variants = units.config, ARMS[name].variants()

    def measure(index: int, pairs: list[tuple[float, int]]) -> np.ndarray | None:
        rates = "_".join(f"{rate:.3g}" for rate in sorted({rate for rate, _ in pairs}))
        unit = f"{optimizer}/{name}/{TUNE}/{variants[index].initializer}/{rates}"
        result = units.measure(unit, variants[index], optimizer, [Run(*pair) for pair in pairs], TUNE)
        # Mean accuracy along the run: it rewards speed as well as the end, and every run has one.
        return None if result is None else result["curve/accuracy"].mean(1)

    rates, seeds = config.rates[optimizer], range(config.tuning_seeds)
    choice = tuning.choose(len(variants), rates, seeds, measure, widenings=config.widenings)
    if choice is None:
        return None
    variant = variants[choice.variant]
    return {
        "label": variant.label,
        "definition": variant.definition(),
        "variant": choice.variant,
        "initializer": variant.initializer,
        "learning_rate": choice.rate * variant.rate_factor,
        "trials": choice.trials,
        "at_edge": choice.at_edge,
        "tuning": [
            {"initializer": variants[s.variant].initializer, "learning_rate": s.rate, "score": s.score}
            for s in choice.scores
        ],
    }


def _report(units: Units, chosen: dict[str, dict], writer: MultiWriter) -> bool:
    """Runs each arm as it was chosen on fresh seeds, measured on the test split; False after a stop."""
    seeds = range(FIRST_REPORT_SEED, FIRST_REPORT_SEED + units.config.report_seeds)

    def measure(name: str):
        optimizer, arm = name.split("/")
        variant = ARMS[arm].variants()[chosen[name]["variant"]]
        runs = [Run(chosen[name]["learning_rate"], seed) for seed in seeds]
        return units.measure(f"{name}/{REPORT}", variant, optimizer, runs, REPORT)

    for name, result in zip(chosen, units.in_parallel(measure, chosen), strict=True):
        if result is None:
            return False
        for index, accuracy in enumerate(np.median(result["curve/accuracy"], 0)):
            writer.scalars(index * units.config.evaluate_every, {"accuracy": accuracy}, split=f"{name}/test")
        for step, norm in enumerate(np.median(result["curve/gradient_theta"], 0)):
            writer.scalars(step, {"gradient_norm": norm}, split=f"{name}/train")
    return True


def _load(config: ml_collections.ConfigDict):
    """The data of a config that was checked; both are refused before anything is compiled."""
    for name in config.arms:
        if name not in ARMS:
            raise ConfigError(f"arms: unknown arm {name!r}; {nearest(name, ARMS)}")
    for name in config.optimizers:
        if name not in config.rates:
            raise ConfigError(f"optimizers: no rates for {name!r}; {nearest(name, config.rates)}")
    for contrast in config.contrasts:
        for name in contrast.split(" - "):
            if name not in config.arms:
                raise ConfigError(f"contrasts: {contrast!r} names {name!r}; {nearest(name, config.arms)}")
    if config.primary.kind not in PRIMARIES:
        raise ConfigError(f"primary.kind: {config.primary.kind!r}; {nearest(config.primary.kind, PRIMARIES)}")
    if config.gamma.prior not in ("uniform", "normal"):
        raise ConfigError(f"gamma.prior is {config.gamma.prior!r}; valid: 'normal', 'uniform'")
    if not config.gamma.low < config.gamma.high:
        raise ConfigError(f"gamma.low ({config.gamma.low}) must be below gamma.high ({config.gamma.high})")
    data = config.data
    splits = load(data.name, data.root or None, split_seed=data.split_seed, limit=data.limit or None)
    steps, call = total_steps(config, splits), config.steps_per_call
    if steps % call or call % config.evaluate_every or config.checkpoint_every % call:
        raise ConfigError(
            f"evaluate_every ({config.evaluate_every}) must divide steps_per_call ({call}), which must divide "
            f"train_length ({steps} steps) and checkpoint_every ({config.checkpoint_every})"
        )
    return splits


def _planned(config: ml_collections.ConfigDict, splits) -> int:
    """Run-steps of the whole study, unless a grid is widened."""
    runs = sum(
        len(ARMS[name].initializers) * len(config.rates[optimizer]) * config.tuning_seeds + config.report_seeds
        for optimizer in config.optimizers
        for name in config.arms
    )
    return runs * total_steps(config, splits)


if __name__ == "__main__":
    launch.main("experiments.stability")
