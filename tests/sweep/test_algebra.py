"""The algebra of rows: what each function yields, for any axes."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperlab.errors import ConfigError
from hyperlab.sweep import Integers, chain, log_uniform, one_at_a_time, product, sample, uniform, zip_

pytestmark = pytest.mark.fast

VALUES = st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True)
AXES = st.dictionaries(st.sampled_from(["a", "b.c", "d"]), VALUES, max_size=3)


@given(AXES)
def test_a_product_has_every_combination_once(axes):
    rows = list(product(axes))
    assert [tuple(row.values()) for row in rows] == list(itertools.product(*axes.values()))
    assert all(list(row) == list(axes) for row in rows)


@given(AXES)
def test_a_product_of_the_axes_one_by_one_is_the_product_of_all(axes):
    assert list(product(*({key: values} for key, values in axes.items()))) == list(product(axes))


def test_parts_of_a_product_may_be_rows_but_not_share_a_key():
    low_and_high = zip_({"low": [0, 1], "high": [1, 2]})
    rows = list(product({"seed": [0, 1]}, low_and_high))
    assert rows[1] == {"seed": 0, "low": 1, "high": 2} and len(rows) == 4
    with pytest.raises(ConfigError, match="two parts of a product set seed"):
        list(product({"seed": [0]}, [{"seed": 1}]))


def test_zip_takes_values_of_equal_number():
    assert list(zip_({"a": [1, 2], "b": "xy"})) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert list(zip_({})) == []
    with pytest.raises(ConfigError, match="a has 2, b has 1"):
        list(zip_({"a": [1, 2], "b": [1]}))


@given(st.lists(st.dictionaries(st.sampled_from("ab"), st.integers(0, 1)), max_size=6))
def test_a_chain_keeps_the_order_and_gives_equal_rows_once(rows):
    chained = list(chain(rows, reversed(rows)))
    assert all(row in chained for row in rows) and all(chained.count(row) == 1 for row in chained)
    assert [rows.index(row) for row in chained] == sorted(rows.index(row) for row in chained)


@given(AXES)
def test_one_at_a_time_changes_at_most_one_key(axes):
    rows = list(one_at_a_time(axes))
    assert rows[0] == {} and all(len(row) == 1 for row in rows[1:])
    assert len(rows) == 1 + sum(map(len, axes.values()))


RANGES = {"rate": log_uniform(1e-4, 1e-1), "share": uniform(-1.0, 1.0), "width": Integers(3, 40), "kind": ["x", "y"]}


@settings(max_examples=30)
@given(st.integers(1, 30), st.integers(0, 2**31))
def test_samples_lie_in_their_ranges_and_fill_them(count, seed):
    rows = list(sample(RANGES, count, seed))
    assert len(rows) == count and rows == list(sample(RANGES, count, seed))
    for row in rows:
        assert 1e-4 <= row["rate"] <= 1e-1 and -1 <= row["share"] <= 1
        assert isinstance(row["width"], int) and 3 <= row["width"] <= 40 and row["kind"] in "xy"
    # One draw from each of `count` equal parts of a range.
    parts = sorted(int((row["share"] + 1) / 2 * count + 1e-6 * count) for row in rows)
    assert sum(abs(part - place) for place, part in enumerate(parts)) <= 1 + count // 10


def test_a_key_more_leaves_the_samples_of_the_others_alone():
    more = [{key: row[key] for key in RANGES} for row in sample({**RANGES, "new": uniform(0.0, 1.0)}, 5, 0)]
    assert more == list(sample(RANGES, 5, 0)) != list(sample(RANGES, 5, 1))


def test_choices_are_drawn_equally_often_and_no_row_twice():
    assert sorted(row["kind"] for row in sample({"kind": ["x", "y"], "rate": uniform(0.0, 1.0)}, 6, 0)) == list(
        "xxxyyy"
    )
    assert list(sample({"kind": ["x"]}, 6, 0)) == [{"kind": "x"}]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"a": uniform(1.0, 1.0)}, "two rising numbers"),
        ({"a": log_uniform(0.0, 1.0)}, "above 0"),
        ({"a": Integers(3, 2)}, "low <= high"),
        ({"a": []}, "no values"),
        ({"a": "adam"}, "a list of values"),
        ({"a": 3}, "a list of values"),
    ],
)
def test_a_range_that_is_none_is_refused_by_name(axes, message):
    with pytest.raises(ConfigError, match=f"'a' .*{message}"):
        list(sample(axes, 2, 0))


def test_no_samples_are_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        list(sample(RANGES, 0, 0))
