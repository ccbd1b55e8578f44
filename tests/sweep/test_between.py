"""Comparisons of the rows of a sweep, named before they run."""

import numpy as np
import pandas as pd
import pytest
from run_folders import table, write_run

from hyperlab import sweep
from hyperlab.errors import ConfigError
from hyperlab.metrics import statistics
from hyperlab.sweep import Between, between
from hyperlab.sweep import page as report
from hyperlab.train.heartbeat import State

pytestmark = pytest.mark.fast

ONE, TWO, THREE = ({"network": name} for name in ("one", "two", "three"))


def write_rows(folder, values):
    """Run folders `network=NAME` with a value a seed, at two compressions whose mean it is."""
    for name, seeds in values.items():
        parts = [
            table(("mip",), range(len(seeds)), "dice", compression=at).assign(value=np.add(seeds, shift))
            for at, shift in ((2, 0.1), (4, -0.1))
        ]
        write_run(folder / f"network={name}", pd.concat(parts))


def test_rows_are_paired_by_seed_and_corrected_together(tmp_path):
    rng = np.random.default_rng(0)
    values = {name: rng.normal(mean, 0.05, 6) for name, mean in (("one", 0.8), ("two", 0.6), ("three", 0.79))}
    write_rows(tmp_path, values)
    family = Between("dice", (ONE, TWO, THREE), ("arm=mip", "split=test"), over=("compression",))
    (found,) = between.measure(tmp_path, [family])
    expected = statistics.contrasts({name: (values["one"], values[name]) for name in ("two", "three")})
    for (name, one), other in zip(found.contrasts.items(), expected.values(), strict=True):
        assert name.startswith("network=one - network=")
        np.testing.assert_allclose(one.differences, other.differences)
        assert (one.mean, one.low, one.high, one.p) == pytest.approx((other.mean, other.low, other.high, other.p))
        assert (one.verdict, one.label, one.n) == (other.verdict, other.label, 6)
    assert list(found.contrasts) == [f"network=one - network={name}" for name in ("two", "three")]


def test_what_is_averaged_over_has_to_be_said(tmp_path):
    write_rows(tmp_path, {"one": [0.5] * 3, "two": [0.4] * 3})
    (found,) = between.measure(tmp_path, [Between("dice", (ONE, TWO))])
    assert "average over a column by over=" in found.problem and "compression" in found.problem


def test_groups_are_compared_each_for_itself_in_one_family(tmp_path):
    rng = np.random.default_rng(1)
    write_rows(tmp_path, {"one": rng.normal(0.8, 0.05, 5), "two": rng.normal(0.75, 0.05, 5)})
    (apart,) = between.measure(tmp_path, [Between("dice", (ONE, TWO), ("compression=2",))])
    (found,) = between.measure(tmp_path, [Between("dice", (ONE, TWO), by=("compression",))])
    (alone,), (first, second) = apart.contrasts.values(), found.contrasts.values()
    assert [name.rpartition(", ")[2] for name in found.contrasts] == ["compression 2.0", "compression 4.0"]
    assert first.p == pytest.approx(min(1, 2 * alone.p)) and first.n == second.n == 5


@pytest.mark.parametrize(
    ("families", "message"),
    [
        ([Between("dice", (ONE, {"network": "tow"}))], "no row 'network=tow'; did you mean 'network=two'"),
        ([Between("dice", (ONE,))], "expected one and 1 to 3 others"),
        ([Between("dice", (ONE, TWO, ONE))], "expected one and 1 to 3 others"),
        ([Between("dice", (ONE, TWO)), Between("dice", (ONE, THREE))], "'dice' twice"),
        ([("dice", ONE, TWO)], "gives a tuple"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_a_row_runs(families, message):
    with pytest.raises(ConfigError, match=message):
        between.check(families, [row.name for row in sweep.table({"network": "one"}, [ONE, TWO, THREE])])


def test_the_page_answers_and_waits_for_rows_that_are_not_done(tmp_path):
    family = Between("dice", (ONE, TWO), over=("compression",))
    states = {one: State("finished") for one in family.names}
    write_rows(tmp_path, {"one": [0.5, 0.6, 0.7, 0.8, 0.9]})
    page = report.write(tmp_path, states, between.measure(tmp_path, [family])).read_text()
    assert "cannot be compared yet" in page and not (tmp_path / "between.csv").exists()
    write_rows(tmp_path, {"two": [0.4, 0.4, 0.6, 0.6, 0.8]})
    page = report.write(tmp_path, states, between.measure(tmp_path, [family])).read_text()
    assert "+0.14" in page and "means over compression" in page and "better" in page
    row = pd.read_csv(tmp_path / "between.csv").iloc[0]
    assert row["mean"] == pytest.approx(0.14) and row["n"] == 5 and row["of"] == "means over compression"


def test_a_scope_may_hold_a_slash(tmp_path):
    for name, value in (("one", 0.5), ("two", 0.4)):
        write_run(tmp_path / f"network={name}", table(("mip",), metric="dice", task="wbc/nucleus").assign(value=value))
    compared = between.measure(tmp_path, [Between("dice", (ONE, TWO), ("task=wbc/nucleus",))])
    assert "task=wbc/nucleus" in report.write(tmp_path, {}, compared).read_text()
