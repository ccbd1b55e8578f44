"""`precision = "bfloat16"`: in every study networks compute in it, in training and where they are measured."""

from types import SimpleNamespace

import few_tasks
import flax.linen as nn
import jax
import numpy as np
import pytest
from numbers_of_programs import half_sums, products

from hyperlab import launch
from hyperlab.models.in_context import Kernel
from hyperlab.nn import Conv, Dense
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
# The layer that gives the field: forward, and its gradients as a CPU computes them and others do; in an evaluation too.
FIELDS = {"registration": 6, "stability, registration": 7}


class Begun(Exception):
    """A training that would begin."""


@pytest.fixture(autouse=True)
def shrunk(monkeypatch):
    few_tasks.shrink(monkeypatch)
    # Programs are traced, inside another one, and not compiled.
    monkeypatch.setattr(compiler, "timed_compile", lambda jitted, *example: (jitted, 0.0))
    for options in ("options", "options_once"):
        monkeypatch.setattr(compiler, options, lambda: None)


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


class Listener:
    """The losses of all steps, and the dtypes of what layers of networks gave, hypernetworks apart.

    The layer that gives a field is of float32 in every precision.
    """

    def __init__(self):
        self.losses, self.layers = [], set()

    def fit(self, study, start, step, batches, **options):
        def heard(state, batch, key):
            state, metrics = step(state, batch, key)
            self.losses.append(float(np.sum(metrics["loss"].total)))
            return state, metrics

        return FIT(study, start, heard, batches, **options)

    def hear(self, call, args, kwargs, context):
        outputs, layer = call(*args, **kwargs), context.module
        if context.method_name == "__call__" and isinstance(layer, Conv | Dense | Kernel) and layer.name != "flow":
            self.layers.add(jax.tree.leaves(outputs)[0].dtype.name)
        return outputs


FIT = Study.fit


def run(name, folder, precision, monkeypatch):
    """A case trained for two steps and measured, listened to."""
    listener, study = Listener(), made(name, folder, precision)
    with monkeypatch.context() as patch, nn.intercept_methods(listener.hear):
        patch.setattr(Study, "fit", lambda study, *given, **options: listener.fit(study, *given, **options))
        listener.measured = train(name, study)
    return listener


@pytest.mark.parametrize("name", CASES)
def test_a_step_multiplies_bfloat16_and_keeps_float32(name, tmp_path, monkeypatch):
    step, *given = begun(name, tmp_path, "bfloat16", monkeypatch)
    found = products(step, *given)
    assert found.pop(("conv_general_dilated", "float32"), 0) == FIELDS.get(name, 0)
    assert sum(count for (_, *dtypes), count in found.items() if dtypes == ["bfloat16"]) > 1
    assert max(half_sums(step, *given), default=0) <= 9
    after = jax.eval_shape(step, *given)
    assert not {leaf.dtype.name for leaf in jax.tree.leaves((given[0], after))} & {"bfloat16", "float16"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of networks that learnt nothing in so few steps
@pytest.mark.parametrize("name", FIRST)
def test_trained_and_measured_it_is_close_to_float32(name, tmp_path, monkeypatch):
    ours, theirs, plain = (run(name, tmp_path / str(p), p, monkeypatch) for p in ("bfloat16", "float32", None))
    assert ours.layers == {"bfloat16"} and theirs.layers == plain.layers == {"float32"}
    assert len(ours.losses) == len(theirs.losses) > 0
    np.testing.assert_allclose(ours.losses, theirs.losses, rtol=0.02)
    assert ours.losses != theirs.losses
    # Without the key nothing is different, to the last bit.
    assert theirs.losses == plain.losses and theirs.measured.keys() == plain.measured.keys()
    for key, value in theirs.measured.items():
        if not any(timed in key for timed in ("second", "compile")):
            np.testing.assert_array_equal(plain.measured[key], value, err_msg=key)
    numbers = [value for value in ours.measured.values() if value.dtype.kind == "f"]
    assert {value.dtype.name for value in numbers} <= {"float32", "float64"}
