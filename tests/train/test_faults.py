"""The campaign of faults in its short form: every verdict is right; and its parts, which cost nothing."""

import random

import pandas as pd
import pytest
from benchmark_modules import benchmark


@pytest.fixture(scope="module")
def faults():
    return benchmark("faults")


@pytest.mark.slow
def test_the_short_form_finds_nothing(faults, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    trials = faults.run(["kills", "processes", "damage"], short=True)
    assert len(trials) == 7 and set(trials["verdict"]) == {faults.RIGHT}, trials.to_dict("records")


@pytest.mark.parametrize("name", ["readers", "settings", "calls", "weights", "records"])
def test_inputs_that_make_no_sense_end_in_errors_of_our_own(faults, name):
    trials = faults.run([name], short=True)
    amiss = trials[trials["verdict"] != faults.RIGHT]
    assert len(trials) >= 15 and amiss.empty, amiss.to_dict("records")


def test_every_study_is_shortened_by_keys_that_it_has(faults):
    from hyperlab import launch
    from hyperlab.studies import studies

    assert set(faults.SHORT) == set(studies()) - {"guessing", "toy"}
    for study, values in faults.SHORT.items():
        launch.parse(study, [f"--config.{key}={value}" for key, value in values.items()])


@pytest.mark.fast
@pytest.mark.parametrize(("ours", "difference"), [
    ("arm,metric,value\na,dice,0.5\na,seconds,9\n", ""),
    ("arm,metric,value\na,dice,0.6\na,seconds,9\n", "1 cells in ['value']"),
    ("arm,metric,value\n", "(0, 3) cells, expected (1, 3)"),
    (None, "no ours.csv"),
])  # fmt: skip
def test_tables_are_compared_without_times(faults, tmp_path, ours, difference):
    (tmp_path / "theirs.csv").write_text("arm,metric,value\na,dice,0.5\na,seconds,3\n")
    if ours is not None:
        (tmp_path / "ours.csv").write_text(ours)
    assert faults.differing(tmp_path / "ours.csv", tmp_path / "theirs.csv") == difference


@pytest.mark.fast
def test_verdicts_are_counted_a_campaign(faults, monkeypatch):
    def two(options):
        return [lambda: faults.Trial("this", faults.RIGHT), lambda: faults.Trial("that", faults.WRONG, "other numbers")]

    monkeypatch.setitem(faults.CAMPAIGNS, "two", two)
    (row,) = faults.table(faults.run(["two"]))
    assert {key: row[key] for key in ("campaign", "trials", *faults.VERDICTS)} == {
        "campaign": "two", "trials": 2, "right": 1, "foreign": 0, "wrong": 1, "blocked": 0}  # fmt: skip
    assert len(faults.run(["two"], most=1)) == 1
    assert isinstance(faults.run([]), pd.DataFrame)


@pytest.mark.fast
def test_damage_is_damage(faults):
    for name, damage in faults.DAMAGE.items():
        assert damage(b"content of a file", random.Random(0)) != b"content of a file", name
        damage(b"", random.Random(0))


@pytest.mark.fast
def test_campaigns_are_recorded_one_by_one(faults):
    def trials(name, *verdicts):
        rows = [
            {"campaign": name, "what": "x", "verdict": verdict, "detail": "", "seconds": 1.0} for verdict in verdicts
        ]
        return pd.DataFrame(rows)

    known = faults.merged({}, trials("damage", "right", "wrong"), commit="a")
    known = faults.merged(known, trials("kills", "foreign"), commit="a")
    assert [row["campaign"] for row in known["campaigns"]] == ["kills", "damage"] and len(known["amiss"]) == 2
    known = faults.merged(known, trials("damage", "right", "right"), commit="b")
    assert [(row["trials"], row["wrong"], row["commit"]) for row in known["campaigns"]] == [(1, 0, "a"), (2, 0, "b")]
    assert [row["campaign"] for row in known["amiss"]] == ["kills"]
