"""One hypernetwork for every rescaling factor: as accurate as a network for each, and at what cost?

    python -m experiments.rescaling                                      # procedural shapes, three to four minutes
    python -m experiments.rescaling --config configs/rescaling/wbc.py --config.data.root=DIR

A U-Net whose down-samplings all scale by phi is trained in arms that differ in where its parameters come from: a
network for each phi (Fixed), one set of parameters for all (Stochastic), one set with its features modulated by phi
(FiLM), parameters generated from phi (SSHN), and controls. Learning rates are chosen on tuning seeds and the validation
split, with the same grid for every arm; what is reported comes from fresh seeds and the test split.
"""

import ml_collections

from hyperlab import launch
from hyperlab.studies.base import run_study
from hyperlab.studies.rescaling.schema import OPTIONAL, SCHEMA, check, check_files
from hyperlab.studies.rescaling.study import Rescaling

__all__ = ["OPTIONAL", "SCHEMA", "check", "check_files", "get_config", "run", "write_page"]  # what `launch` asks for

write_page = Rescaling.write_page


def get_config() -> ml_collections.ConfigDict:
    """The embedded default: procedural shapes, the four arms of the paper, a front of nine factors."""
    config = ml_collections.ConfigDict()
    config.study = "rescaling"
    config.seed = 0
    config.data = {"name": "shapes", "root": "", "split_seed": 0, "limit": 0, "size": (48, 48)}
    config.data.update({"count": 200, "difficulty": 0.05})  # of the shapes: Fixed reaches a Dice of about .8
    config.primary = {"widths": (8, 8, 8, 8), "convs_per_block": 2, "normalization": ""}
    config.primary.update({"activation": "leaky_relu", "skip": "concat"})
    config.hypernet = {"hidden": (16, 64, 96), "activation": "leaky_relu"}
    config.prior = {"kind": "uniform", "low": 0.05, "high": 0.5}
    config.rescale_input = True  # whether the images are resized too, by phi / prior.high; then prior.low is above 0
    config.axes = ()  # powers of phi, one for each axis of the images; (): 1 for all
    config.factors = (0.1, 0.3, 0.5)  # compared: Fixed has a network for each, Dice is averaged over them
    config.front = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)  # networks of the prior are measured at all
    config.outside = (0.6, 0.75, 1.0)
    config.widths = (0.25, 0.5, 0.75)  # of the arm `width`
    config.arms = ("fixed", "stochastic", "film", "sshn")
    # Named before running; the metric is test Dice, mean over the compared factors.
    config.contrasts = ("sshn - fixed", "sshn - stochastic")
    config.margin = 0.01  # of non-inferiority, in Dice
    config.optimizer = {"name": "adam", "schedule": "cosine", "warmup": 0.1, "clip": 1.0}  # of all arms
    config.rates = (0.003, 0.01, 0.03)
    config.tuning_seeds = 2
    config.widenings = 1
    config.report_seeds = 3
    config.train_length = "200 steps"  # or "20 epochs", "10000 examples"
    config.batch_size = 8
    config.curve_points = 4
    config.curve_examples = 32
    config.evaluation_batch = 20
    config.surface_tolerance = 1.0  # of the normalised surface Dice: mm where the spacing is known, else pixels
    config.programs = 2  # compiled for the prior, one for each bucket of factors
    config.keep_networks = 1  # trained parameters are kept for so many of the first report seeds
    config.tolerance = 0.01  # Dice that `select` may give away
    config.workers = 0  # networks in work at the same time; 0: one for each of at most four cores on CPU, else 1
    return config


def run(config: ml_collections.ConfigDict, folder, stop) -> None:
    """Runs the study in a run folder: costs, tuning, then fresh seeds. A stopped study continues."""
    run_study(Rescaling, config, folder, stop)


if __name__ == "__main__":
    launch.main("experiments.rescaling")
