import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperlab import pareto
from hyperlab.errors import ConfigError, DataError

WAYS = {"dice": "max", "macs": "min"}
numbers = st.integers(0, 5).map(float)  # few values, so that ties are common
points = st.lists(st.tuples(numbers | st.just(np.nan), numbers | st.just(np.nan), numbers), max_size=12)


def brute(rows, signs):
    """Word for word: no other row is at least as good everywhere and better somewhere."""
    better_or_equal = lambda a, b: all(s * x >= s * y for s, x, y in zip(signs, a, b, strict=True))  # noqa: E731
    better = lambda a, b: any(s * x > s * y for s, x, y in zip(signs, a, b, strict=True))  # noqa: E731
    known = [not any(np.isnan(row)) for row in rows]
    return [
        k and not any(j and better_or_equal(o, row) and better(o, row) for o, j in zip(rows, known, strict=True))
        for row, k in zip(rows, known, strict=True)
    ]


@settings(max_examples=150, deadline=None)
@given(points, st.lists(st.sampled_from(["max", "min"]), min_size=3, max_size=3))
def test_the_front_is_what_the_definition_says(rows, ways):
    frame = pd.DataFrame(rows, columns=["a", "b", "c"], dtype=float)
    directions = dict(zip("abc", ways, strict=True))
    found = pareto.front(frame, directions)
    assert found.dtype == bool and found.index.equals(frame.index)
    assert found.tolist() == brute(rows, [1 if way == "max" else -1 for way in ways])
    assert pareto.excluded(frame, directions).tolist() == [i for i, row in enumerate(rows) if np.isnan(row).any()]


def test_ties_stay_together_failed_rows_stand_aside_and_the_index_is_kept():
    frame = pd.DataFrame(
        {"dice": [0.9, 0.9, 0.9, 0.7, np.nan, 0.99], "macs": [5, 5, 6, 1, 0, np.nan], "arm": list("abcdef")},
        index=[0.5, 0.5, 0.4, 0.1, 0.2, 0.3],
    )
    assert pareto.front(frame, WAYS).tolist() == [True, True, False, True, False, False]
    assert pareto.excluded(frame, WAYS).tolist() == [0.2, 0.3]
    assert pareto.front(frame, WAYS).index.tolist() == frame.index.tolist()
    assert pareto.front(frame, {"dice": "min"}).tolist() == [False, False, False, True, False, False]
    integers = frame.astype({"macs": "Int64"})  # pandas' own missing value
    assert pareto.front(integers, WAYS).tolist() == pareto.front(frame, WAYS).tolist()


def test_an_empty_frame_has_an_empty_front():
    frame = pd.DataFrame({"dice": [], "macs": []})
    assert pareto.front(frame, WAYS).tolist() == []
    assert pareto.hypervolume(frame, WAYS, {"dice": 0, "macs": 1}).value == 0


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(numbers | st.just(np.nan), numbers), max_size=10), st.tuples(numbers, numbers))
def test_the_hypervolume_is_the_number_of_dominated_unit_squares(rows, reference):
    frame = pd.DataFrame(rows, columns=["dice", "macs"], dtype=float)
    found = pareto.hypervolume(frame, WAYS, {"dice": reference[0], "macs": reference[1]})
    squares = {
        (x, y)
        for dice, macs in rows
        if not np.isnan(dice)
        for x in np.arange(reference[0], dice)
        for y in np.arange(macs, reference[1])
    }
    assert found.value == pytest.approx(len(squares))
    assert found.reference == {"dice": reference[0], "macs": reference[1]}


def test_a_better_point_grows_the_volume_and_a_dominated_one_does_not():
    reference, base = {"dice": 0.0, "macs": 10.0}, pd.DataFrame({"dice": [0.9, 0.5], "macs": [6.0, 2.0]})
    area = 0.9 * 4 + 0.5 * 4
    assert pareto.hypervolume(base, WAYS, reference).value == pytest.approx(area)
    dominated = pd.concat([base, pd.DataFrame({"dice": [0.4, 0.9, 0.99], "macs": [3.0, 6.0, 10.0]})])
    assert pareto.hypervolume(dominated, WAYS, reference).value == pytest.approx(area)
    better = pd.concat([base, pd.DataFrame({"dice": [0.8], "macs": [4.0]})])
    assert pareto.hypervolume(better, WAYS, reference).value == pytest.approx(0.9 * 4 + 0.8 * 2 + 0.5 * 2)


def test_mistakes_are_named():
    frame = pd.DataFrame({"dice": [0.9], "macs": [1.0], "arm": ["sshn"]})
    for directions, message in [
        ({}, "no directions"),
        ({"dize": "max"}, "did you mean 'dice'"),
        ({"dice": "maximum"}, "'max'"),
    ]:
        with pytest.raises(ConfigError, match=message):
            pareto.front(frame, directions)
    with pytest.raises(DataError, match="arm"):
        pareto.front(frame, {"arm": "max"})
    with pytest.raises(ConfigError, match="two columns"):
        pareto.hypervolume(frame, {"dice": "max"}, {"dice": 0.0})
    for reference in ({"dice": 0.0}, {"dice": 0.0, "macs": np.inf}):
        with pytest.raises(ConfigError, match="finite number for each"):
            pareto.hypervolume(frame, WAYS, reference)
