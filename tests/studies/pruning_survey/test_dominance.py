import itertools

import numpy as np
import pandas as pd
import pytest

from hyperlab.studies.pruning_survey.dominance import compare, comparisons, concave_hull, pareto_front

pytestmark = pytest.mark.fast


def random_points(seed, count=7):
    """Coarse, so that points coincide and tie."""
    return np.random.default_rng(seed).integers(0, 6, (count, 2)).astype(float)


def beats(p, q):
    return p[0] >= q[0] and p[1] >= q[1] and tuple(p) != tuple(q)


@pytest.mark.parametrize("seed", range(20))
def test_front_and_hull_against_their_definitions(seed):
    points = random_points(seed)
    front = pareto_front(points)
    expected = sorted({tuple(p) for p in points if not any(beats(q, p) for q in points)})
    assert [tuple(p) for p in front] == expected
    hull = concave_hull(front)
    slopes = np.diff(hull[:, 1]) / np.diff(hull[:, 0])
    assert (np.diff(slopes) <= 1e-12).all()
    for x in np.linspace(front[0, 0], front[-1, 0], 9):  # the least concave curve above the points is the highest chord
        chords = [
            np.interp(x, [a[0], b[0]], [a[1], b[1]])
            for a, b in itertools.combinations_with_replacement(front, 2)
            if a[0] <= x <= b[0]
        ]
        np.testing.assert_allclose(np.interp(x, *hull.T), max(chords))


@pytest.mark.parametrize("seed", range(20))
def test_outcomes_against_the_rules_one_point_at_a_time(seed):
    a, b = random_points(seed, 4), random_points(seed + 100, 5)
    hull = concave_hull(pareto_front(b))
    expected = []
    for point in pareto_front(a):
        if any(beats(vertex, point) for vertex in hull):
            expected.append(-2)
        elif any(beats(point, vertex) for vertex in hull):
            expected.append(2)
        elif hull[0, 0] <= point[0] <= hull[-1, 0]:
            expected.append(int(np.sign(point[1] - np.interp(point[0], *hull.T))))
        else:
            expected.append(0)
    assert compare(a, b).tolist() == expected


def test_a_copy_of_a_curve_neither_beats_it_nor_loses():
    points = np.array([[1.0, 0], [2, -0.1], [4, -0.5]])
    assert compare(points, points).tolist() == [0, 0, 0]


def test_only_claimed_comparisons_count_on_each_axis_and_metric():
    common = {"dataset": "d", "architecture": "n", "metric": "top1", "speedup": np.nan}
    rows = [("a", 4, -0.01), ("b", 4, -0.02), ("c", 2, 0.0)]
    frame = pd.DataFrame([{**common, "paper": p, "compression": c, "change": y} for p, c, y in rows])
    table = comparisons(frame, {"a": {"b", "nobody"}, "b": set(), "c": {"c"}})
    assert table[["paper", "other", "against", "dominant", "dominated"]].to_numpy().tolist() == [
        ["a", "b", "compression", 1, 0]
    ]
    with_speed = frame.assign(speedup=[2.0, 3.0, np.nan])
    assert len(comparisons(with_speed, {"a": {"b"}})) == 2
