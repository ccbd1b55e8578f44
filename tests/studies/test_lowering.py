"""The training step of every study lowers for accelerators that are not there: no operation is for a CPU alone."""

import few_tasks
import jax
import jax.export
import pytest
from small_trainings import CASES, begun

from hyperlab.train import compiler


@pytest.fixture(autouse=True)
def shrunk(monkeypatch):
    few_tasks.shrink(monkeypatch)
    monkeypatch.setattr(compiler, "timed_compile", lambda jitted, *example: (jitted, 0.0))
    for options in ("options", "options_once"):
        monkeypatch.setattr(compiler, options, lambda: None)


@pytest.mark.parametrize("name", CASES)
def test_a_step_lowers_for_accelerators(name, tmp_path, monkeypatch):
    step, *given = begun(name, tmp_path, "bfloat16", monkeypatch)  # as accelerators compute
    exported = jax.export.export(jax.jit(step), platforms=("cuda", "tpu"))(*given)
    assert exported.platforms == ("cuda", "tpu")
    assert len(exported.out_avals) == len(jax.tree.leaves(jax.eval_shape(step, *given)))
