import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperlab.errors import ConfigError, DataError
from hyperlab.metrics import statistics as s

FIRST = np.array([0.91, 0.93, 0.90, 0.95, 0.94])
SECOND = np.array([0.90, 0.90, 0.91, 0.91, 0.92])

# -- contrasts --------------------------------------------------------------------------------------------------


@pytest.mark.fast
def test_the_interval_is_the_t_interval_of_the_differences():
    result = s.paired_contrast(FIRST, SECOND)
    d = FIRST - SECOND
    half = scipy.stats.t.ppf(0.975, 4) * np.sqrt(np.sum((d - d.mean()) ** 2) / 4) / np.sqrt(5)
    np.testing.assert_allclose([result.mean, result.low, result.high], [0.018, 0.018 - half, 0.018 + half])
    np.testing.assert_allclose(result.p, scipy.stats.ttest_rel(FIRST, SECOND).pvalue)
    np.testing.assert_array_equal(result.differences, d)
    assert (result.n, result.verdict, result.label) == (5, "not separable with 5 seeds", "")
    wide = s.paired_contrast(FIRST, SECOND, confidence=0.99)
    assert wide.low < result.low < result.high < wide.high


@pytest.mark.fast
def test_better_and_worse_follow_the_direction_of_the_metric():
    low, high = np.arange(6) / 100, 1 + np.arange(6) ** 2 / 100
    for first, second, better, verdict in [
        (high, low, "higher", "better"),
        (low, high, "higher", "worse"),
        (high, low, "lower", "worse"),
        (low, high, "lower", "better"),
    ]:
        result = s.paired_contrast(first, second, better=better)
        assert result.verdict == verdict
        assert np.sign(result.mean) == np.sign(first[0] - second[0])


@pytest.mark.fast
@pytest.mark.parametrize(
    ("n", "label", "verdict"),
    [(1, "no claim", "no claim with 1 seed"), (2, "no claim", "no claim with 2 seeds"),
     (3, "look", "better"), (4, "look", "better"), (5, "", "better")],
)  # fmt: skip
def test_few_seeds_are_labelled_and_two_support_no_claim(n, label, verdict):
    second = np.arange(n) * 0.5
    first = second + 100 + 1e-3 * np.arange(n)
    result = s.paired_contrast(first, second)
    assert (result.label, result.verdict, result.n) == (label, verdict, n)
    assert result.low <= result.mean <= result.high


@pytest.mark.fast
def test_holm_on_a_known_table():
    np.testing.assert_allclose(s.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(s.holm([0.6, 0.5]), [1.0, 1.0])
    assert s.holm([]).shape == (0,)
    for wrong in ([0.1, np.nan], [-0.1], [1.1]):
        with pytest.raises(DataError, match=r"0\.\.1"):
            s.holm(wrong)


@pytest.mark.fast
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(0.01, 0.2))
def test_holm_rejects_as_the_step_down_procedure_does(p, alpha):
    adjusted = s.holm(p)
    rejected, going = set(), True
    for place, which in enumerate(np.argsort(p, kind="stable")):
        going = going and p[which] * (len(p) - place) <= alpha
        rejected |= {which} if going else set()
    assert set(np.flatnonzero(adjusted <= alpha)) == rejected
    assert np.all(adjusted >= p)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 12), st.integers(1, 3))
def test_an_interval_excludes_zero_exactly_where_holm_rejects(seed, n, family):
    rng = np.random.default_rng(seed)
    pairs = {str(i): (rng.normal(rng.uniform(0, 2), 1, n), rng.normal(0, 1, n)) for i in range(family)}
    results = s.contrasts(pairs)
    raw = [scipy.stats.ttest_rel(*pair).pvalue for pair in pairs.values()]
    np.testing.assert_allclose([one.p for one in results.values()], s.holm(raw))
    for one in results.values():
        assert (one.p < 0.05) == (not one.low <= 0 <= one.high)
        alone = scipy.stats.ttest_1samp(one.differences, 0).confidence_interval(0.95)
        assert one.low <= alone.low + 1e-9 and one.high >= alone.high - 1e-9


@pytest.mark.fast
def test_levels_of_a_family_by_hand():
    """p = .001, .03, .04 against .05/3, .05/2: the second is not rejected, and the third keeps its level."""
    np.testing.assert_allclose(s._holm_levels(np.array([0.04, 0.001, 0.03]), 0.05), [0.025, 0.05 / 3, 0.025])
    # .03 alone would be rejected
    np.testing.assert_allclose(s._holm_levels(np.array([0.03]), 0.05), [0.05])


@pytest.mark.fast
def test_differences_without_spread():
    same = s.paired_contrast(FIRST, FIRST)
    assert (same.low, same.high, same.p, same.verdict) == (0, 0, 1, "not separable with 5 seeds")
    five = s.paired_contrast(FIRST, FIRST - 0.1)
    assert (five.low, five.high, five.p) == (-np.inf, np.inf, 1 / 16)
    assert five.verdict == "not separable with 5 seeds"
    base = np.linspace(0.1, 0.7, 6)
    six = s.paired_contrast(base + 0.1, base)
    assert six.verdict == "better" and six.p == 1 / 32 and six.low == six.high == pytest.approx(0.1)
    # in a family of three the same six are held to 1/60
    family = s.contrasts({"a": (base + 0.1, base), "b": (base, base), "c": (base, base)})
    assert [one.verdict for one in family.values()] == ["not separable with 6 seeds"] * 3


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.sampled_from(["higher", "lower"]))
def test_bounds_cut_intervals_and_change_nothing_else(seed, n, better):
    rng = np.random.default_rng(seed)
    pairs = {name: (rng.uniform(0, 1, n), rng.uniform(0, 1, n)) for name in "ab"}
    free, cut = s.contrasts(pairs, better=better), s.contrasts(pairs, better=better, bounds=(-1.0, 1.0))
    for a, b in zip(free.values(), cut.values(), strict=True):
        assert (b.low, b.high) == (max(a.low, -1), min(a.high, 1))
        assert b.clipped == (a.low < -1 or a.high > 1) and not a.clipped
        assert (b.mean, b.p, b.n, b.verdict, b.label) == (a.mean, a.p, a.n, a.verdict, a.label)
        assert b.low <= b.mean <= b.high


@pytest.mark.fast
def test_bounds_that_are_another_metrics_are_refused():
    with pytest.raises(ConfigError, match="expected 0 between them"):
        s.paired_contrast(FIRST, SECOND, bounds=(0.0, 1.0))
    with pytest.raises(DataError, match=r"differences hold 2, beyond what they can be: \(-1.0, 1.0\)"):
        s.paired_contrast(FIRST + 2, FIRST, bounds=(-1.0, 1.0))
    ones = np.ones(6, np.float32)
    s.paired_contrast(ones * np.float32(1 + 1e-7), ones * 0, bounds=(-1.0, 1.0))  # rounding is let pass


@pytest.mark.fast
def test_a_difference_in_the_last_digit_of_float32_is_no_spread():
    base = np.linspace(0.1, 0.7, 10, dtype=np.float32)
    moved = base + np.float32(0.1)
    assert np.ptp(moved.astype(float) - base) > 0
    assert s.paired_contrast(moved, base).p == 2.0**-9
    assert s.paired_contrast(base * np.float32(1 + 2e-7), base).verdict == "not separable with 10 seeds"


@pytest.mark.fast
def test_refusals_teach():
    with pytest.raises(ConfigError, match=r"4 contrasts \(a, b, c, d\), at most 3"):
        s.contrasts(dict.fromkeys("abcd", (FIRST, SECOND)))
    with pytest.raises(ConfigError, match="did you mean 'higher'"):
        s.paired_contrast(FIRST, SECOND, better="high")
    with pytest.raises(ConfigError, match="confidence is 95"):
        s.paired_contrast(FIRST, SECOND, confidence=95)
    with pytest.raises(DataError, match=r"mip - plain: first values are not finite at \[2\]: score failed runs"):
        s.contrasts({"mip - plain": (np.where(np.arange(5) == 2, np.nan, FIRST), SECOND)})
    with pytest.raises(DataError, match="second values are not finite"):
        s.paired_contrast(FIRST, np.append(SECOND[:4], np.inf))
    with pytest.raises(DataError, match="5 values against 4"):
        s.paired_contrast(FIRST, SECOND[:4])
    with pytest.raises(DataError, match="at least one value"):
        s.paired_contrast([], [])


def test_two_copies_of_one_arm_are_told_apart_in_five_percent_of_studies():
    rng = np.random.default_rng(7)
    seeds = rng.normal(0, 1, (2000, 1, 10))  # what a pair of runs shares, and what is its own
    runs = seeds + rng.normal(0, 0.5, (2000, 2, 10))
    wrong = [s.paired_contrast(*pair).verdict in ("better", "worse") for pair in runs]
    assert 0.04 <= np.mean(wrong) <= 0.06  # two standard deviations of a count of 2,000


def test_a_family_of_three_null_contrasts_errs_in_at_most_five_percent_of_studies():
    rng = np.random.default_rng(8)
    wrong = []
    for _ in range(800):
        arms = rng.normal(0, 1, (4, 10))
        family = s.contrasts({str(i): (arms[i], arms[3]) for i in range(3)})
        wrong.append(any(one.verdict in ("better", "worse") for one in family.values()))
    assert 0.02 <= np.mean(wrong) <= 0.065


def test_a_planted_handicap_is_found():
    rng = np.random.default_rng(9)
    verdicts = []
    for _ in range(200):
        arm = rng.normal(0.9, 0.01, 10)
        slowed = arm - 0.02 + rng.normal(0, 0.01, 10)
        family = {"slowed - arm": (slowed, arm), "arm - copy": (arm, arm), "copy - arm": (arm, arm)}
        verdicts.append(s.contrasts(family)["slowed - arm"].verdict)
    assert np.mean([verdict == "worse" for verdict in verdicts]) > 0.98
    assert "better" not in verdicts


# -- bootstrap ----------------------------------------------------------------------------------------------------


@pytest.mark.fast
def test_bootstrap_is_scipys_and_repeats_itself():
    values = np.random.default_rng(0).gamma(2.0, size=25)
    for method in ("percentile", "BCa"):
        mine = s.bootstrap(values, np.mean, method=method, resamples=500, seed=3)
        assert mine == s.bootstrap(values, np.mean, method=method, resamples=500, seed=3)
        theirs = scipy.stats.bootstrap(
            (values,), np.mean, n_resamples=500, method=method, rng=np.random.default_rng(3)
        ).confidence_interval
        assert mine == (values.mean(), theirs.low, theirs.high, 25)
    assert s.bootstrap(values, resamples=500).estimate == np.median(values)


@pytest.mark.fast
def test_bootstrap_refuses_few_units_and_survives_equal_ones():
    with pytest.raises(DataError, match="9 units, expected at least 10"):
        s.bootstrap(np.arange(9))
    with pytest.raises(DataError, match="not finite"):
        s.bootstrap(np.append(np.arange(12.0), np.nan))
    with pytest.raises(ConfigError, match="did you mean 'BCa'"):
        s.bootstrap(np.arange(12), method="BC")
    assert s.bootstrap(np.full(12, 0.5), np.mean, method="BCa") == (0.5, 0.5, 0.5, 12)


@pytest.mark.parametrize(("statistic", "method", "truth"), [
    (np.median, "percentile", np.log(2)), (np.mean, "BCa", 1.0),
])  # fmt: skip
def test_bootstrap_intervals_cover_what_they_say(statistic, method, truth):
    rng = np.random.default_rng(1)
    covered = []
    for seed in range(1000):
        interval = s.bootstrap(rng.exponential(size=40), statistic, method=method, resamples=400, seed=seed)
        covered.append(interval.low <= truth <= interval.high)
    assert 0.90 <= np.mean(covered) <= 0.97


@pytest.mark.fast
def test_median_range():
    assert s.median_range([3, 1, 2, 10]) == (2.5, 1, 10, 4)
    assert s.median_range([40, np.inf, np.inf]).median == np.inf
    for wrong in ([], [1.0, np.nan]):
        with pytest.raises(DataError, match="no NaN"):
            s.median_range(wrong)


# -- survival -----------------------------------------------------------------------------------------------------


@pytest.mark.fast
def test_kaplan_meier_on_a_table_known_by_hand():
    """Weeks of remission of 21 patients on 6-mercaptopurine (Freireich et al., 1963); + is censored."""
    weeks = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
    ended = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
    curve = s.kaplan_meier(weeks, ended)
    factors = {6: 18 / 21, 7: 16 / 17, 10: 14 / 15, 13: 11 / 12, 16: 10 / 11, 22: 6 / 7, 23: 5 / 6}
    times = [0, *sorted(set(weeks))]
    np.testing.assert_array_equal(curve.times, times)
    np.testing.assert_allclose(curve.survival, np.cumprod([factors.get(time, 1.0) for time in times]))
    assert s.median_time(weeks, ended) == 23


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=20))
@settings(deadline=None)
def test_kaplan_meier_equals_the_product_formula(runs):
    steps, reached = map(np.array, zip(*runs, strict=True))
    times, survival = s.kaplan_meier(steps, reached)
    assert times[0] == 0 and np.all(np.diff(times) > 0)
    product = 1.0
    for time, value in zip(times, survival, strict=True):
        product *= 1 - np.sum(reached & (steps == time)) / max(np.sum(steps >= time), 1)
        assert value == pytest.approx(product, abs=1e-12)
    if reached.all():
        np.testing.assert_allclose(survival, [(steps > time).mean() for time in times], atol=1e-12)


@pytest.mark.fast
def test_median_time_is_none_where_half_never_arrive():
    assert s.median_time([10, 20, 30, 40], [True, True, True, True]) == 20
    assert s.median_time([10, 20, 120, 120], [True, True, False, False]) == 20
    assert s.median_time([10, 120, 120], [True, False, False]) is None
    assert s.median_time([120, 120], [False, False]) is None
    # 7 of 14, whose product of fractions misses one half by rounding
    assert s.median_time(range(1, 15), [True] * 14) == 7
    for steps, reached in (([1, 2], [True]), ([-1], [True]), ([], []), ([np.nan], [True])):
        with pytest.raises(DataError):
            s.median_time(steps, reached)
