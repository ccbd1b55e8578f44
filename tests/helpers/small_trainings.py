"""One small training of every study and of what its tasks are, up to its first step: traced, never compiled."""

from types import SimpleNamespace

import few_tasks
import pytest

from hyperlab import launch
from hyperlab.studies import registration, stability, studies, uncertainty
from hyperlab.studies.base import Study
from hyperlab.sweep import apply
from hyperlab.train import compiler
from hyperlab.train.phases import TUNE

TASKS = {"widths": (4, 4), "support": 2, "factors": (0.5, 1.0), "queries": 4}
SCALE_SPACE = {"widths": (4, 4), "factors": (0.25, 0.5), "size": (16, 16), "count": 40}
OF_TASKS = {f"tasks.{key}": value for key, value in TASKS.items()}
OF_TASKS |= {f"scale_space.{key}": value for key, value in SCALE_SPACE.items()}
OF_TASKS |= {"network.width": 0.1, "batch_size": 4, "curve_points": 1, "data.limit": 60, "hypernet.hidden": (4,)}
PRUNING = OF_TASKS | {"compressions": (2.0,), "compared": (2.0,), "tuning_compression": 2.0, "parent_length": "2 steps"}
PRUNING |= {"rewind_to": 0.5}  # after the first step, which is looked at
STABILITY = {"train_length": "4 steps", "steps_per_call": 2, "evaluate_every": 2, "batch_size": 4, "samples": 2}
STABILITY |= {"hypernet.hidden": (4, 8), "primary.widths": (8,), "rescaling.widths": (4, 4), "gamma.high": 0.5}
STABILITY |= {"registration.network.encoder": (4,), "registration.network.decoder": (4, 4), "curve_examples": 20}
EPISODES = {"data.queries": 4, "network.widths": (4, 4), "network.unet_widths": (4, 4), "train_support": 2}
EPISODES |= {"train_length": "2 steps", "task_length": "2 steps", "batch_size": 2, "curve_queries": 2}
IN_CONTEXT = EPISODES | {"network.rival_widths": (4, 4), "support_sizes": (1, 2), "ensembles": (1, 2), "draws": 1}
STOCHASTIC = EPISODES | {
    "tuning_length": "2 steps",
    "support_size": 2,
    "candidates": (1, 2),
    "train_candidates": 2,
    "draws": 1,
}
RESCALING = {"data.size": (24, 24), "data.count": 20, "primary.widths": (4, 4), "hypernet.hidden": (4,)}
RESCALING |= {"front": (0.3, 0.5), "factors": (0.3, 0.5), "train_length": "2 steps", "batch_size": 2, "programs": 1}
REGISTRATION = {"data.size": (16, 16), "data.subjects": 8, "network.encoder": (4,), "network.decoder": (4, 4)}
REGISTRATION |= {"hypernet.hidden": (4,), "train_length": "2 steps", "steps_per_call": 2, "weights": (0.5,)}
UNCERTAINTY = {"data.count": 40, "data.size": (24, 24), "network.widths": (4, 4), "draws": (2, 4), "contrasts": ()}
UNCERTAINTY |= {"arms": ("none", "spatial", "bayesian", "tyche"), "bayesian.hidden": (4,), "tyche.widths": (4, 4)}
UNCERTAINTY |= {"tyche.support": 2, "tyche.candidates": 2, "train_length": "2 steps", "tuning_length": "2 steps"}
# Study, what is trained, what a config shrinks to.
CASES = {
    "stability": ("stability", "mip", STABILITY),
    "stability, rescaling": ("stability", "mip", STABILITY | {"task": "rescaling"}),
    "stability, registration": ("stability", "plain", STABILITY | {"task": "registration", "gamma.high": 1.0}),
    "rescaling": ("rescaling", "sshn", RESCALING),
    "rescaling, FiLM": ("rescaling", "film", RESCALING),
    "registration": ("registration", "mip", REGISTRATION),
    "in_context": ("in_context", "universeg", IN_CONTEXT),
    "in_context, squeeze": ("in_context", "squeeze", IN_CONTEXT),
    "in_context, prototypes": ("in_context", "prototypes", IN_CONTEXT),
    "in_context, a task": ("in_context", "unet_support", IN_CONTEXT),
    "stochastic": ("stochastic", "tyche", STOCHASTIC),
    "stochastic, dropout": ("stochastic", "dropout_unet", STOCHASTIC),
    "pruning": ("pruning", "", PRUNING),
    "pruning, hypernetwork": ("pruning", "", PRUNING | {"task": "hypernetwork"}),
    "pruning, in_context": ("pruning", "", PRUNING | {"task": "in_context"}),
    "pruning, in_context_scales": ("pruning", "", PRUNING | {"task": "in_context_scales"}),
    "pruning, scale_space": ("pruning", "", PRUNING | {"task": "scale_space", "data.name": "shapes"}),
    "local_sgd": ("local_sgd", "slowmo", OF_TASKS | {"replicas": (2,), "length": "16 steps"}),
    "uncertainty": ("uncertainty", "spatial", UNCERTAINTY),
    "uncertainty, bayesian": ("uncertainty", "bayesian", UNCERTAINTY),
    "uncertainty, tyche": ("uncertainty", "tyche", UNCERTAINTY),
}
SETTINGS = {"stability": stability.arms.Setting("fan_out", (0.01,)), "local_sgd": 0}
SETTINGS |= {"registration": registration.arms.Setting("fan_in", 0.001), "uncertainty": uncertainty.cells.Setting(0.01)}
FIRST = [name for name in CASES if name in studies()]  # one of each study


class Begun(Exception):
    """A training that would begin."""


@pytest.fixture
def shrunk(monkeypatch):
    few_tasks.shrink(monkeypatch)
    # Programs are traced, inside another one, and not compiled.
    monkeypatch.setattr(compiler, "timed_compile", lambda jitted, *example: (jitted, 0.0))
    for options in ("options", "options_once"):
        monkeypatch.setattr(compiler, options, lambda *given: None)


def made(name, folder, precision):
    study, _, changes = CASES[name]
    config = apply(launch.load_study(study).get_config(), changes)
    if precision:
        config.precision = precision
    launch.check(config)
    kind = {one.__name__.lower().replace("sgd", "_sgd"): one for one in Study.__subclasses__()}
    kind |= {one.__name__.lower(): one for base in Study.__subclasses__() for one in base.__subclasses__()}
    kind = kind[study] if study in kind else kind[study.replace("_", "")]
    run_folder = SimpleNamespace(path=folder, checkpoints=folder / "checkpoints", mark=lambda event: None)
    return kind(config, kind.load(config, folder), run_folder, SimpleNamespace(requested=False))


def train(name, study):
    """Trains one network of a case and measures it."""
    kind, arm, _ = CASES[name]
    if kind == "pruning":
        return study.parent(0.01, 0)
    cell = next(cell for cell in study.tuned() if arm in (getattr(cell, "arm", None), getattr(cell, "learner", None)))
    return study.train(cell, SETTINGS.get(kind, 0.01), range(1) if kind == "stability" else 0, TUNE)


def begun(name, folder, precision, monkeypatch):
    """`(step, state, key)` of the first training of a case, with its first batch."""

    def fit(self, start, step, batches, *, key, examples=None, place=lambda drawn: drawn, **options):
        drawn = place(batches(0))
        batch = drawn if examples is None else (examples, drawn)  # what is drawn is looked at on the host
        raise Begun(lambda state, key: step(state, batch, key), start, key)

    study = made(name, folder, precision)
    with monkeypatch.context() as patch, pytest.raises(Begun) as seen:
        patch.setattr(Study, "fit", fit)
        train(name, study)
    return seen.value.args
