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

from hyperlab import launch
from hyperlab.data.labelled_pixels import optional_keys
from hyperlab.studies.base import run_study
from hyperlab.studies.stability.map import Map
from hyperlab.studies.stability.schema import SCHEMA, check, check_files
from hyperlab.studies.stability.study import Stability
from hyperlab.studies.stability.transfer import Transfer

__all__ = ["OPTIONAL", "SCHEMA", "check", "check_files", "get_config", "run", "write_page"]  # what `launch` asks for

OPTIONAL = optional_keys("rescaling.data")
write_page = Stability.write_page


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
    config.optimizer = {"schedule": "", "warmup": 0.0, "clip": 0.0}  # of both
    config.rates = {"sgd": (0.003, 0.01, 0.03, 0.1, 0.3), "adam": (0.0003, 0.001, 0.003, 0.01, 0.03)}
    config.tuning_seeds = 2
    config.widenings = 2
    config.report_seeds = 10
    config.train_length = "120 steps"  # or "5 epochs", "10000 examples"
    config.batch_size = 64
    config.evaluate_every = 5  # steps
    config.steps_per_call = 40  # of the compiled program: a stop, a checkpoint and the probes wait for its end
    config.map = {"laws": (), "primaries": ("mlp", "conv")}  # with laws: configs/stability/map.py
    config.transfer = {"widths": (), "depths": (2,)}  # with widths: configs/stability/transfer.py
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
    """Runs the study in a run folder: tunes every arm, then reads the test split. A stopped study continues.

    With `map.laws` it is the map of the study, with `transfer.widths` its study of transfer; neither tunes.
    """
    kind = Transfer if config.transfer.widths else Map if config.map.laws else Stability
    run_study(kind, config, folder, stop)


if __name__ == "__main__":
    launch.main("experiments.stability")
