"""The training step of every study lowers for accelerators that are not there: no operation is for a CPU alone."""

import jax
import jax.export
import pytest
from small_trainings import CASES, begun, shrunk  # noqa: F401  # a fixture

pytestmark = pytest.mark.usefixtures("shrunk")


@pytest.mark.parametrize("name", CASES)
def test_a_step_lowers_for_accelerators(name, tmp_path, monkeypatch):
    step, *given = begun(name, tmp_path, "bfloat16", monkeypatch)  # as accelerators compute
    exported = jax.export.export(jax.jit(step), platforms=("cuda", "tpu"))(*given)
    assert exported.platforms == ("cuda", "tpu")
    assert len(exported.out_avals) == len(jax.tree.leaves(jax.eval_shape(step, *given)))
