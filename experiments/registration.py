"""Does one HyperMorph do what a separate VoxelMorph does at every regularisation weight, and what does it cost?

    python -m experiments.registration                                # synthetic pairs, no download
    python -m experiments.registration --config configs/registration/brain.py --config.data.root=DIR

A hypernetwork generates a VoxelMorph from the regularisation weight, in arms that differ in how (the published default,
MIP); beside it one ordinary VoxelMorph is trained for each weight, and every pair is registered on its own by gradient
descent. Learning rates and initialisers are chosen on tuning seeds and the validation split, with the same number of
trials; what is reported comes from fresh seeds and the test split. The report says what came out, either way.
"""

import ml_collections
import numpy as np

from hyperlab import launch
from hyperlab.registration import load
from hyperlab.studies import conducted as study
from hyperlab.studies.registration import ARMS, Units, total_steps, tune
from hyperlab.studies.registration.schema import SCHEMA, check, check_files, check_lengths
from hyperlab.train.phases import REPORT
from hyperlab.train.writers import MultiWriter

__all__ = ["SCHEMA", "check", "check_files", "get_config", "run"]  # what `launch` asks of a study


def get_config() -> ml_collections.ConfigDict:
    """The embedded default: synthetic shapes and known warps, small networks."""
    config = ml_collections.ConfigDict()
    config.study = "registration"
    config.seed = 0
    config.data = {
        "name": "synthetic",
        "root": "",
        "task": "warps",  # or "subjects": pairs of different subjects
        "size": (48, 48),
        "downsample": 1,
        "subjects": 64,  # 0: all
        "partners": 1,  # held-out moving images for each fixed one
        "warps_per_image": 2,
        "amplitude": 2.5,  # voxels, root mean square of a known warp's velocity
        "smoothness": 6.0,  # voxels
        "noise": 0.05,
        "seed": 0,  # of the split and the warps: no part of a run's seed
    }
    config.network = {"encoder": (8, 16, 16), "decoder": (16, 16, 16, 8), "integration_steps": 5, "field_downsize": 2}
    config.hypernet = {"hidden": (16, 32), "activation": "leaky_relu"}
    config.loss = {"similarity": "mse", "sigma": 0.05, "window": 9, "smoothness": "gradient"}
    config.weights = (0.1, 0.5, 0.9)  # of the separate networks; below 1
    config.curve_weights = (0.0, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.95, 0.99, 1.0)  # HyperMorphs are measured there too
    config.weight_per_pair = False  # a weight, and so a network, for each pair of a batch instead of for the batch
    config.arms = ("separate", "default", "mip", "mip_long")
    # Named before running; Dice at the weight that each arm chose on validation, and the loss over all weights.
    config.contrasts = ("mip - separate", "mip_long - separate", "mip - default")
    config.initializers = ("fan_in", "scale_matched")  # of the default arm; configs/registration has all four
    config.optimizer = "adam"
    config.rates = (0.001, 0.003)
    config.tuning_seeds = 1
    config.widenings = 1
    config.report_seeds = 3
    config.train_length = "400 steps"
    config.batch_size = 2
    config.steps_per_call = 50
    config.evaluation_batch = 16
    config.pairwise = {"steps": 60, "rates": (0.1, 0.3)}  # every pair on its own; rates in voxels a step
    return config


def run(config: ml_collections.ConfigDict, folder, stop) -> None:
    """Runs the study in a run folder: tunes every arm, then reads the test split. A stopped study continues."""
    data = _load(config)
    described = {"classes": data.classes, "notes": data.notes, "name": data.name}
    study.conduct(
        config,
        folder,
        data=(config.data.name, data.fingerprint),
        units=lambda progress: Units(config, data, folder, progress, stop),
        planned=lambda units: _planned(config, data),
        tune=lambda units: (chosen := tune(units)) and {"data": described, "arms": chosen},
        report=lambda units, chosen, writer: _report(units, chosen["arms"], writer),
        finish=_finish,
    )


def _report(units: Units, chosen: dict[str, dict], writer: MultiWriter) -> bool:
    """Trains each arm as it was chosen on fresh seeds, measured on the test split; False after a stop."""
    config = units.config
    if units.identity(REPORT) is None:
        return False
    if units.optimize(f"pairwise/{REPORT}", chosen["pairwise"]["learning_rate"], REPORT) is None:
        return False
    for name in config.arms:
        variant, rate = ARMS[name].variants(config.initializers)[chosen[name]["variant"]], chosen[name]["learning_rate"]
        runs = [(None, rate)] if ARMS[name].hypernetwork else list(zip(config.weights, rate, strict=True))
        for seed in units.report_seeds:
            for weight, rate in runs:
                unit = f"{name}/{REPORT}/{seed}" if weight is None else f"{name}/{weight:g}/{REPORT}/{seed}"
                result = units.train(unit, variant, rate, seed, REPORT, weight)
                if result is None:
                    return False
                _write(writer, unit, config, result)
    return True


def _finish(units: Units, chosen: dict, writer: MultiWriter) -> None:
    from hyperlab.studies.registration import page as registration

    registration.write(units.folder.path)


def _write(writer: MultiWriter, unit: str, config, result: dict[str, np.ndarray]) -> None:
    for index, loss in enumerate(result["loss"]):
        writer.scalars(index * config.steps_per_call, {"loss": float(loss)}, split=unit)
    if "example/moved" not in result:
        return
    fixed, moving = result["example/fixed"], result["example/moving"]
    writer.images(0, {"input": moving, "truth": fixed}, split=unit)
    for weight, moved in zip(result["weight"], result["example/moved"], strict=True):
        images = {f"prediction_{weight:g}": moved, f"error_{weight:g}": np.abs(moved - fixed)}
        writer.images(len(result["loss"]) * config.steps_per_call, images, split=unit)


def _load(config: ml_collections.ConfigDict):
    """The data of a config; what the two cannot give each other is refused before anything is compiled."""
    check(config)
    study = load(config.data)
    check_lengths(config, total_steps(config, study))
    return study


def _planned(config: ml_collections.ConfigDict, study) -> int:
    """Training steps of the whole study, unless a grid is widened."""
    total = 0
    for arm in (ARMS[name] for name in config.arms):
        networks = 1 if arm.hypernetwork else len(config.weights)
        trials = len(arm.variants(config.initializers)) * len(config.rates) * config.tuning_seeds
        tuned = config.tuning_seeds if arm.tuned_as in config.arms else trials
        total += networks * (tuned + config.report_seeds) * arm.length_factor
    return total * total_steps(config, study)


if __name__ == "__main__":
    launch.main("experiments.registration")
