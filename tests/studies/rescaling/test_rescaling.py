"""The rescaling study: priors, networks of the arms, steps on canvases, scores by subject."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperlab import trees
from hyperlab.data.factors import Prior
from hyperlab.data.splits import Split
from hyperlab.errors import ConfigError
from hyperlab.metrics import segmentation
from hyperlab.metrics.defined import mean_dice
from hyperlab.models import UNet
from hyperlab.nn import plan
from hyperlab.studies.rescaling import ARMS, Cell, networks, programs
from hyperlab.studies.rescaling.arms import cells_of

SHAPE = (12, 11)
PRIMARY = UNet((2, 3, 2), 3, convs_per_block=1)
IMAGES = jax.random.normal(jax.random.key(1), (6, *SHAPE, 1))
LABELS = jax.random.randint(jax.random.key(2), (6, *SHAPE), 0, 3)
EXAMPLES = programs.Examples(IMAGES, LABELS)
BUCKETS = plan(SHAPE, 3, 0.0, 0.5, programs=2)
SSHN = ARMS["sshn"]


def build(arm, **options):
    example = jax.ShapeDtypeStruct((1, *SHAPE, 1), jnp.float32)
    hidden = {"hidden": (4,)} if arm.network == "hypernet" else {}
    return networks.build(arm, PRIMARY, example, low=0.0, high=0.5, **hidden, **options)


def made(arm):
    return programs.Programs(build(arm), {"name": "adam"}, BUCKETS, classes=3, evaluation_batch=4)


# -- prior --------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["uniform", "area"]), st.floats(0, 0.4), st.floats(0.05, 0.6), st.integers(0, 9))
def test_draws_are_inside_repeatable_and_follow_the_distribution(kind, low, width, seed):
    prior = Prior(kind, low, low + width)
    draws = np.array([prior.draw(seed, step) for step in range(300)])
    assert ((draws > low) & (draws <= low + width + 1e-12)).all()
    assert prior.draw(seed, 7) == draws[7]
    uniform = np.sort([prior.cumulative(draw) for draw in draws])
    assert np.abs(uniform - (np.arange(300) + 0.5) / 300).max() < 0.11  # Kolmogorov: p < 1e-3 beyond 0.112


def test_a_prior_that_is_none_is_refused():
    for wrong in [{"kind": "normal"}, {"low": 0.5, "high": 0.5}, {"high": 1.5}, {"low": -0.1}]:
        with pytest.raises(ConfigError):
            Prior(**wrong)


# -- networks -----------------------------------------------------------------------------------------------------


def test_arms_that_share_a_seed_share_the_primary():
    key = jax.random.key(3)
    plain, film, sshn = (jax.jit(build(ARMS[name]).init)(jax.random.clone(key)) for name in ("fixed", "film", "sshn"))
    for other in (film["unet"], sshn["theta0"]):
        assert all(jnp.array_equal(a, b) for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(other), strict=True))


@pytest.mark.parametrize(
    "name", ["fixed", "film", "film_raw", "sshn", "sshn_blind", "sshn_scaled", "sshn_cos", "sshn_raw"]
)
def test_every_kind_of_network_runs_at_any_factor_and_trains(name):
    network = build(ARMS[name])
    params = jax.jit(network.init)(jax.random.key(0))

    @jax.jit
    @jax.grad
    def gradient_at(params, factor):
        prepared = network.prepare(params, factor)
        return jnp.square(network.run(prepared, IMAGES, ((12, 11), (4, 4), (2, 2)), None)).mean()

    for factor in (0.1, 0.3, 0.9):  # the last is beyond the prior: evaluation there is allowed
        gradient = gradient_at(params, jnp.array([factor]))
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    prepared = jax.eval_shape(network.prepare, params, jnp.array([0.3]))
    assert trees.count(prepared) >= trees.count(jax.eval_shape(PRIMARY.init, jax.random.key(0), IMAGES))


def test_a_blind_hypernetwork_gives_the_same_at_every_factor_and_another_does_not():
    for name, same in (("sshn", False), ("sshn_blind", True)):
        network = build(ARMS[name])
        params = jax.jit(network.init)(jax.random.key(0))
        one, other = (jax.tree.leaves(network.prepare(params, jnp.array([factor]))) for factor in (0.1, 0.5))
        assert all(jnp.array_equal(a, b) for a, b in zip(one, other, strict=True)) == same


def test_cells_are_one_a_factor_one_a_width_or_one():
    config = type("Config", (), {"factors": (0.2, 0.5), "widths": (0.25,)})
    assert cells_of("fixed", config) == [Cell("fixed", 0.2), Cell("fixed", 0.5)]
    assert cells_of("width", config) == [Cell("width", 0.5, 0.25)] and cells_of("sshn", config) == [Cell("sshn")]
    assert len({cell.trained_at for arm in ARMS for cell in cells_of(arm, config)}) == 4


# -- steps --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fixed", "film", "sshn"])
def test_a_step_on_a_canvas_is_the_exact_step(name):
    runs = made(ARMS[name])
    key, indices = jax.random.key(0), np.arange(4)
    for factor in (0.13, 0.37) if name == "sshn" else (0.37,):
        batch = runs.batch((factor,), indices)
        states = [runs.start(jax.random.key(5), 0.1, 10) for _ in range(2)]
        canvas, _ = runs.step(states[0], EXAMPLES, batch, None, key)
        exact, _ = runs.step(states[1], EXAMPLES, batch, factor, key)
        # Of the gradients, which Adam's first moment holds: the update itself is a sign, which rounding may turn.
        moments = [jax.tree.leaves(s.opt_state) for s in (canvas, exact)]
        for a, b in zip(*moments, strict=True):
            np.testing.assert_allclose(a, b, atol=2e-5)


def test_a_sandwich_step_is_at_the_mean_gradient_of_its_factors():
    runs, factors = made(ARMS["stochastic"]), (0.1, 0.5, 0.3)

    def first_moment(several):  # a tenth of the gradient
        start = runs.start(jax.random.key(5), 0.1, 10)
        after, _ = runs.step(start, EXAMPLES, runs.batch(several, np.arange(4)), None, jax.random.key(0))
        return [leaf for path, leaf in trees.flatten(after.opt_state).items() if "/mu/" in path]

    together, *each = map(first_moment, (factors, *((factor,) for factor in factors)))
    assert together
    for whole, *parts in zip(together, *each, strict=True):
        np.testing.assert_allclose(whole, np.mean(parts, 0), atol=1e-6)


def test_one_program_follows_schedules_of_every_length():
    runs = programs.Programs(build(ARMS["fixed"]), {"name": "sgd", "schedule": "cosine"}, BUCKETS, classes=3)
    batch, ends = runs.batch((0.5,), np.arange(4)), []
    for steps in (1, 4):
        current = runs.start(jax.random.key(0), 0.1, steps)
        for _ in range(steps):
            current, _ = runs.step(current, EXAMPLES, batch, 0.5, jax.random.key(0))
        at_end = jax.tree.map(np.asarray, current.params)
        current, _ = runs.step(current, EXAMPLES, batch, 0.5, jax.random.key(0))
        ends += [np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (at_end, current.params)), strict=True)]
    assert all(ends)  # the rate has come to zero
    assert len(runs.compile_seconds) == 1


def test_programs_are_one_a_bucket_whatever_the_factor_the_seed_and_the_rate():
    runs = made(ARMS["stochastic"])
    for seed, rate in ((0, 0.1), (1, 0.01)):
        current = runs.start(jax.random.key(seed), rate, 10)
        for factor in np.linspace(0.02, 0.5, 25):
            current, _ = runs.step(
                current, EXAMPLES, runs.batch((float(factor),), np.arange(4)), None, jax.random.key(0)
            )
    assert len(runs.compile_seconds) == len(BUCKETS)


def test_the_learning_rate_is_a_number_in_the_state():
    runs = made(ARMS["stochastic"])
    batch, moved = runs.batch((0.3,), np.arange(4)), []
    for rate in (0.0, 0.01, 0.02):
        start = runs.start(jax.random.key(0), rate, 10)
        before = jax.tree.map(jnp.array, start.params)
        after, _ = runs.step(start, EXAMPLES, batch, None, jax.random.key(0))
        moved.append(jnp.abs(after.params["classifier"]["bias"] - before["classifier"]["bias"]).max())
    np.testing.assert_allclose(moved, [0, 0.01, 0.02], rtol=1e-3)


def test_magnifying_by_one_changes_nothing_and_by_two_shows_the_middle_half():
    ones = jnp.ones(6)
    same, labels = programs.magnified(IMAGES, LABELS, ones)
    np.testing.assert_allclose(same, IMAGES, atol=1e-5)
    assert jnp.array_equal(labels, LABELS)
    square = jnp.zeros((1, 16, 16)).at[:, 6:10, 6:10].set(1)
    image, label = programs.magnified(square[..., None], square.astype(jnp.int32), jnp.array([2.0]))
    assert label.sum() == 64 and label[0, 4:12, 4:12].all() and float(image[0, 8, 8, 0]) == 1


# -- scores -------------------------------------------------------------------------------------------------------


def test_scores_pool_the_images_of_a_subject_and_do_not_see_padding():
    runs = made(ARMS["stochastic"])
    groups = np.array([7, 7, 3, 9, 9], np.int32)
    split = Split(np.asarray(IMAGES[:5]), np.asarray(LABELS[:5], np.int32), groups, np.arange(5, dtype=np.int32))
    params = jax.jit(runs.network.init)(jax.random.key(0))
    found = runs.dice(params, 0.3, split)
    logits = jax.jit(lambda p, x: PRIMARY.apply({"params": p}, x, runs.sizes(0.3)))(params, IMAGES[:5])
    predicted = np.asarray(segmentation.predicted_labels(logits))
    for row, subject in enumerate((3, 7, 9)):
        own = groups == subject
        for label in (1, 2):
            a, b = predicted[own] == label, np.asarray(LABELS[:5])[own] == label
            assert found[row, label - 1] == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()), abs=1e-6)


def test_mean_dice_is_over_subjects_then_classes():
    nan = np.nan
    assert mean_dice(np.array([[1.0, 0.0], [0.5, nan]])) == pytest.approx((0.75 + 0.0) / 2)
    assert mean_dice(np.array([[1.0, nan], [0.5, nan]])) == 0.75
    assert np.isnan(mean_dice(np.full((2, 2), nan)))


def test_weights_of_one_factor_run_at_another():
    runs = made(SSHN)
    split = Split(np.asarray(IMAGES), np.asarray(LABELS, np.int32), np.arange(6), np.arange(6))
    params = jax.jit(runs.network.init)(jax.random.key(0))
    prepared = runs.prepare(params, np.array([0.5], np.float32))
    logits = jax.jit(lambda p, x: PRIMARY.apply({"params": p}, x, runs.sizes(0.2)))(prepared, IMAGES)
    expected = segmentation.predicted_labels(logits)
    counts = segmentation.counts(expected, LABELS, 3)
    np.testing.assert_array_equal(runs.counts(prepared, 0.2, split).true_positive, counts.true_positive)
