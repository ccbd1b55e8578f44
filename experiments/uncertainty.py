"""Uncertainty of segmentations: does a network know where it is wrong, and does dropping whole channels help it know?

    python -m experiments.uncertainty                                    # procedural microscopy, under three minutes
    python -m experiments.uncertainty --config configs/uncertainty/nuclei.py --config.data.root=DIR

One U-Net, trained without dropout, with dropout of single activations, with dropout of whole channels at several rates,
and as a deep ensemble; with parameters generated from a latent; and Tyche, which draws candidates from noise and
examples (configs/uncertainty/compared.py). Beside them Otsu's threshold and a logistic classifier of pixels. Learning
rates and dropout rates are chosen by the likelihood of the validation split on tuning seeds, with as many trials for
every arm. Fresh seeds are scored on the test split and on graded shifts away from it, and every map of uncertainty
stands beside what needs none: the entropy of one pass, the distance to the predicted boundary, the mean intensity.
"""

import ml_collections

from hyperlab import launch
from hyperlab.data.labelled_pixels import optional_keys
from hyperlab.studies.base import run_study
from hyperlab.studies.uncertainty.schema import SCHEMA, check, check_files
from hyperlab.studies.uncertainty.study import Uncertainty

__all__ = ["OPTIONAL", "SCHEMA", "check", "check_files", "get_config", "run", "write_page"]  # what `launch` asks for

OPTIONAL = optional_keys()
write_page = Uncertainty.write_page


def get_config() -> ml_collections.ConfigDict:
    """The embedded default: procedural microscopy of parasites."""
    config = ml_collections.ConfigDict()
    config.study = "uncertainty"
    config.seed = 0
    config.data = {"name": "parasites", "root": "", "split_seed": 0, "size": (32, 32), "kind": "", "limit": {}}
    config.data.update({"count": 200, "difficulty": 0.3})  # of procedural images
    # Test images moved away from the domain, by severity; of procedural ones borders of known width, in pixels; other
    # kinds of image, which are shown and never scored.
    config.data.update({"shifts": ("size", "blur", "intensity"), "severities": (2, 4)})
    config.data.update({"borders": (), "other_kinds": ()})
    config.network = {"widths": (8, 16, 16), "normalization": "group", "convs_per_block": 2}
    config.arms = ("none", "element", "spatial", "ensemble")
    config.dropout_rates = (0.1, 0.3)  # the curve of every arm that drops
    config.train_shares = (1.0,)  # of the training images; smaller ones at the chosen dropout rate
    config.members = 3  # of the deep ensemble
    # Arms of other networks; Tyche's widths are its own, its support the labelled training images beside each image.
    config.bayesian = {"latent": 4, "hidden": (16, 64), "encoding": "cos_sin"}
    config.tyche = {"widths": (8, 16, 16), "support": 4, "candidates": 4}
    config.noise = {"smoothness": 2.0}  # pixels, of the uninformative baseline
    config.draws = (5, 10, 20)  # the last stands for an arm
    config.tuning_draws = 5
    # Named before running; higher is better in each. `error_detection` is the AUROC of the map in a band round the
    # predicted boundary, `independence` 1 - the mean |correlation| between feature maps.
    config.contrasts = ("dice: spatial - none", "error_detection: spatial - element", "independence: spatial - none")
    config.judging = {"band": 3.0, "map": "epistemic", "score": "foreground", "target": 0.9, "bins": 15}
    config.judging.update({"removed": 0.2, "shown": 4})
    config.optimizer = {"name": "adam", "weight_decay": 0.0, "schedule": "", "warmup": 0.0, "clip": 0.0}
    config.augment = False  # mirror, turn, scale, change the intensity at random
    config.rates = (0.003, 0.01)  # learning rates; arms without dropout try as many in the same range
    config.tuning_seeds = 1
    config.widenings = 1  # where the best rate is at the edge of its grid
    config.report_seeds = 5
    config.train_length = "150 steps"
    config.tuning_length = "100 steps"
    config.batch_size = 8
    config.evaluation_batch = 20
    config.chunk = 1  # draws computed at once
    config.workers = 0  # networks in work at the same time; 0: one for each of at most four cores on CPU, else 1
    return config


def run(config: ml_collections.ConfigDict, folder, stop) -> None:
    """Runs the study in a run folder: tuning, then fresh seeds. A stopped study continues."""
    run_study(Uncertainty, config, folder, stop)


if __name__ == "__main__":
    launch.main("experiments.uncertainty")
