import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab.errors import ConfigError, DataError
from hyperlab.metrics import candidates


def random_masks(seed, n=3, count=4, shape=(5, 6), share=0.4):
    return np.random.default_rng(seed).random((n, count, *shape)) < share


def slow_overlap(a, b, measure):
    both, either, sizes = (a & b).sum(), (a | b).sum(), a.sum() + b.sum()
    if not sizes:
        return 1.0
    return both / either if measure == "iou" else 2 * both / sizes


def slow_energy(s, y, measure, unbiased):
    distance = lambda a, b: 1 - slow_overlap(a, b, measure)  # noqa: E731
    cross = np.mean([distance(a, b) for a in s for b in y])
    pairs = itertools.permutations if unbiased else lambda x, n: itertools.product(x, repeat=n)
    within = [np.mean([distance(a, b) for a, b in pairs(list(x), 2)]) for x in (s, y)]
    return 2 * cross - sum(within)


# three masks with the overlaps of a toy whose truth is known
MODES = np.array([[1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1]], bool)
TRUTH = np.array([0.5, 0.3, 0.2])


def over_all_draws(function, count):
    """The exact expectation over `count` independent draws of the modes."""
    draws = np.array(list(itertools.product(range(3), repeat=count)))
    return float((TRUTH[draws].prod(1) * np.asarray(jax.jit(function)(jnp.asarray(MODES[draws])))).sum())


@pytest.mark.parametrize("measure", candidates.MEASURES)
def test_overlap_is_its_formula_pair_by_pair(measure):
    first, second = random_masks(0), random_masks(1, count=3)
    first[0, 0] = second[0, 0] = False
    expected = [[[slow_overlap(a, b, measure) for b in y] for a in s] for s, y in zip(first, second, strict=True)]
    result = jax.jit(candidates.overlap, static_argnums=2)(first, second, measure)
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    assert result[0, 0, 0] == 1 and np.isnan(candidates.overlap(first, second, measure, both_empty=np.nan)[0, 0, 0])
    assert (np.asarray(result)[0, 0, 1:] == 0).all()  # one empty


def test_best_and_mean_candidate_dice_and_what_is_undefined():
    s, y = random_masks(2), random_masks(3, count=2)
    table = np.array([[[slow_overlap(a, b, "dice") for b in yy] for a in ss] for ss, yy in zip(s, y, strict=True)])
    np.testing.assert_allclose(candidates.best_candidate_dice(s, y), table.max(1).mean(1), rtol=1e-6)
    np.testing.assert_allclose(candidates.mean_candidate_dice(s, y), table.mean((1, 2)), rtol=1e-6)
    y[0, 1] = False  # an annotator who drew nothing, and no candidate agrees: 0
    np.testing.assert_allclose(candidates.best_candidate_dice(s, y)[0], table[0, :, 0].max() / 2, rtol=1e-6)
    s[0, 3] = False  # now one agrees: undefined, left out
    remaining = max(slow_overlap(a, y[0, 0], "dice") for a in s[0])
    np.testing.assert_allclose(candidates.best_candidate_dice(s, y)[0], remaining, rtol=1e-6)
    np.testing.assert_allclose(candidates.best_candidate_dice(s, y, both_empty=1.0)[0], (remaining + 1) / 2, rtol=1e-6)
    nothing = np.zeros((1, 2, 3), bool)
    assert np.isnan(candidates.best_candidate_dice(nothing, nothing)[0])
    assert np.isnan(candidates.mean_candidate_dice(nothing, nothing)[0])


@pytest.mark.parametrize("measure", candidates.MEASURES)
@pytest.mark.parametrize("unbiased", [False, True])
def test_energy_distance_is_its_double_sums(measure, unbiased):
    s, y = random_masks(4), random_masks(5, count=3)
    y[1, 0] = False
    result = candidates.energy_distance(s, y, distance=measure, unbiased=unbiased)
    expected = [slow_energy(a, b, measure, unbiased) for a, b in zip(s, y, strict=True)]
    np.testing.assert_allclose(result, expected, atol=1e-6)
    mixed = candidates.energy_distance(s[:, ::-1], y[:, [2, 0, 1]], distance=measure, unbiased=unbiased)
    np.testing.assert_allclose(mixed, result, atol=1e-6)  # sets have no order


def test_energy_distance_is_zero_for_equal_multisets_and_at_its_edges():
    s = random_masks(6)
    np.testing.assert_allclose(candidates.energy_distance(s, s[:, ::-1]), 0, atol=1e-6)
    np.testing.assert_allclose(candidates.energy_distance(s, np.repeat(s, 2, 1)), 0, atol=1e-6)
    one = s[:, :1]
    assert np.isnan(candidates.energy_distance(one, s, unbiased=True)).all()
    assert np.isnan(candidates.sample_diversity(one, unbiased=True)).all()
    assert (np.asarray(candidates.sample_diversity(one)) == 0).all()
    # one annotator has no spread: 2 E d(S, y) - E d(S, S')
    expected = 2 * (1 - candidates.overlap(s, one)).mean((1, 2)) - candidates.sample_diversity(s, unbiased=True)
    np.testing.assert_allclose(candidates.energy_distance(s, one, unbiased=True), expected, atol=1e-6)
    empty = np.zeros_like(s)
    np.testing.assert_allclose(candidates.energy_distance(empty, empty), 0, atol=1e-6)
    np.testing.assert_allclose(candidates.energy_distance(empty, s), 2 - candidates.sample_diversity(s), atol=1e-6)


def test_the_usual_energy_distance_of_a_perfect_sampler_is_its_diversity_over_k_and_the_unbiased_one_is_zero():
    diversity = over_all_draws(lambda s: candidates.sample_diversity(s, unbiased=True), 2)
    pairs = 1 - np.asarray(candidates.overlap(MODES[None], MODES[None]))[0]
    assert diversity == pytest.approx(TRUTH @ pairs @ TRUTH, abs=1e-6)

    def distance(unbiased):
        def of(s):
            modes = jnp.broadcast_to(jnp.asarray(MODES), (len(s), *MODES.shape))
            odds = jnp.broadcast_to(jnp.asarray(TRUTH, jnp.float32), (len(s), 3))
            return candidates.energy_distance(s, modes, probabilities=odds, unbiased=unbiased)

        return of

    for count in (1, 2, 4):
        assert over_all_draws(distance(False), count) == pytest.approx(diversity / count, abs=1e-5)
        if count > 1:
            assert over_all_draws(distance(True), count) == pytest.approx(0, abs=1e-5)
            assert over_all_draws(candidates.sample_diversity, count) == pytest.approx(
                diversity * (1 - 1 / count), abs=1e-5
            )


def test_halves_of_a_diversity_of_a_third_are_the_numbers_of_the_reference_trial():
    """Two disjoint masks with chances p and 1 - p have a diversity of 2 p (1 - p): .329 at p = .2075."""
    p = (1 - np.sqrt(1 - 2 * 0.329)) / 2
    masks, odds = np.array([[[1, 0], [0, 1]]], bool), np.array([[p, 1 - p]], np.float32)
    distance = jax.jit(lambda s, y, odds: candidates.energy_distance(s, y, probabilities=odds))
    for count, expected in ((1, 0.329), (2, 0.165), (4, 0.082), (8, 0.041)):
        drawn = np.array(list(itertools.product((0, 1), repeat=count)))
        weights = np.where(drawn == 0, p, 1 - p).prod(1)
        values = distance(masks[0][drawn], masks.repeat(len(drawn), 0), odds.repeat(len(drawn), 0))
        assert (weights * np.asarray(values)).sum() == pytest.approx(expected, abs=6e-4)


def test_hungarian_iou_is_the_best_of_all_matchings():
    s, y = random_masks(7, n=2, count=3), random_masks(8, n=2, count=3)
    table = np.array([[[slow_overlap(a, b, "iou") for b in yy] for a in ss] for ss, yy in zip(s, y, strict=True)])
    best = [max(np.mean([t[i, p[i]] for i in range(3)]) for p in itertools.permutations(range(3))) for t in table]
    for match in candidates.MATCHINGS:
        np.testing.assert_allclose(candidates.hungarian_iou(s, y, match=match), best, rtol=1e-6)
        np.testing.assert_allclose(candidates.hungarian_iou(s[:, ::-1], y, match=match), best, rtol=1e-6)
    np.testing.assert_allclose(candidates.hungarian_iou(s, s), 1)
    # 2 candidates and 3 annotations: each candidate three times and each annotation twice
    repeated = candidates.hungarian_iou(np.repeat(s[:, :2], 3, 1), np.repeat(y, 2, 1), match="rectangular")
    np.testing.assert_allclose(candidates.hungarian_iou(s[:, :2], y), repeated, rtol=1e-6)
    pairs = [max(np.mean([t[i, p[i]] for i in range(2)]) for p in itertools.permutations(range(3), 2)) for t in table]
    np.testing.assert_allclose(candidates.hungarian_iou(s[:, :2], y, match="rectangular"), pairs, rtol=1e-6)


def test_mode_frequencies_coverage_and_their_expectations_under_the_truth():
    one = jnp.asarray(MODES[None])
    drawn = jnp.asarray(MODES[[0, 0, 1, 2]][None])
    np.testing.assert_allclose(candidates.mode_frequencies(drawn, one), [[0.5, 0.25, 0.25]])
    np.testing.assert_allclose(candidates.mode_frequencies(jnp.zeros_like(drawn), one), 0)
    np.testing.assert_allclose(candidates.mode_coverage(drawn[:, :3], one, jnp.asarray(TRUTH[None])), [0.8], rtol=1e-6)
    np.testing.assert_allclose(candidates.frequency_error(jnp.array([[0.0, 0.0, 0.0]]), jnp.asarray(TRUTH[None])), [1])
    odds = jnp.asarray(TRUTH, jnp.float32)[None]

    def spread(s):
        return jnp.broadcast_to(one, (len(s), *MODES.shape)), jnp.broadcast_to(odds, (len(s), 3))

    for count in (1, 3):
        coverage = over_all_draws(lambda s: candidates.mode_coverage(s, *spread(s)), count)
        assert coverage == pytest.approx(candidates.sampled_coverage(TRUTH, count), abs=1e-5)
        error = over_all_draws(
            lambda s: candidates.frequency_error(candidates.mode_frequencies(s, spread(s)[0]), spread(s)[1]), count
        )
        assert error == pytest.approx(candidates.sampled_frequency_error(TRUTH, count), abs=1e-5)
    assert candidates.sampled_frequency_error(TRUTH, 512) < 0.03


def test_everything_on_the_device_can_be_jitted():
    s, y = jnp.asarray(random_masks(9)), jnp.asarray(random_masks(10, count=2))

    def of(s, y):
        return [candidates.best_candidate_dice(s, y), candidates.energy_distance(s, y, unbiased=True),
                candidates.mode_coverage(s, y), candidates.mode_frequencies(s, y).sum(-1)]  # fmt: skip

    for compiled, eager in zip(jax.jit(of)(s, y), of(s, y), strict=True):
        np.testing.assert_allclose(compiled, eager, atol=1e-6)


def test_refusals():
    s = random_masks(11)
    with pytest.raises(DataError, match="masks are float64, expected bool"):
        candidates.sample_diversity(s.astype(float))
    with pytest.raises(DataError, match=r"\(3, 4, 5, 6\) and \(3, 4, 5\)"):
        candidates.energy_distance(s, s[..., 0])
    with pytest.raises(DataError, match="at least one mask"):
        candidates.best_candidate_dice(s, s[:, :0])
    with pytest.raises(DataError, match=r"probabilities have shape \(3, 2\)"):
        candidates.energy_distance(s, s, probabilities=np.ones((3, 2)))
    with pytest.raises(ConfigError, match="unknown measure 'jaccard'"):
        candidates.overlap(s, s, "jaccard")
    with pytest.raises(ConfigError, match="unknown match"):
        candidates.hungarian_iou(s, s, match="square")
