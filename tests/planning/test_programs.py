"""The programs of a study are noted as a run compiles them, and nothing is run or left behind."""

import tempfile

import few_tasks
import jax
import numpy as np
import pytest
from small_trainings import CASES

from hyperlab import launch
from hyperlab.errors import ConfigError, MeshError
from hyperlab.planning.compiled import compiled, memory
from hyperlab.planning.machines import parse
from hyperlab.planning.programs import flops, heaviest, noted
from hyperlab.sweep import apply
from hyperlab.train import capture, compiler
from hyperlab.train.capture import EVALUATION, PREDICTION, TRAINING

# Of each study: the cell, and the programs of its kinds.
STUDIES = {
    "stability": ("sgd/mip", {TRAINING: {"advance"}, PREDICTION: {"finish"}}),
    "rescaling": ("sshn", {TRAINING: {"step"}, EVALUATION: {"prepare", "labels"}}),
    "registration": ("mip", {TRAINING: {"step"}, PREDICTION: {"theta", "register", "measure"}}),
    "in_context": ("universeg", {TRAINING: {"step"}, EVALUATION: {"predict"}}),
    "stochastic": ("tyche", {TRAINING: {"step"}, EVALUATION: {"candidates"}}),
    "pruning": ("parent", {TRAINING: {"step"}, EVALUATION: {"rank"}}),
    "local_sgd": ("slowmo/16/2", {TRAINING: {"local step", "outer step"}, EVALUATION: {"rank"}}),
    "uncertainty": ("spatial", {TRAINING: {"step"}, PREDICTION: {"predict", "sample"}}),
}
NO_CLAIMS = {"contrasts": (), "speedup_contrasts": (), "report_seeds": 1, "tuning_seeds": 1}


def config_of(study, **changes):
    small = {key: value for key, value in CASES[study][2].items() if key not in ("arms", "length")}
    config = apply(launch.load_study(study).get_config(), small | changes)
    launch.check(config)
    return config


@pytest.mark.parametrize("study", STUDIES)
def test_each_study_hands_over_its_programs(study, tmp_path, monkeypatch):
    few_tasks.shrink(monkeypatch)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    cell, kinds = STUDIES[study]
    found = noted(config_of(study), "cpu", jax.devices()[:1], 2**33, [cell])
    assert not list(tmp_path.iterdir())
    assert {kind: {one.name for one in found.programs if one.kind == kind} for kind in kinds} == kinds
    assert found.planned >= max(found.planned_of.values()) > 0 and found.steps[cell] >= 1
    step = next(one for one in found.programs if one.kind == TRAINING)
    assert flops(step) > 0
    step.jitted.lower(*step.given)  # it is a program


def test_the_memory_of_a_plan_is_that_of_the_program_that_runs(tmp_path, monkeypatch):
    config = config_of("pruning", arms=("random",), controls=False, tuning_length="2 steps", **NO_CLAIMS)
    called, call = {}, compiler.Program.__call__

    def recorded(self, *given):
        if self.name not in called:
            called[self.name] = memory(self.lower(*given).compile())
        return call(self, *given)

    monkeypatch.setattr(compiler.Program, "__call__", recorded)
    launch.run(config, tmp_path / "run")
    monkeypatch.undo()
    found = noted(config, "cpu", jax.devices()[:1], 2**33)
    told = {one.name: compiled(one, parse("cpu:1")) for one in found.programs}
    assert {"step", "rank"} <= set(told) & set(called)
    for name in ("step", "rank"):
        assert {key: told[name][key] for key in called[name]} == called[name]


def test_over_devices_rows_are_dealt_and_a_gradient_is_reduced_once():
    config = config_of("pruning", batch_size=8)
    config.devices = {"mesh": {"data": 4}}
    step = noted(config, "cpu", jax.devices()[:4], 2**33).programs[0]
    found = compiled(step, parse("cpu:4"))
    assert found["collectives"]["all-reduce"][0] in (1, 2) and set(found["collectives"]) == {"all-reduce"}
    alone = noted(config_of("pruning", batch_size=8), "cpu", jax.devices()[:1], 2**33).programs[0]
    assert flops(step) == flops(alone)  # of all devices together


def test_a_mesh_that_does_not_fit_and_a_cell_that_is_not_there_are_refused():
    config = config_of("pruning")
    with pytest.raises(ConfigError, match="trains no 'parents'; did you mean 'parent'"):
        noted(config, "cpu", jax.devices()[:1], 2**33, ["parents"])
    config.devices = {"mesh": {"data": 8}}
    with pytest.raises(MeshError, match="4 devices"):
        noted(config, "cpu", jax.devices()[:4], 2**33)


def test_of_each_kind_and_name_the_heaviest_is_compiled():
    found = noted(config_of("rescaling"), "cpu", jax.devices()[:1], 2**33, ["fixed"])
    chosen = heaviest(found.programs, flops)
    assert len({(one.kind, one.name) for one in found.programs}) == len(chosen)
    assert max(flops(one) for one in found.programs if one.kind == TRAINING) == flops(chosen[0])


def test_results_are_kept_by_the_text_of_the_program(tmp_path, monkeypatch):
    program = noted(config_of("pruning"), "cpu", jax.devices()[:1], 2**33).programs[-1]
    first = compiled(program, parse("cpu:1"), tmp_path, jax="1")
    monkeypatch.setattr("hyperlab.planning.compiled._read", lambda *_: pytest.fail("compiled again"))
    assert compiled(program, parse("cpu:1"), tmp_path, jax="1") == first | {"cached": True}
    with pytest.raises(pytest.fail.Exception):  # of another version nothing is known
        compiled(program, parse("cpu:1"), tmp_path, jax="2")


class TestPromises:
    def test_a_program_is_called_as_ever_where_nobody_plans(self):
        program = compiler.Program(lambda x, y: x + y, donate_argnums=0)
        assert float(program(np.float32(1), 2.0)) == 3.0
        assert compiler.uncompiled(program)(1, 2) == 3

    def test_what_is_called_is_noted_once_and_counted(self):
        planned = capture.Capture("tpu", jax.devices()[:1], 2**33)
        double = compiler.Program(lambda x: 2 * x, "double")
        with capture.capturing(planned), planned.of("a", None):
            state = planned.fit(
                capture.promised(np.zeros(3, np.float32)), lambda s, batch, key: (double(s), {}), lambda index: None,
                jax.random.key(0), indices=range(3), evaluate=lambda state, step, stop: np.asarray(double(state)),
            )  # fmt: skip
            assert compiler.platform() == "tpu" and compiler.options() is None
            assert (state.shape, len(state), state.dtype) == ((3,), 3, np.float32)
        assert [(one.name, one.kind, one.calls) for one in planned.programs] == [("double", TRAINING, 3)]
        assert planned.steps == {"a": 3} and capture.current() is None

    def test_values_are_known_where_the_host_gave_them(self):
        given = capture.promised({"rows": np.arange(4), "of": jax.numpy.ones(2)})
        assert int(given["rows"][2]) == 2 and np.asarray(given["rows"]).tolist() == [0, 1, 2, 3]
        with pytest.raises(capture.NotComputed):
            np.asarray(given["of"])

    def test_a_cell_that_asks_before_it_trains_is_no_plan(self):
        planned = capture.Capture("cpu", jax.devices()[:1], 2**33)
        with pytest.raises(capture.NotComputed), capture.capturing(planned), planned.of("a", None):
            float(capture.promised(jax.numpy.ones(())))

    def test_other_errors_are_not_held_back(self):
        planned = capture.Capture("cpu", jax.devices()[:1], 2**33)
        with pytest.raises(TypeError, match="mine"), planned.of("a", None):
            raise TypeError("mine")
