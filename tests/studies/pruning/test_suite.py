"""Several pruning studies on one page: one tiny study, and copies of it that stand for other networks and parents."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

import hyperlab as hl
from experiments import pruning_suite as command
from hyperlab import launch
from hyperlab.errors import ConfigError, WorkdirError
from hyperlab.files import SEALS
from hyperlab.report import figures
from hyperlab.studies.pruning import suite as pruning_suite
from hyperlab.studies.pruning.suite_figures import WATERMARK
from hyperlab.train.units import RECORD

SMALL = {
    "data.limit": 60,
    "network.width": 0.05,
    "arms": ("global_magnitude", "random"),
    "controls": False,
    "contrasts": ("global_magnitude - random",),
    "speedup_contrasts": (),
    "parent_length": "4 steps",
    "tuning_length": "2 steps",
    "parent_rates": (0.01,),
    "rates": (0.003,),
    "report_seeds": 2,
    "compressions": (2.0, 4.0),
    "compared": (2.0, 4.0),
    "tuning_compression": 4.0,
    "batch_size": 8,
    "curve_points": 1,
}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    config = launch.load_study("pruning").get_config()
    for key, value in SMALL.items():
        launch.override(config, key, str(value))
    return hl.run(config, tmp_path_factory.mktemp("run") / "first")


@pytest.fixture
def another(finished, tmp_path):
    """Makes a copy of the run: `task` replaces fields of task.json, `change` what a unit's file holds."""

    def copy(name, change=None, **task):
        folder = tmp_path / name
        shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("figures", "events*", "*.html", SEALS))
        described = json.loads((folder / "task.json").read_text()) | task
        (folder / "task.json").write_text(json.dumps(described))
        for path in (folder / "units").glob("*.npz") if change else ():
            with np.load(path) as saved:
                unit = {key: saved[key] for key in saved if key != RECORD}  # else it would count as damaged
            np.savez(path, **change(unit))
        return folder

    return copy


@pytest.fixture
def texts(monkeypatch):
    """What is written across each panel of each figure that is saved."""
    written, save = [], figures.save

    def noting(figure, path):
        written.append([text.get_text() for axes in figure.axes for text in axes.texts])
        return save(figure, path)

    monkeypatch.setattr(figures, "save", noting)
    return written


def other_parents(unit):
    if "parent" in unit:
        unit["parent"] = np.array(f"another {unit['parent']}")
    return unit


def test_two_networks_on_one_page(finished, another, texts, tmp_path, capsys):
    second = another("second", data="cifar10", architecture="resnet20", toy=False, fingerprint="other")
    out = tmp_path / "out"
    assert command.main([str(finished), str(second), "--out", str(out)]) == 0
    assert "2 runs of 2 networks; report: " in capsys.readouterr().out
    table = pd.read_csv(out / "suite.csv")
    own = pd.read_csv(finished / "results.csv")
    own = own[(own["stage"] == "last") & (own["split"] == "test") & (own["metric"] == "accuracy")]
    for network, rows in table.groupby("network"):
        assert network in ("digits / lenet_300_100 x0.05", "cifar10 / resnet20")
        pruned = rows[rows["compression"] > 1]
        assert set(pruned["method"]) == {"global magnitude", "random"} and len(pruned) == 8
        np.testing.assert_allclose(np.sort(rows["value"]), np.sort(own[own["arm"] != "parent"]["value"]))
    assert "measured_latency_seconds" not in table
    page = (out / "report.html").read_text()
    for said in (
        "no standard suite: 1 of 3 networks",
        "Toys, on which",
        "no run measured a latency",
        "At equal compression, global magnitude - random: no claim in 2, of 2 runs of 2 networks.",
    ):
        assert said in page
    assert page.count("data:image/png") == 2 and texts == [[], []]  # no mark
    rules = pd.read_csv(out / "rules.csv").set_index("rule")["outcome"]
    assert rules["E9"] == "met" and rules["E2"] == "not met"


def test_the_label_standard_suite_needs_three_networks_that_are_no_toys(another):
    named = [("cifar10", False), ("cifar100", False), ("imagenet", False), ("embedded tasks", True)]
    runs = [another(data, data=data, toy=toy) for data, toy in named]
    for count, label in ((2, "no standard suite: 2 of 3"), (3, "standard suite"), (4, "standard suite")):
        suite = pruning_suite.read(runs[:count])
        table = pruning_suite.tidy(suite)
        assert pruning_suite.checklist.suite_label(pruning_suite.merged(suite, table)).startswith(label)
    suite = pruning_suite.read([*runs[:2], runs[3]])  # a toy is one whatever its name
    recorded = pruning_suite.merged(suite, pruning_suite.tidy(suite))
    assert pruning_suite.checklist.suite_label(recorded).startswith("no standard suite: 2 of 3")


def test_other_parents_are_refused_and_marked_where_they_are_asked_for(finished, another, texts, tmp_path, capsys):
    same, other = another("same"), another("other", other_parents)
    assert pruning_suite.read([finished, same]).across == ()
    out = tmp_path / "out"
    assert command.main([str(finished), str(other), "--out", str(out)]) == 2
    message = capsys.readouterr().err
    assert "start from different parents (first, other)" in message and "--across-parents" in message
    assert not out.exists()
    assert command.main([str(finished), str(other), "--out", str(out), "--across-parents"]) == 0
    assert texts == [[WATERMARK] * 2, [WATERMARK]]
    methods = set(pd.read_csv(out / "suite.csv")["method"])
    assert {"random [first]", "random [other]", "global magnitude [first]"} < methods
    rules = pd.read_csv(out / "rules.csv").set_index("rule")
    assert rules.loc["E9", "outcome"] == "not met" and "figures carry a mark" in rules.loc["E9", "reason"]
    # runs that have no seed in common have no parent in common
    later = another("later", lambda unit: unit | {"seed": unit["seed"] + 7} if "seed" in unit else unit)
    with pytest.raises(ConfigError, match="different parents"):
        pruning_suite.read([finished, later])


def test_a_measured_latency_is_a_column_of_its_own(finished, another, tmp_path):
    def timed(unit):
        if any(key.startswith("size/") for key in unit):
            unit |= {"size/measured_latency_seconds": np.array(0.0125), "size/latency_device": np.array("a board")}
        return unit

    suite = pruning_suite.read([finished, another("timed", timed, data="cifar10", toy=False)])
    page = pruning_suite.write(suite, tmp_path / "out").read_text()
    assert "<th>latency, ms</th>" in page and "<td>12.500</td><td>a board</td>" in page
    table = pd.read_csv(tmp_path / "out" / "suite.csv")
    assert table.groupby("data")["measured_latency_seconds"].count().to_dict() == {"cifar10": 10, "digits": 0}
    rules = pd.read_csv(tmp_path / "out" / "rules.csv").set_index("rule")["reason"]
    assert "a column of its own, on a board" in rules["E13"]


def test_bad_input_is_one_error(finished, another, tmp_path, capsys):
    with pytest.raises(ConfigError, match="first is given twice"):
        pruning_suite.read([finished, finished])
    with pytest.raises(WorkdirError, match="no folder"):
        pruning_suite.read([tmp_path / "nothing"])
    with pytest.raises(ConfigError, match="have different data"):
        pruning_suite.read([finished, another("cut", fingerprint="other")])
    stranger = another("stranger")
    config = json.loads((stranger / "config.json").read_text()) | {"study": "stability"}
    (stranger / "config.json").write_text(json.dumps(config))
    (stranger / "run.json").unlink()  # which knows better
    with pytest.raises(WorkdirError, match="study 'stability', expected one of 'pruning'"):
        pruning_suite.read([stranger])
    unfinished = another("unfinished")
    next((unfinished / "units").glob("random--report*")).unlink()
    with pytest.raises(WorkdirError, match="run the study to its end first"):
        pruning_suite.read([unfinished])
    (tmp_path / "file").touch()
    assert command.main([str(finished), "--out", str(tmp_path / "file")]) == 2
    assert "is a file, expected a folder" in capsys.readouterr().err
