"""The pruning study: shrunk, every config runs to a report; what cannot be is one error before anything is compiled."""

import json

import few_tasks
import numpy as np
import pandas as pd
import pytest

import hyperlab as hl
from hyperlab import launch
from hyperlab.errors import ConfigError, HyperlabError
from hyperlab.studies.pruning.arms import cells_of, methods_of

SMALL = {
    "data.limit": 60,
    "network.width": 0.05,
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
    "rounds": 2,
}


def small(name=None, **changes):
    config = launch.config_module(f"configs/pruning/{name}.py").get_config() if name else None
    config = config or launch.load_study("pruning").get_config()
    for key, value in {**SMALL, **changes}.items():
        launch.override(config, key, str(value))
    return config


def counted(config):
    """Networks of a study's reported seeds: parents, what nothing is pruned of, and methods at their compressions."""
    cells = [cell for name in methods_of(config) for cell in cells_of(name, config)]
    return config.report_seeds * (1 + len(cells))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole study of both tracks, tiny."""
    return hl.run(small(), tmp_path_factory.mktemp("run") / "run")


@pytest.mark.slow
def test_it_runs_to_a_report_with_controls_rules_and_both_axes(finished):
    results = pd.read_csv(finished / "results.csv")
    assert {"parent", "dense", "dense_initial", "random~global_magnitude", "random~snip"} < set(results["arm"])
    last = results[(results["stage"] == "last") & (results["split"] == "test") & (results["metric"] == "accuracy")]
    counts = last[~last["arm"].isin(["parent", "dense", "dense_initial"])].groupby("arm").size()
    assert (counts == 4).all()  # two compressions, two seeds
    assert last.groupby("seed")["parent"].nunique().max() == 1  # one parent a seed, whatever the method
    pruned = results[results["compression_ratio"].notna()]
    np.testing.assert_allclose(pruned["compression_ratio"] / pruned["compression"], 1, atol=0.02)
    rules = pd.read_csv(finished / "rules.csv").set_index("rule")
    assert set(rules["outcome"][["E1", "E3", "E4", "E6", "E9", "E10", "E11", "E13", "E14"]]) == {"met"}
    # digits are a toy, two compressions no curve, two seeds not three, and nobody has published on digits
    assert set(rules["outcome"][["E2", "E7", "E8", "E12"]]) == {"not met"}
    assert rules["reason"]["E12"].startswith("random and magnitude ran, each also with a method's own layer fractions")
    report = (finished / "report.html").read_text()
    for said in (
        "no claim with 2 seeds",
        "Where the order of the methods changes",
        "digits is a toy",
        "unpruned, tuned",
    ):
        assert said in report
    assert (finished / "figures" / "track_1.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_second_start_trains_nothing_and_a_changed_config_is_refused(finished):
    before = {path: path.stat().st_mtime_ns for path in (finished / "units").iterdir()}
    hl.run(small(), finished)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    with pytest.raises(HyperlabError, match="rounds"):
        hl.run(small(rounds=3), finished)
    starts = json.loads((finished / "run.json").read_text())["starts"]
    reads = [start.get("test_reads") for start in starts[:2]]
    assert reads[0] == counted(small()) and reads[1] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hypernetwork", "universeg_scales"])  # of which universeg is a part
def test_other_networks_are_pruned_too(name, tmp_path, monkeypatch):
    few_tasks.shrink(monkeypatch)
    changes = {"tasks.widths": (2, 2), "tasks.support": 2, "tasks.queries": 3, "hypernet.hidden": (2, 2)}
    changes |= {"tasks.factors": (0.5,), "controls": True}
    run = hl.run(small(name, arms=("global_magnitude",), contrasts=("global_magnitude - random",), speedup_contrasts=(),
                       batch_size=2, **changes), tmp_path / "run")  # fmt: skip
    described = json.loads((run / "task.json").read_text())
    assert described["score"] == {"hypernetwork": "accuracy", "universeg_scales": "dice"}[name]
    assert (run / "report.html").exists()


@pytest.mark.slow
def test_what_a_scale_space_hypernetwork_generates_is_pruned_over_its_front(tmp_path):
    changes = {"scale_space.size": (16, 16), "scale_space.count": 40, "scale_space.widths": (2, 2)}
    changes |= {"scale_space.factors": (0.25, 0.5), "hypernet.hidden": (3,), "controls": False, "data.limit": 8}
    arms = ("global_magnitude", "magnitude_apart")
    run = hl.run(small("scale_space", arms=arms, contrasts=("magnitude_apart - global_magnitude",), **changes,
                       speedup_contrasts=()), tmp_path / "run")  # fmt: skip
    results = pd.read_csv(run / "results.csv")
    last = results[(results["stage"] == "last") & (results["split"] == "test") & results["arm"].isin(arms)]
    assert set(last["metric"]) == {"dice", "dice_at_0.25", "dice_at_0.5"}
    described = json.loads((run / "task.json").read_text())
    assert last["parameters"].unique() == sum(np.prod(shape) for shape in described["shapes"].values())  # of theta
    dense = results[results["arm"] == "dense"].iloc[0]
    for point, count in described["front"].items():
        assert dense[f"nonzero_macs_at_{point}"] == count
        assert (last[f"nonzero_macs_at_{point}"] < count).all()
    assert "Along the front" in (run / "report.html").read_text()
    assert (run / "figures" / "front.png").stat().st_size > 8_000


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"arms": ("global_magnitud",)}, ConfigError, "'global_magnitude'"),
        ({"contrasts": ("global_magnitude - lamp",)}, ConfigError, "'lamp'"),
        ({"compressions": (1.0, 4.0)}, ConfigError, "above 1"),
        ({"compared": (8.0,)}, ConfigError, "not in compressions"),
        (
            {"compressions": (4.0, 400.0), "compared": (4.0,)},
            ConfigError,
            r"\[400.0\] cannot be reached.*the ceiling is",
        ),
        ({"network.kind": "lenet"}, ConfigError, "'lenet_300_100'"),
        ({"task": "classify"}, ConfigError, "'classification'"),
        ({"arms": ("global_magnitude", "magnitude_apart")}, ConfigError, "has no front"),
        ({"data.name": "shapes"}, ConfigError, "a class a pixel"),
    ],
)
def test_bad_input_is_one_error_before_anything_is_compiled(tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        hl.run(small(**changes), tmp_path / "run")
    assert not list(tmp_path.glob("run/units/*.npz"))
