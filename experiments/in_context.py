"""In-context segmentation: does a network that was trained across tasks segment tasks that it never saw?

    python -m experiments.in_context                                     # synthetic tasks, under three minutes
    python -m experiments.in_context --config configs/in_context/held_out.py --config.data.store=STORE

UniverSeg and two few-shot networks are trained once on many tasks; on tasks of held-out data sets they answer from a
support set alone. They are compared with a U-Net trained on the support set, a U-Net trained on all of the task's
examples, and baselines that need no network (the nearest support mask, the mean mask, Otsu's threshold). Learning rates
are chosen on development tasks with tuning seeds, with the same grid for every arm; what is reported comes from fresh
seeds and from tasks that no choice has seen.
"""

import ml_collections

from hyperlab import launch
from hyperlab.studies.base import run_study
from hyperlab.studies.in_context.schema import SCHEMA, check, check_files
from hyperlab.studies.in_context.study import InContext

__all__ = ["SCHEMA", "check", "check_files", "get_config", "run", "write_page"]  # what `launch` asks of a study

write_page = InContext.write_page


def get_config() -> ml_collections.ConfigDict:
    """The embedded default: synthetic tasks, held-out procedural shapes, few-shot arms and a U-Net for each task."""
    config = ml_collections.ConfigDict()
    config.study = "in_context"
    config.seed = 0
    config.data = {"store": "", "size": (32, 32), "split_seed": 0, "queries": 40}
    # Data sets, whole: templates of the same generator as those trained on, and shapes of another one.
    config.data.generated = ()  # sets to train on beside a store: "bodies", "shapes"
    config.data.update({"development": ("further-synthetic",), "held_out": ("held-out-synthetic", "shapes")})
    config.network = {"widths": (8, 8, 8), "rival_widths": (16, 16, 16), "unet_widths": (8, 8, 8)}
    config.augmentation = "documented"  # or "faithful", to the published code's quirks too
    config.support_sizes = (1, 4, 8)  # that held-out tasks are measured with
    config.train_support = 8
    config.ensembles = (1, 4)  # support sets whose predictions are averaged
    config.draws = 2  # support sets of every size
    config.arms = ("universeg", "squeeze", "prototypes", "unet_support")
    # Named before running; the metric is Dice at the largest support size, mean over held-out tasks.
    config.contrasts = ("universeg - squeeze", "universeg - prototypes", "universeg - unet_support")
    config.optimizer = "adam"
    config.rates = (0.001, 0.003, 0.01)
    config.tuning_seeds = 1
    config.widenings = 0
    config.report_seeds = 3
    config.train_length = "150 steps"  # across tasks
    config.tuning_length = ""  # of networks across tasks while rates are chosen; by default train_length
    config.task_length = "60 steps"  # of a network for one task
    config.batch_size = 4
    config.curve_points = 4
    config.curve_queries = 8
    config.evaluation_batch = 20
    config.keep_networks = 1  # trained parameters are kept for so many of the first report seeds
    config.workers = 0  # networks in work at the same time; 0: one for each of at most four cores on CPU, else 1
    return config


def run(config: ml_collections.ConfigDict, folder, stop) -> None:
    """Runs the study in a run folder: tuning, then fresh seeds. A stopped study continues."""
    run_study(InContext, config, folder, stop)


if __name__ == "__main__":
    launch.main("experiments.in_context")
