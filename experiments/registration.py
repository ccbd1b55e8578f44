"""Does one HyperMorph do what a separate VoxelMorph does at every regularisation weight, and what does it cost?

    python -m experiments.registration                                # synthetic pairs, no download
    python -m experiments.registration --config configs/registration/brain.py --config.data.root=DIR

A hypernetwork generates a VoxelMorph from the regularisation weight, in arms that differ in how (the published default,
MIP); beside it one ordinary VoxelMorph is trained for each weight, and every pair is registered on its own by gradient
descent. Learning rates and initialisers are chosen on tuning seeds and the validation split, with the same number of
trials; what is reported comes from fresh seeds and the test split. The report says what came out, either way.
"""

import ml_collections

from hyperlab import launch
from hyperlab.studies.base import run_study
from hyperlab.studies.registration.schema import SCHEMA, check, check_files
from hyperlab.studies.registration.study import Registration

__all__ = ["SCHEMA", "check", "check_files", "get_config", "run", "write_page"]  # what `launch` asks for

write_page = Registration.write_page


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
    config.optimizer = {"name": "adam", "schedule": "cosine", "warmup": 0.1, "clip": 1.0}  # of all arms
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
    run_study(Registration, config, folder, stop)


if __name__ == "__main__":
    launch.main("experiments.registration")
