"""The stability study on a small task, without a run folder."""

from types import SimpleNamespace

from experiments import stability
from hyperlab.studies.stability.study import Stability
from hyperlab.sweep import apply

SMALL = {
    "train_length": "8 steps",
    "steps_per_call": 4,
    "evaluate_every": 2,
    "batch_size": 8,
    "samples": 3,
    "primary.widths": (6,),
    "hypernet.hidden": (4, 8),
}


def config(**changes):
    """The default config, shrunk, with some values changed."""
    return apply(stability.get_config(), {**SMALL, **changes})


def study(folder, task_of, **changes):
    """A study that keeps its units in `folder`; `task_of` makes the task from the config."""
    settings = config(**changes)
    run_folder = SimpleNamespace(path=folder, checkpoints=folder / "checkpoints", mark=lambda event: None)
    stop = SimpleNamespace(requested=False, request=lambda reason: None)
    return Stability(settings, task_of(settings), run_folder, stop)
