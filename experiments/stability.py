"""Are a hypernetwork's weights proportional to its input, does that slow training, and what removes it?

    python -m experiments.stability                                     # digits, under three minutes on two cores
    python -m experiments.stability --config configs/stability/mnist.py --config.data.root=DIR

A Bayesian hypernetwork classifier is trained in arms that differ in how theta comes from gamma: no hypernetwork,
default (raw gamma, theta = h), encoding only, additive only, both (MIP), controls, and normalisation inside the
default. Two more tasks are asked the same: segmentation at any rescaling factor and registration at any weight of the
smoothness (configs/stability/rescaling.py and registration.py). Learning rate and initialiser are chosen on tuning
seeds and the validation split, with the same grid for every arm; what is reported comes from fresh seeds and the test
split. The report says what came out, either way.
"""

import ml_collections
import numpy as np

from hyperlab import launch
from hyperlab.data.labelled_pixels import optional_keys
from hyperlab.errors import ConfigError
from hyperlab.studies import conducted as study
from hyperlab.studies import tuning
from hyperlab.studies.stability import ARMS, Run, Task, Units, tasks, total_steps
from hyperlab.studies.stability.schema import SCHEMA, check, check_files, check_lengths
from hyperlab.train.phases import REPORT, TUNE
from hyperlab.train.writers import MultiWriter

__all__ = ["OPTIONAL", "SCHEMA", "check", "check_files", "get_config", "run"]  # what `launch` asks of a study

OPTIONAL = optional_keys("rescaling.data")


def get_config() -> ml_collections.ConfigDict:
    """The embedded default: scikit-learn's digits, SGD with momentum, the arms of the comparison."""
    config = ml_collections.ConfigDict()
    config.study = "stability"
    config.seed = 0
    config.task = "classification"  # or "rescaling", "registration", whose data and networks are described below
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
    config.samples = 8  # gammas that networks are scored at
    config.curve_examples = 1000
    config.target_score = 0.9
    config.rescaling = _rescaling()
    config.registration = _registration()
    config.workers = 0  # arms in work at the same time; 0: one for each of at most four cores on CPU, else 1
    config.runs_per_program = 0  # 1 on CPU, more side by side on accelerators (benchmarks/vectorised_runs.py)
    return config


def _rescaling() -> dict:
    """Segmentation by a U-Net at the factor gamma; `gamma.high` of 0.5 is the published range."""
    data = {"name": "shapes", "root": "", "split_seed": 0, "limit": 0, "size": (32, 32)}
    data |= {"count": 200, "difficulty": 0.1}  # of the shapes
    return {"data": data, "widths": (8, 8, 8), "convs_per_block": 1}


def _registration() -> dict:
    """Registration by a VoxelMorph at the weight gamma; the keys are those of experiments/registration.py."""
    data = {"name": "synthetic", "root": "", "task": "warps", "size": (32, 32), "downsample": 1, "subjects": 64}
    data |= {"partners": 1, "warps_per_image": 2, "amplitude": 2.0, "smoothness": 5.0, "noise": 0.05, "seed": 0}
    network = {"encoder": (8, 16), "decoder": (16, 16, 8), "integration_steps": 5, "field_downsize": 2}
    loss = {"similarity": "mse", "sigma": 0.05, "window": 9, "smoothness": "gradient"}
    return {"data": data, "network": network, "loss": loss}


def run(config: ml_collections.ConfigDict, folder, stop) -> None:
    """Runs the study in a run folder: tunes every arm, then reads the test split. A stopped study continues."""
    task = _load(config)
    study.conduct(
        config,
        folder,
        data=(task.name, task.fingerprint),
        units=lambda progress: Units(config, task, folder, progress, stop),
        planned=lambda units: _planned(config, task),
        tune=_tune,
        report=_report,
        finish=_finish,
        counted="run-step",
    )


def _tune(units: Units) -> dict[str, dict] | None:
    """The variant and learning rate of each arm, from tuning seeds and the validation split; None after a stop."""
    study.write_json(units.folder, "task.json", units.task.wording._asdict())
    names = [f"{optimizer}/{arm}" for optimizer in units.config.optimizers for arm in units.config.arms]
    choices = units.in_parallel(lambda name: _tune_arm(units, *name.split("/")), names)
    return None if None in choices else dict(zip(names, choices, strict=True))


def _tune_arm(units: Units, optimizer: str, name: str) -> dict | None:
    config, variants = units.config, ARMS[name].variants()

    def measure(index: int, pairs: list[tuple[float, int]]) -> np.ndarray | None:
        rates = "_".join(f"{rate:.3g}" for rate in sorted({rate for rate, _ in pairs}))
        unit = f"{optimizer}/{name}/{TUNE}/{variants[index].initializer}/{rates}"
        result = units.measure(unit, variants[index], optimizer, [Run(*pair) for pair in pairs], TUNE)
        # Mean score along the run: it rewards speed as well as the end, and every run has one.
        return None if result is None else result["curve/score"].mean(1)

    rates = config.rates[optimizer]
    choice = tuning.choose(len(variants), rates, units.tuning_seeds, measure, widenings=config.widenings)
    if choice is None:
        return None
    variant = variants[choice.variant]
    return choice.record([one.initializer for one in variants]) | {
        "label": variant.label,
        "definition": variant.definition(),
        "learning_rate": choice.rate * variant.rate_factor,
    }


def _report(units: Units, chosen: dict[str, dict], writer: MultiWriter) -> bool:
    """Runs each arm as it was chosen on fresh seeds, measured on the test split; False after a stop."""

    def measure(name: str):
        optimizer, arm = name.split("/")
        variant = ARMS[arm].variants()[chosen[name]["variant"]]
        runs = [Run(chosen[name]["learning_rate"], seed) for seed in units.report_seeds]
        return units.measure(f"{name}/{REPORT}", variant, optimizer, runs, REPORT)

    for name, result in zip(chosen, units.in_parallel(measure, chosen), strict=True):
        if result is None:
            return False
        for index, score in enumerate(np.median(result["curve/score"], 0)):
            shown = {units.task.wording.score.lower(): score}
            writer.scalars(index * units.config.evaluate_every, shown, split=f"{name}/test")
        for step, norm in enumerate(np.median(result["curve/gradient_theta"], 0)):
            writer.scalars(step, {"gradient_norm": norm}, split=f"{name}/train")
    return True


def _finish(units: Units, chosen: dict[str, dict], writer: MultiWriter) -> None:
    from hyperlab.studies.stability import page as stability

    stability.write(units.folder.path)


def _load(config: ml_collections.ConfigDict) -> Task:
    """The task of a config, with its data; what the two cannot give each other is an error before any compilation."""
    check(config)
    task = tasks.load(config)
    for name in config.arms:
        if ARMS[name].per_sample and not task.per_sample:
            raise ConfigError(f"arms: {name!r} has one gamma per sample, which {config.task} cannot have in a batch")
    check_lengths(config, total_steps(config, task))
    return task


def _planned(config: ml_collections.ConfigDict, task: Task) -> int:
    """Run-steps of the whole study, unless a grid is widened."""
    runs = sum(
        len(ARMS[name].initializers) * len(config.rates[optimizer]) * config.tuning_seeds + config.report_seeds
        for optimizer in config.optimizers
        for name in config.arms
    )
    return runs * total_steps(config, task)


if __name__ == "__main__":
    launch.main("experiments.stability")
