"""What is asked of a table of results: spread, comparisons, fronts."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from run_folders import table, write_run

from hyperlab.errors import ConfigError, DataError
from hyperlab.metrics import statistics
from hyperlab.results import compare, front, results, spread

pytestmark = pytest.mark.fast


def frame_of(a, b, **columns):
    """Values of arms `a` and `b` by seed, of one study, data set and split."""
    rows = [
        {"study": "s", "run": "r", "fingerprint": "d", "split": "test", "arm": arm, "seed": seed, "metric": "dice",
         "value": value, **columns}
        for arm, values in (("a", a), ("b", b)) for seed, value in enumerate(values)
    ]  # fmt: skip
    return pd.DataFrame(rows)


# -- spread ----------------------------------------------------------------------------------------------------------


def test_spread_describes_each_group():
    found = spread(frame_of([0.1, 0.4, np.inf], [0.5]), "arm").set_index("arm")
    first = found.loc["a"]
    assert first[["median", "mean", "lowest", "highest"]].tolist() == [0.25, 0.25, 0.1, 0.4]
    assert first["sd"] == pytest.approx(np.std([0.1, 0.4], ddof=1))
    assert first[["seeds", "rows", "missing"]].tolist() == [3, 3, 1] and np.isnan(found.loc["b", "sd"])


def test_spread_shows_where_a_group_mixes_rows_of_a_seed():
    both = pd.concat([frame_of([1.0], []), frame_of([3.0], [], split="validation")])
    assert spread(both, ["arm"])[["seeds", "rows"]].values.tolist() == [[1, 2]]
    assert len(spread(both, ["arm", "split"])) == 2
    with pytest.raises(ConfigError, match="'amr'; did you mean 'arm'"):
        spread(both, "amr")


def test_runs_without_results_have_no_spread(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", False, exit_reason=None)
    assert spread(results(tmp_path))["run"].tolist() == ["a", "a"]


# -- compare ---------------------------------------------------------------------------------------------------------


def test_differences_are_paired_by_seed_in_any_order():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.8, 0.1, 12), rng.normal(0.7, 0.1, 12)
    found = compare(frame_of(a, b).sample(frac=1, random_state=1), "dice", "a", "b").iloc[0]
    expected = scipy.stats.ttest_rel(a, b)
    interval = expected.confidence_interval()
    assert found["mean"] == pytest.approx(np.mean(a - b)) and found["p"] == pytest.approx(expected.pvalue)
    assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high))
    boot = statistics.bootstrap(a - b)
    assert found[["median", "median_low", "median_high"]].tolist() == pytest.approx(
        [boot.estimate, boot.low, boot.high]
    )


@pytest.mark.parametrize(("seeds", "label"), [(1, "no claim"), (2, "no claim"), (3, "look"), (5, "")])
def test_few_seeds_are_no_verdict(seeds, label):
    values = np.linspace(0.8, 0.9, seeds)
    found = compare(frame_of(values, values**2 - 0.3), "dice", "a", "b").iloc[0]
    assert found["label"] == label and np.isnan(found["median_low"])
    assert (found["verdict"] in ("better", "worse")) == (seeds >= 3)


def test_contrasts_of_a_call_are_corrected_together():
    frame = pd.concat([frame_of([0.5, 0.6, 0.9], [0.4, 0.55, 0.7], compression=c) for c in (2, 4)])
    alone = compare(frame[frame["compression"] == 2], "dice", "a", "b")
    both = compare(frame, "dice", "a", "b", by="compression")
    assert both["compression"].tolist() == [2, 4] and both["p"].iloc[0] == pytest.approx(2 * alone["p"].item())
    assert compare(frame, "dice", "a", "b", by="compression", better="lower")["verdict"].nunique() == 1
    with pytest.raises(ConfigError, match="4 contrasts .* at most 3"):
        compare(pd.concat([frame, *(frame.assign(compression=c) for c in (8, 16))]).drop_duplicates(), "dice", "a", "b",
                by="compression")  # fmt: skip


def test_averages_over_a_column_first():
    frame = pd.concat([frame_of([0.1, 0.2, 0.3], [0.0] * 3, task="x"), frame_of([0.3, 0.4, 0.5], [0.0] * 3, task="y")])
    assert compare(frame, "dice", "a", "b", over="task").attrs["differences"]["a - b"] == pytest.approx([0.2, 0.3, 0.4])
    with pytest.raises(DataError, match="2 rows with arm 'a', seed 0, expected one; they differ in task"):
        compare(frame, "dice", "a", "b")
    uneven = frame[(frame["task"] == "x") | (frame["arm"] == "a")]
    with pytest.raises(DataError, match="3 of seed and task are on one side only"):
        compare(uneven, "dice", "a", "b", over="task")


@pytest.mark.parametrize("name", ["study", "fingerprint", "split"])
def test_rows_of_two_kinds_are_not_compared_by_accident(name):
    frame = frame_of([0.1, 0.2, 0.3], [0.2, 0.3, 0.4])
    frame.loc[frame["arm"] == "b", name] = "other"
    with pytest.raises(DataError, match=rf"differ in {name}: .*'other'.*frame\[frame\['{name}'\]"):
        compare(frame, "dice", "a", "b")


def test_runs_are_compared_like_arms(tmp_path):
    write_run(tmp_path / "one")
    better = table()
    better["value"] += 0.1 + better["seed"] / 1e5
    write_run(tmp_path / "two", better)
    frame = results(tmp_path)
    chosen = frame[frame["arm"] == "mip"]
    assert compare(chosen, "accuracy", "two", "one", column="run")["verdict"].item() == "better"
    with pytest.raises(DataError, match="differ in run"):
        compare(frame, "accuracy", "mip", "plain")
    write_run(tmp_path / "two", better, data="mnist")
    frame = results(tmp_path)
    with pytest.raises(DataError, match=r"fingerprint: 'digits=.*' \(runs 'one', 'two'\)"):
        compare(frame[frame["arm"] == "mip"], "accuracy", "two", "one", column="run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dcie", "a", "b"), "unknown metric 'dcie'; did you mean 'dice'"),
        (("dice", "a", "c"), "no row of 'dice' has arm 'c'"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(arguments, message):
    with pytest.raises(ConfigError, match=message):
        compare(frame_of([1.0], [2.0]), *arguments)


def test_seeds_without_a_partner_and_failed_seeds_are_refused():
    with pytest.raises(DataError, match="1 of seed are on one side only, '2'"):
        compare(frame_of([0.1, 0.2, 0.3], [0.1, 0.2]), "dice", "a", "b")
    with pytest.raises(DataError, match="not finite"):
        compare(frame_of([0.1, np.nan, 0.3], [0.1, 0.2, 0.3]), "dice", "a", "b")
    with pytest.raises(DataError, match="no rows are left"):
        compare(frame_of([], []).reindex(columns=["arm", "seed", "metric", "value"]), "dice", "a", "b")


# -- front -----------------------------------------------------------------------------------------------------------


def test_a_front_over_columns_lists_what_cannot_be_placed():
    frame = pd.DataFrame({"macs": [1.0, 2.0, 3.0, np.nan], "dice": [0.7, 0.6, 0.8, 0.9]}, index=list("abcd"))
    found = front(frame, "macs", "dice")
    assert found.points["on_front"].to_dict() == {"a": True, "b": False, "c": True}
    assert found.excluded.index.tolist() == ["d"]
    assert front(frame, "macs", "dice", ("max", "max")).points["on_front"].tolist() == [False, False, True]


def test_a_front_over_metrics_takes_means_over_seeds():
    frame = pd.concat([frame_of([0.8, 0.6], [0.5, np.nan]), frame_of([3, 5], [1, 1]).assign(metric="seconds")])
    found = front(frame, "seconds", "dice", by="arm")
    assert found.points[["arm", "seconds", "dice", "on_front"]].values.tolist() == [
        ["a", 4.0, pytest.approx(0.7), True]
    ]
    assert found.excluded["arm"].tolist() == ["b"]
    with pytest.raises(DataError, match="differ in split"):
        front(pd.concat([frame, frame.assign(split="validation")]), "seconds", "dice", by="arm")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("macs", "dcie"), "'dcie'; did you mean 'dice'"),
        (("macs", "dice", ("min",)), "expected two"),
        (("macs", "dice", ("min", "up")), "'up'"),
    ],
)
def test_a_front_of_what_is_not_there(arguments, message):
    with pytest.raises(ConfigError, match=message):
        front(pd.DataFrame({"macs": [1.0], "dice": [1.0]}), *arguments)
