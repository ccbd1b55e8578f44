"""Several answers instead of one: does Tyche beat a deterministic network under noise of the same diversity?

    python -m experiments.stochastic                                     # ambiguous shapes, about three minutes
    python -m experiments.stochastic --config configs/stochastic/chasedb1.py --config.data.store=STORE

Networks are trained on tasks with several annotators, one drawn at each step, and answer for held-out tasks with
several candidate masks. The control is UniverSeg with smooth random noise, as diverse as Tyche's candidates are on
development tasks: the best of its candidates improves with their number, too. Further arms: UniverSeg with other
support sets or changed grey values for each candidate, and for each task a U-Net with dropout and an ensemble of
U-Nets. Learning rates are chosen on development tasks with tuning seeds, with the same grid for every network; what is
reported comes from fresh seeds and from tasks that no choice has seen.
"""

import ml_collections

from hyperlab import launch
from hyperlab.studies.base import run_study
from hyperlab.studies.stochastic import families
from hyperlab.studies.stochastic.schema import SCHEMA, check, check_files
from hyperlab.studies.stochastic.study import Stochastic

__all__ = ["SCHEMA", "check", "check_files", "get_config", "run", "write_page"]  # what `launch` asks of a study

write_page = Stochastic.write_page


def get_config() -> ml_collections.ConfigDict:
    """The embedded default: families of ambiguous shapes and synthetic tasks, a stretched family held out."""
    config = ml_collections.ConfigDict()
    config.study = "stochastic"
    config.seed = 0
    config.data = {"store": "", "size": (32, 32), "split_seed": 0, "queries": 60}
    config.data.update({"development": (families.DEVELOPMENT,), "held_out": (families.HELD_OUT,)})  # data sets, whole
    config.network = {"widths": (8, 8, 8), "unet_widths": (8, 8, 8), "dropout": 0.2}
    config.augmentation = "documented"  # or "faithful", to the published code's quirks too
    config.task_augmentation = False  # new tasks from those that there are: takes longer training than this default
    config.support_size = 8  # that held-out tasks are measured with
    config.train_support = 4
    config.candidates = (1, 2, 4, 8)  # that held-out tasks are measured with
    config.train_candidates = 4
    config.smoothness = (1.0, 2.0, 4.0)  # pixels, of the control's noise; chosen on development tasks
    config.draws = 2  # support sets
    config.arms = (
        "tyche",
        "universeg_noise",
        "universeg_draws",
        "universeg_augmented",
        "dropout_unet",
        "unet_ensemble",
    )
    # Named before running; for unbiased GED, best- and mean-candidate Dice with the most candidates, task by task.
    config.contrasts = ("tyche - universeg_noise",)
    config.optimizer = "adam"
    config.rates = (0.001, 0.003, 0.01, 0.03)
    config.tuning_seeds = 1
    config.widenings = 0
    config.report_seeds = 3
    config.train_length = "240 steps"  # across tasks
    config.tuning_length = "120 steps"  # of networks across tasks while rates are chosen; "": as train_length
    config.task_length = "60 steps"  # of a network for one task
    config.batch_size = 8
    config.curve_points = 4
    config.curve_queries = 16
    config.evaluation_batch = 20
    config.keep_networks = 1  # trained parameters are kept for so many of the first report seeds
    config.workers = 0  # networks in work at the same time; 0: one for each of at most four cores on CPU, else 1
    return config


def run(config: ml_collections.ConfigDict, folder, stop) -> None:
    """Runs the study in a run folder: tuning, then fresh seeds. A stopped study continues."""
    run_study(Stochastic, config, folder, stop)


if __name__ == "__main__":
    launch.main("experiments.stochastic")
