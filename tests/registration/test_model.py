import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab.models.voxelmorph import Registration, VoxelMorph
from hyperlab.nn.spatial_transformer import warp_labels
from hyperlab.registration import synthetic
from hyperlab.registration.losses import gradient_penalty, mean_squared_error
from hyperlab.registration.model import Criterion, coarse_shape, draw_weights, loss_function, measure, optimize_pairs
from hyperlab.studies.registration import ARMS, networks

NETWORK = VoxelMorph(encoder=(2,), decoder=(3,), integration_steps=2)
CRITERION = Criterion(mean_squared_error, functools.partial(gradient_penalty, field_downsize=2))


@functools.cache
def pairs():
    images, labels = synthetic.shapes(3, (16, 16), noise=0.02, seed=0)
    fixed, fixed_labels, fields = synthetic.known_warps(
        images, labels, amplitude=1.0, smoothness=4.0, noise=0.0, seed=0
    )
    return {
        "moving": jnp.asarray(images),
        "fixed": jnp.asarray(fixed),
        "moving_labels": jnp.asarray(labels),
        "fixed_labels": jnp.asarray(fixed_labels),
        "field": jnp.asarray(fields),
    }


@functools.cache
def model():
    images = jnp.zeros((1, 16, 16, 1))
    built = networks.build(ARMS["mip"], NETWORK, images, images, hidden=(4,), activation="leaky_relu")
    return built, built.init(jax.random.key(0))


def test_weights_are_an_end_point_with_probability_one_fifth_and_depend_on_seed_and_step_alone():
    draws = draw_weights(0, range(4000))
    assert draws.dtype == np.float32 and draws.min() == 0 and draws.max() == 1
    share = np.mean((draws == 0) | (draws == 1))
    assert abs(share - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 4000)
    assert abs(np.mean(draws == 0) - 0.1) < 4 * np.sqrt(0.1 * 0.9 / 4000)
    inner = draws[(draws > 0) & (draws < 1)]
    assert abs(inner.mean() - 0.5) < 0.03 and abs(inner.std() - 12**-0.5) < 0.02
    np.testing.assert_array_equal(draws[100:110], draw_weights(0, range(100, 110)))
    assert (draw_weights(1, range(100)) != draws[:100]).any()
    assert draw_weights(0, range(3), (5,)).shape == (3, 5)


def test_the_loss_of_a_batch_is_the_mean_of_its_pairs_at_the_weight():
    built, variables = model()
    variables = jax.tree.map(lambda x: x, variables)
    variables["params"]["primary"]["flow"]["kernel"] *= 1e4
    loss_fn = jax.jit(loss_function(NETWORK, built, CRITERION))
    batch = {key: pairs()[key] for key in ("moving", "fixed")}

    def loss(weight, rows=slice(None)):
        one = {key: value[rows] for key, value in batch.items()} | {"weight": jnp.asarray(weight, jnp.float32)}
        return loss_fn(variables["params"], {}, one, {})

    value, aux = loss(0.3)
    parts = {name: float(metric.finish()) for name, metric in aux.metrics.items()}
    assert parts["smoothness"] > 0
    assert float(value) == pytest.approx(0.7 * parts["similarity"] + 0.3 * parts["smoothness"], rel=1e-5)
    single = [float(loss(w, slice(i, i + 1))[0]) for i, w in enumerate((0.1, 0.5, 0.9))]
    assert float(loss([0.1, 0.5, 0.9])[0]) == pytest.approx(np.mean(single), rel=1e-4)


def test_the_true_field_scores_without_error():
    given = pairs()
    exact = Registration(given["field"], jnp.zeros((3, 8, 8, 2)))
    result = jax.jit(functools.partial(measure, CRITERION, 4))(exact, given)
    np.testing.assert_allclose(result["endpoint_error"], 0, atol=1e-6)
    np.testing.assert_allclose(result["similarity"], 0, atol=1e-6)
    assert not result["false_positive"].any() and not result["false_negative"].any()
    identity = Registration(jnp.zeros_like(given["field"]), jnp.zeros((3, 8, 8, 2)))
    result = jax.jit(functools.partial(measure, CRITERION, 4))(identity, given)
    inside = np.asarray(given["fixed_labels"] > 0)
    length = np.linalg.norm(np.asarray(given["field"]), axis=-1)
    expected = [length[i][inside[i]].mean() for i in range(3)]
    np.testing.assert_allclose(result["endpoint_error"], expected, rtol=1e-5)
    truth, moved = np.asarray(given["fixed_labels"]), np.asarray(given["moving_labels"])
    for value in (1, 2, 3):
        both = ((truth == value) & (moved == value)).sum((1, 2))
        np.testing.assert_array_equal(result["true_positive"][:, value - 1], both)


def test_a_field_that_is_not_finite_finds_nothing_and_folds_everywhere():
    broken = pairs()["field"].at[1, 3, 3, 0].set(jnp.nan)
    result = jax.jit(functools.partial(measure, CRITERION, 4))(Registration(broken, jnp.zeros((3, 8, 8, 2))), pairs())
    assert not result["true_positive"][1].any() and float(result["folding"][1]) == 1
    assert result["true_positive"][0].any() and float(result["folding"][0]) == 0


def test_pairs_are_optimised_each_on_its_own():
    given = pairs()
    shape = coarse_shape(NETWORK, (16, 16, 1))
    assert shape == (8, 8, 2)
    run = jax.jit(functools.partial(optimize_pairs, NETWORK, CRITERION, steps=40))
    weights = jnp.array([0.1, 0.1, 0.9])
    together = run(jnp.zeros((3, *shape)), weights, jnp.float32(0.1), given["moving"], given["fixed"])
    swapped = [jnp.flip(x, 0) for x in (weights, given["moving"], given["fixed"])]
    backwards = run(jnp.zeros((3, *shape)), swapped[0], jnp.float32(0.1), *swapped[1:])
    np.testing.assert_allclose(together.displacement, jnp.flip(backwards.displacement, 0), atol=1e-3)
    before, _ = CRITERION.terms(
        Registration(jnp.zeros_like(together.displacement), together.velocity), given["moving"], given["fixed"]
    )
    after, smoothness = CRITERION.terms(together, given["moving"], given["fixed"])
    assert (after < 0.5 * before).all()
    assert float(smoothness[2]) < float(smoothness[0])


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_is_complete_and_builds(name):
    arm, images = ARMS[name], jnp.zeros((1, 8, 8, 1))
    for variant in map(arm.variant, arm.initializers):
        built = networks.build(variant, NETWORK, images, images, hidden=(4,), activation="relu")
        assert (built is None) == (name == "separate")
        if built is not None:
            paths = {record.path.split("/")[0] for record in built.spec}
            assert ("flow" in paths) == arm.generates_flow
            assert variant.initializer in variant.definition() and "no head bias" in variant.definition()
    assert arm.tried(()) == arm.initializers and len(arm.tried(("fan_in",))) == 1


def test_no_gradient_flows_to_the_moving_image():
    given = pairs()
    result = Registration(given["field"], jnp.zeros((3, 8, 8, 2)))
    gradient = jax.grad(lambda m: CRITERION.terms(result, m, given["fixed"])[0].sum())(given["moving"])
    assert not gradient.any()
    assert warp_labels(given["moving_labels"], given["field"]).dtype == given["moving_labels"].dtype
