"""A plan from the command to its exit code: in a process of its own, kept on disk, and refused in words."""

import importlib.util
import json
import sys
from types import SimpleNamespace

import pytest

from hyperlab import launch
from hyperlab.cli import main
from hyperlab.errors import ConfigError, MeshError, MissingExtraError
from hyperlab.planning import course, parse, plan

SMALL = ["--config.batch_size=8", "--config.data.limit=60", "--config.compressions=(2.0,)", "--config.compared=(2.0,)"]
SMALL += ["--config.tuning_compression=2.0", "--config.curve_points=1"]


def planned(capsys, *words):
    """The exit code, and what went to stdout and to stderr."""
    try:
        code = main(["plan", *words])
    except SystemExit as end:
        code = end.code
    return code, *capsys.readouterr()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder for plans, with one in it: of eight devices."""
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYPERLAB_CACHE", str(folder))
        assert main(["plan", "pruning", "--machine", "cpu:8", *SMALL]) == 0
    return folder


def test_a_plan_for_devices_that_are_not_there_is_kept(kept, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HYPERLAB_CACHE", str(kept))
    monkeypatch.setattr(course, "_asked", lambda *_: pytest.fail("compiled again"))
    code, out, err = planned(capsys, "pruning", "--machine", "cpu:8", "--json", "--out", str(tmp_path), *SMALL)
    made = json.loads(out)
    assert code == 0 and "plan.html" in err
    assert made["devices"] == 8 and made["mesh"] == {"data": 8, "model": 1} and made["batch_size"] == 8
    step, rank = made["programs"]
    assert step["collectives"]["all-reduce"][0] in (1, 2) and step["needed"] > step["arguments"] > 0
    assert (step["kind"], rank["kind"], step["error"]) == ("training", "evaluation", "")
    assert made["steps"] > 0 and made["hours"] == 0.0 and made["largest_batch"] is None
    text = (tmp_path / "plan.html").read_text()
    assert "What does pruning take on cpu:8?" in text and "http" not in text.replace("http-equiv", "")
    with pytest.raises(pytest.fail.Exception):  # another config is another plan
        planned(capsys, "pruning", "--machine", "cpu:8", *SMALL, "--config.seed=1")


def test_what_one_device_needs_is_not_divided(kept, capsys, monkeypatch):
    monkeypatch.setenv("HYPERLAB_CACHE", str(kept))
    _, out, _ = planned(capsys, "pruning", "--machine", "cpu:8", "--json", *SMALL)
    eight = json.loads(out)["programs"][0]
    code, out, err = planned(capsys, "pruning", "--machine", "cpu:1", "--json", *SMALL)
    one = json.loads(out)["programs"][0]
    assert code == 0 and "compiling training: step of parent" in err
    assert one["flops"] == eight["flops"] and one["collectives"] == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["prunning", "--machine", "cpu:1"], "unknown study 'prunning'; did you mean 'pruning'"),
        (["pruning", "--machine", "v5f:2x2"], "unknown machine 'v5f:2x2'; did you mean"),
        (["pruning"], "--machine"),
        (["pruning", "--machin", "cpu:1"], "unknown option --machin; did you mean '--machine'"),
        (["pruning", "--machine", "cpu:1", "--config.sed=1"], "did you mean 'seed'"),
        (["pruning", "--machine", "cpu:1", "--python", "/no/python"], "no interpreter that answers"),
    ],
)
def test_bad_words(words, said, capsys):
    code, out, err = planned(capsys, *words)
    assert code == 2 and said in err and not out


def test_what_a_run_would_refuse_is_refused_in_the_words_of_the_run():
    config = launch.load_study("pruning").get_config()
    config.devices = {"mesh": {"data": 4}}
    with pytest.raises(MeshError, match="cannot be made of the 2 devices"):
        plan(config, parse("cpu:2"))


class TestPlugins:
    def asked(self, monkeypatch, **versions):
        """What an interpreter answers: these versions of packages, beside those of jax."""
        found = {"jax": "0.10.2", "jaxlib": "0.10.2", "flax": "0.12.8", **versions}

        def run(command, **_):
            have = {name: found.get(name) for name in command[3:]}
            return SimpleNamespace(stdout=json.dumps([have, ['libtpu==0.0.42.*; extra == "tpu"']]))

        monkeypatch.setattr(course.subprocess, "run", run)

    def test_a_missing_one_is_named_with_its_pip_line(self, monkeypatch):
        self.asked(monkeypatch)
        with pytest.raises(MissingExtraError, match=r"'libtpu' .* pip install 'hyperlab\[plan-tpu\]'.*--python PATH"):
            course._versions(parse("v5e:2x2"), sys.executable)
        with pytest.raises(MissingExtraError, match=r"'jax-cuda13-plugin' .* pip install 'hyperlab\[plan-cuda\]'"):
            course._versions(parse("h100x8"), sys.executable)

    def test_one_of_another_version_than_jax_is_refused(self, monkeypatch):
        self.asked(monkeypatch, libtpu="0.0.41", **{"jax-cuda13-plugin": "0.10.1", "jax-cuda13-pjrt": "0.10.1"})
        with pytest.raises(ConfigError, match=r"libtpu is 0.0.41, jax 0.10.2 goes with 0.0.42"):
            course._versions(parse("v5e:2x2"), sys.executable)
        with pytest.raises(ConfigError, match="jax-cuda13-plugin is 0.10.1, jax 0.10.2 goes with 0.10.2"):
            course._versions(parse("h100x8"), sys.executable)

    def test_one_that_goes_with_jax_is_taken(self, monkeypatch):
        self.asked(monkeypatch, libtpu="0.0.42.1")
        assert course._versions(parse("v5e:2x2"), sys.executable)["libtpu"] == "0.0.42.1"

    def test_a_process_that_ends_without_a_plan_says_its_last_words(self, monkeypatch):
        code = "import sys; sys.stdin.buffer.read(); sys.exit('its last words')"
        monkeypatch.setattr(course, "_command", lambda python: [sys.executable, "-c", code])
        with pytest.raises(ConfigError, match="cpu:1 ended without one: .*its last words"):
            plan(launch.load_study("pruning").get_config(), parse("cpu:1"))


def test_what_does_not_fit_ends_with_1_and_the_batch_that_would(capsys, monkeypatch, kept):
    monkeypatch.setenv("HYPERLAB_CACHE", str(kept))
    made = json.loads(planned(capsys, "pruning", "--machine", "cpu:8", "--json", *SMALL)[1])
    step = made["programs"][0] | {"fits": False, "error": "RESOURCE_EXHAUSTED", "needed": 18 * 2**30}
    made |= {"programs": [step], "fits": False, "memory": 16 * 10**9, "largest_batch": {"batch": 4, "confirmed": True}}
    monkeypatch.setattr("hyperlab.cli.plan.plan", lambda *_, **__: made)
    code, out, _ = planned(capsys, "pruning", "--machine", "v5e:2x2", *SMALL)
    assert code == 1 and "DOES NOT FIT: training: step of parent needs 18,432 MiB of 15,259 MiB" in out
    assert "largest batch that fits: 4 (compiled)" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("machine", "plugin", "extra"),
    [("v5e:2x2", "libtpu", "plan-tpu"), ("h100x4", "jax_cuda13_plugin", "plan-cuda")],
)
def test_a_small_study_is_compiled_for_accelerators(machine, plugin, extra, capsys, monkeypatch, tmp_path):
    if importlib.util.find_spec(plugin) is None:
        pytest.skip(f"without the compiler for {machine}: pip install 'hyperlab[{extra}]'")
    monkeypatch.setenv("HYPERLAB_CACHE", str(tmp_path))
    code, out, _ = planned(capsys, "pruning", "--machine", machine, "--json", *SMALL)
    made = json.loads(out)
    step = made["programs"][0]
    assert code == 0 and made["fits"] and made["devices"] == 4 and made["mesh"] == {"data": 4, "model": 1}
    assert step["collectives"]["all-reduce"][0] in (1, 2) and step["needed"] > step["arguments"] > 0
    assert step["seconds_bound"] > 0 and made["hours"] > 0 and made["largest_batch"]["batch"] >= 8
    if plugin == "libtpu":
        assert step["padding"][1] > step["padding"][0] > 0
        code, _, err = planned(capsys, "pruning", "--machine", "v5e:3x5", *SMALL)
        assert code == 2 and "does not know this topology" in err
