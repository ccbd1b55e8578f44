"""The local SGD study: shrunk, it runs to a report; what cannot be is one error before anything is compiled."""

import dataclasses
import json

import few_tasks
import numpy as np
import pandas as pd
import pytest

import hyperlab as hl
from hyperlab import launch
from hyperlab.errors import ConfigError, DataError, HyperlabError
from hyperlab.studies.local_sgd import figures as local_sgd_figures
from hyperlab.studies.local_sgd import results as local_sgd_results

SMALL = {
    "data.limit": 60,
    "network.width": 0.05,
    "arms": ("synchronous", "large_batch", "local", "post_local", "slowmo", "control"),
    "periods": (1, 4),
    "replicas": (2,),
    "cost.compute_seconds": 0.001,
    "trials": 2,
    "tuning_seeds": 1,
    "report_seeds": 2,
    "length": "8 steps",
    "batch_size": 4,
    "curve_points": 2,
}


def small(name=None, **changes):
    config = launch.config_module(f"configs/local_sgd/{name}.py").get_config() if name else None
    config = config or launch.load_study("local_sgd").get_config()
    for key, value in {**SMALL, **changes}.items():
        launch.override(config, key, str(value))
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole study, tiny."""
    return hl.run(small(), tmp_path_factory.mktemp("run") / "run")


@pytest.mark.slow
def test_it_runs_to_a_report_with_communication_in_every_row(finished):
    results = pd.read_csv(finished / "results.csv")
    test = results[(results["split"] == "test") & (results["metric"] == "accuracy")]
    # synchronous has no H; an accumulated batch and post-local training begin above 1
    assert test.groupby("arm")["period"].unique().map(list).to_dict() == {
        "synchronous": [1], "large_batch": [4], "post_local": [4], "local": [1, 4], "slowmo": [1, 4], "control": [1, 4]
    }  # fmt: skip
    assert test.groupby("replicas")["examples"].nunique().max() == 1
    columns = ["rounds", "bytes_sent", "local_batch", "global_batch", "learning_rate", "outer_rate", "outer_momentum"]
    assert test[columns].notna().all().all()
    row = test[(test["arm"] == "local") & (test["period"] == 4)].iloc[0]
    assert row["share_of_synchronous_bytes"] == pytest.approx(0.25)
    control = test[test["arm"] == "control"]
    np.testing.assert_allclose(control["outer_rate"], 1 / (1 - control["beta"]))
    report = (finished / "report.html").read_text()
    for said in (
        "Does accuracy fall with H?",
        "Does slow momentum raise it at no extra communication?",
        "The gap in its parts",
        "Small scale cannot settle the claim",
        "no claim with 2 seeds",
        "Local SGD at H = 1",
    ):
        assert said in report
    for name in ("communication", "time", "drift", "predictions", "contrasts"):
        assert (finished / "figures" / f"{name}.png").stat().st_size > 8_000
    predicted = pd.read_csv(finished / "predictions.csv")
    assert set(predicted["replicas"]) == {2**i for i in range(1, 11)} and "accuracy" not in predicted


@pytest.mark.slow
def test_several_numbers_of_replicas_are_an_axis_and_one_alone_sends_nothing(finished, tmp_path):
    study = local_sgd_results.read(finished)
    study.config.replicas = (1, 2)
    runs = {cell._replace(replicas=1): seeds for cell, seeds in study.runs.items()} | study.runs
    for cell in study.runs:
        alone = {**study.sent(cell), "bytes_sent": 0.0, "bytes_per_step": 0.0, "share": None}
        study.task["cells"][cell._replace(replicas=1).name] = alone
    study = dataclasses.replace(study, runs=runs)
    assert study.failed == {}
    drawn = local_sgd_figures.all_figures(tmp_path, study, {})
    assert {"communication", "time", "scale", "drift"} < set(drawn) and "contrasts" not in drawn
    assert set(local_sgd_results.gaps(study)["replicas"]) == {1, 2}


@pytest.mark.slow
def test_every_row_has_the_same_number_of_trials(finished):
    choices = json.loads((finished / "choices.json").read_text())
    assert {choice["runs"] for choice in choices.values()} == {2}
    rates = {tuple(one["rate"] for one in choice["tuning"]) for choice in choices.values()}
    assert len(rates) == 1  # what is shared is drawn once for all


@pytest.mark.slow
def test_a_second_start_trains_nothing_and_a_changed_config_is_refused(finished):
    before = {path: path.stat().st_mtime_ns for path in (finished / "units").iterdir()}
    hl.run(small(), finished)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    with pytest.raises(HyperlabError, match="trials"):
        hl.run(small(trials=3), finished)
    starts = json.loads((finished / "run.json").read_text())["starts"]
    reads = [start.get("test_reads") for start in starts[:2]]
    assert reads == [2 * 9, 0]  # seeds, arms at their H


@pytest.mark.slow
def test_replicas_of_a_hypernetwork_that_are_not_alike_and_what_is_sent_in_less(tmp_path):
    changes = {"hypernet.hidden": (2, 2), "report_seeds": 1, "trials": 1, "periods": (2,), "parts": ()}
    changes |= {"arms": ("local", "int8"), "contrasts": ("local - int8",)}
    run = hl.run(small("hypernetwork", **changes, **{"data.partition.kind": "dirichlet"}), tmp_path / "run")
    assert "do not see the same distribution" in (run / "report.html").read_text()
    predicted = pd.read_csv(run / "predictions.csv").set_index(["sent_as", "replicas", "link", "period"])["seconds"]
    compute = json.loads((run / "task.json").read_text())["compute_seconds"]
    # messages are gathered, not summed up: of few replicas that is less to send, of many it is more
    assert 0 < predicted["int8", 2, "low", 2] - compute < predicted["float32", 2, "low", 2] - compute
    assert predicted["int8", 1024, "low", 2] > predicted["float32", 1024, "low", 2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "score", "arms", "changes"),
    [
        ("scale_space", "dice_at_0.5", ("synchronous", "local"),
         {"scale_space.widths": (2, 2), "scale_space.size": (16, 16), "scale_space.count": 40, "hypernet.hidden": [3]}),
        ("universeg", "dice", ("synchronous",), {"tasks.widths": (2, 2), "tasks.support": 2, "tasks.queries": 3}),
    ],
)  # fmt: skip
def test_replicas_of_other_networks(name, score, arms, changes, tmp_path, monkeypatch):
    few_tasks.shrink(monkeypatch)
    changes |= {"report_seeds": 1, "trials": 1, "periods": (2,), "parts": (), "length": "4 steps", "batch_size": 2}
    run = hl.run(small(name, arms=arms, contrasts=(), **changes, **{"data.limit": 8}), tmp_path / "run")
    results = pd.read_csv(run / "results.csv")
    rows = results[(results["metric"] == score) & (results["split"] == "test")]
    assert set(rows["arm"]) == set(arms) and rows["value"].between(0, 1).all()
    assert results["metric"].iloc[0] == "dice"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"arms": ("lokal",)}, ConfigError, "'local'"),
        ({"contrasts": ("local - diloco",)}, ConfigError, "'diloco'"),
        ({"contrasts": ("local - slowmo",) * 4}, ConfigError, "at most 3 different"),
        ({"periods": (0, 4)}, ConfigError, "periods is .*at least 1"),
        ({"replicas": (4, 4)}, ConfigError, "replicas is .*different"),
        ({"periods": (1,), "contrasts": ()}, ConfigError, "'large_batch' cannot be run at H = 1"),
        ({"trials": 0}, ConfigError, "trials is 0"),
        ({"warmup": 1.0}, ConfigError, "warmup is 1"),
        ({"cost.links": ("fast",)}, ConfigError, "unknown link 'fast'"),
        ({"cost.links": ()}, ConfigError, "no links and no gigabits"),
        ({"data.partition.kind": "shard"}, ConfigError, "'shards'"),
        ({"data.partition.kind": "shards", "data.partition.shards": 40}, DataError, "60 examples"),
        ({"rates": (0.1, 0.1)}, ConfigError, "range of 'rate'"),
        ({"rates": (0.1,)}, ConfigError, "rates is"),
        ({"data.name": "shapes"}, ConfigError, "a class a pixel"),
        (
            {"task": "scale_space", "data.name": "shapes", "data.partition.kind": "shards"},
            ConfigError,
            "no examples with classes",
        ),
    ],
)
def test_bad_input_is_one_error_before_anything_is_compiled(tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        hl.run(small(**changes), tmp_path / "run")
    assert not list(tmp_path.glob("run/units/*.npz"))
