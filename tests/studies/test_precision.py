"""`precision = "bfloat16"`: in every study networks compute in it, in training and where they are measured."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from numbers_of_programs import half_sums, products
from small_trainings import CASES, FIRST, begun, made, shrunk, train  # noqa: F401  # a fixture

from hyperlab.models.in_context import Kernel
from hyperlab.nn import Conv, Dense
from hyperlab.studies.base import Study

# The layer that gives the field: forward, and its gradients as a CPU computes them and others do; in an evaluation too.
# Of two images a CPU has the kernel's gradient by a product.
FIELDS = {"registration": 5, "stability, registration": 7}


pytestmark = pytest.mark.usefixtures("shrunk")


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
