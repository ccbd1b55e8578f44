"""Sampling: which draws are taken, that nothing but the draws is new, and what is refused."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab.errors import ConfigError
from hyperlab.nn import Dropout
from hyperlab.uncertainty import Moments, dropout, from_stacked, maps, probabilities, sample, unpack

QUICK = {"xla_backend_optimization_level": 0}
IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 6, 1)), jnp.float32)


class Net(nn.Module):
    """A convolution, batch normalisation, dropout, a convolution: for images and volumes."""

    kind: str = "spatial"
    rate: float = 0.4
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images, train=False):
        window = (3,) * (images.ndim - 2)
        x = nn.Conv(6, window, dtype=self.dtype)(images)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, dtype=self.dtype)(x))
        return nn.Conv(2, window, dtype=self.dtype)(Dropout(self.kind, self.rate)(x))


def variables_of(net, images=IMAGES, scale=0.4):
    shapes = jax.eval_shape(net.init, jax.random.key(0), images)
    random = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: jnp.asarray(np.abs(random.normal(0, scale, leaf.shape)), leaf.dtype), shapes)


def noisy(key, images):
    return images + jax.random.normal(key, images.shape)


def applied(net, variables, images=IMAGES):
    return jax.jit(net.apply, compiler_options=QUICK)(variables, images)


def sampled(sampler, images=IMAGES, count=4, seed=0, **options):
    program = jax.jit(lambda key: sample(sampler, key, images, count, **options), compiler_options=QUICK)
    return program(jax.random.key(seed))


def assert_same(first: Moments, second: Moments, atol=1e-6):
    for name, a, b in zip(Moments._fields, first, second, strict=True):
        np.testing.assert_allclose(a, b, atol=atol, err_msg=name)


def one_by_one(sampler, count, seed=0, images=IMAGES):
    """The probabilities of all draws, as the definition has them."""
    keys = jax.vmap(lambda t: jax.random.fold_in(jax.random.key(seed), t))(jnp.arange(count))
    program = jax.jit(lambda keys: jax.lax.map(lambda key: sampler(key, images), keys), compiler_options=QUICK)
    return probabilities(program(keys))


@pytest.mark.parametrize("chunk", [1, 3, 10])
def test_moments_are_those_of_the_stacked_draws_for_any_chunk(chunk):
    stacked = one_by_one(noisy, 7)
    found, masks = sampled(noisy, count=7, chunk=chunk, at=(2, 4), masks=True)
    assert list(found) == [2, 4, 7]
    for count, moments in found.items():
        assert_same(moments, from_stacked(stacked[:count]), atol=2e-6)
    expected = np.asarray(stacked[..., 1] > 0.5).swapaxes(0, 1)
    np.testing.assert_array_equal(unpack(np.asarray(masks.bits), (4, 6)), expected)


def test_few_draws_are_the_first_of_many():
    few, many = sampled(noisy, count=3), sampled(noisy, count=5, at=(3,))
    for a, b in zip(few, many[3], strict=True):
        np.testing.assert_array_equal(a, b)


def test_reusing_what_comes_before_the_first_draw_changes_nothing():
    net = Net()
    sampler = dropout(net.apply, variables_of(net))
    assert_same(sampled(sampler, reuse=True), sampled(sampler))


def test_a_temperature_divides_the_logits_of_every_draw():
    halved = sampled(lambda key, images: noisy(key, images) / 2)
    assert_same(sampled(noisy, temperature=2.0), halved)


def test_a_rate_of_0_gives_the_deterministic_network():
    net = Net(rate=0.0)
    variables = variables_of(net)
    found = maps(sampled(dropout(net.apply, variables), fixed=True))
    plain = probabilities(applied(net, variables))
    np.testing.assert_allclose(found.mean, plain, atol=1e-6)
    np.testing.assert_allclose(found.epistemic, np.zeros_like(found.epistemic), atol=1e-6)
    assert float(found.variance.max()) < 1e-12 and not found.variation_ratio.any()


def test_a_network_for_volumes_is_sampled_and_its_variables_stay():
    """Batch statistics among them; and without a key, the network drops nothing and changes nothing either."""
    net, images = Net(), jnp.asarray(np.random.default_rng(0).normal(size=(2, 2, 3, 4, 1)), jnp.float32)
    variables = variables_of(net, images)
    before = jax.tree.map(np.array, variables)
    sampler = dropout(net.apply, variables)
    found = sampled(sampler, images, count=4, chunk=2)
    assert_same(found, from_stacked(one_by_one(sampler, 4, images=images)), atol=2e-6)
    assert maps(found).epistemic.shape == (2, 2, 3, 4) and float(maps(found).epistemic.max()) > 1e-3
    jax.tree.map(np.testing.assert_array_equal, variables, before)
    plain = applied(net, variables, images)
    np.testing.assert_array_equal(plain, applied(net.clone(kind="none"), variables, images))


def test_a_bfloat16_network_has_float32_moments():
    net = Net(dtype=jnp.bfloat16)
    variables = variables_of(net)
    assert jax.eval_shape(net.apply, variables, IMAGES).dtype == jnp.bfloat16
    half = sampled(dropout(net.apply, variables), count=8)
    whole = sampled(dropout(net.clone(dtype=jnp.float32).apply, variables), count=8)
    assert all(leaf.dtype == jnp.float32 for leaf in half)
    np.testing.assert_allclose(half.mean, whole.mean, atol=0.02)  # the same masks, half the digits
    np.testing.assert_allclose(half.mean.sum(-1), np.ones(half.mean.shape[:-1]), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 1}, "1 draws have no spread; give 2 or more"),
        ({"chunk": 0}, "chunk 0"),
        ({"at": (2, 5)}, "from 2 to the count, 4"),
        ({"at": (1,)}, "from 2 to the count"),
    ],
)
def test_counts_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        sample(noisy, jax.random.key(0), IMAGES, **{"count": 4, **options})


@pytest.mark.parametrize(
    ("net", "found"),
    [
        (Net("none"), "layers that were called: 2 Conv, 1 BatchNorm, 1 Dropout; of these drop: none"),
        (Net(rate=0.0), r"of these drop: Dropout_0 \(spatial, rate 0.0\)"),
    ],
)
def test_a_network_that_draws_nothing_is_refused_with_its_layers(net, found):
    sampler = dropout(net.apply, variables_of(net))
    with pytest.raises(ConfigError, match=f"do not depend on the key.*Looked for dropout.*{found}"):
        jax.eval_shape(lambda key: sample(sampler, key, IMAGES, 4), jax.random.key(0))
    with pytest.raises(ConfigError, match="none of Linen"):
        sample(lambda key, images: images, jax.random.key(0), IMAGES, 4)
