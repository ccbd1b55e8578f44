"""Samplers: each draws what it says, through the one interface of `sample`."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hyperlab as hl
from hyperlab.errors import ConfigError
from hyperlab.models import Tyche
from hyperlab.nn import Dropout
from hyperlab.uncertainty import (
    dropout,
    from_stacked,
    latent,
    members,
    noise,
    probabilities,
    sample,
    stochastic_layers,
)

QUICK = {"xla_backend_optimization_level": 0}
IMAGES = jnp.asarray(np.random.default_rng(0).random((3, 4, 6, 1)), jnp.float32)


class Net(nn.Module):
    """Dropout at the input and in a block; of Flax's own kind too."""

    rate: float = 0.5

    @nn.compact
    def __call__(self, x, train=False):
        x = Dropout("element", self.rate, name="first")(nn.Conv(4, (1, 1))(x))
        x = nn.Dropout(0.25, broadcast_dims=(1, 2), deterministic=not train)(x)
        return nn.Conv(2, (1, 1))(Dropout("spatial", self.rate, name="last")(x))


def moments(sampler, count=3, **options):
    program = jax.jit(lambda key: sample(sampler, key, IMAGES, count, **options), compiler_options=QUICK)
    return program(jax.random.key(0))


def assert_moments_of(found, draws):
    stacked = from_stacked(jnp.stack([probabilities(logits) for logits in draws]))
    for name, a, b in zip(found._fields, found, stacked, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6, err_msg=name)


def keys(count=3):
    return [jax.random.fold_in(jax.random.key(0), t) for t in range(count)]


def test_shared_masks_are_one_network_for_all_images():
    net, same = Net(), jnp.broadcast_to(IMAGES[:1], IMAGES.shape)
    variables = jax.jit(net.init, compiler_options=QUICK)(jax.random.key(0), IMAGES)
    shared = jax.jit(dropout(net.apply, variables, share_masks=True), compiler_options=QUICK)
    first, *others = np.asarray(shared(jax.random.key(1), same))
    for other in others:
        np.testing.assert_array_equal(first, other)
    assert not np.allclose(first, shared(jax.random.key(2), same)[0])
    own = jax.jit(dropout(net.apply, variables), compiler_options=QUICK)(jax.random.key(1), same)
    assert not np.allclose(own[0], own[1])


def test_options_reach_the_network():
    class Flagged(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            return nn.Dropout(0.5, deterministic=not train, rng_collection="other")(x)

    sampler = dropout(Flagged().apply, {}, stream="other", train=True)
    assert (sampler(jax.random.key(0), IMAGES) == 0).any()
    off = dropout(Flagged().apply, {}, stream="other")
    with pytest.raises(ConfigError, match=r"not switched off by a flag.*Dropout_0 \(element, rate 0.5\)"):
        sample(off, jax.random.key(0), IMAGES, 2)


def test_layers_that_drop_are_listed_by_path_and_kind():
    net = Net()
    variables = jax.eval_shape(net.init, jax.random.key(0), IMAGES)
    assert stochastic_layers(net, variables, IMAGES) == [
        ("first", "element", 0.5),
        ("Dropout_0", "spatial", 0.25),
        ("last", "spatial", 0.5),
    ]


def test_an_ensemble_is_counted_off():
    scales = jnp.array([1.0, 2.0, -3.0])
    ensemble = members(lambda scale, images: scale * images, scales)
    assert_moments_of(moments(ensemble, chunk=2), [scale * IMAGES for scale in scales])
    assert any(np.allclose(ensemble(jax.random.key(0), IMAGES), scale * IMAGES) for scale in scales)
    with pytest.raises(ConfigError, match="4 draws of an ensemble of 3 members"):
        moments(ensemble, count=4)
    with pytest.raises(ConfigError, match=r"'b' has shape \(2,\); expected a row for each of 3 members"):
        members(lambda v, images: images, {"a": jnp.ones(3), "b": jnp.ones(2)})


def test_a_hypernetworks_latent_is_drawn_from_its_prior():
    model = hl.hypernetize(nn.Dense(2), jnp.zeros(IMAGES.shape), gamma_dim=2, hidden=(3,))
    variables = model.init(jax.random.key(1))
    sampler = latent(model.apply, variables, lambda key: jax.random.uniform(key, (2,)))
    apply = jax.jit(model.apply, compiler_options=QUICK)
    expected = [apply(variables, jax.random.uniform(key, (2,)), IMAGES) for key in keys()]
    assert_moments_of(moments(sampler, chunk=2), expected)


@pytest.mark.parametrize("mix", [True, False])
def test_noise_draws_the_first_candidate_of_a_company(mix):
    images, net = IMAGES[:, :, :4], Tyche([4], mix_candidates=mix)
    examples = jnp.asarray(np.random.default_rng(1).random((2, 4, 4, 1)), jnp.float32)
    drawn = jax.random.normal(jax.random.key(2), (3, 2, 4, 4, 1))
    target, support = jnp.broadcast_to(images[:, None], drawn.shape), jnp.broadcast_to(examples, (3, *examples.shape))
    shapes = jax.eval_shape(net.init, jax.random.key(0), target, drawn, support, support)
    random = np.random.default_rng(3)
    variables = jax.tree.map(lambda leaf: jnp.asarray(random.normal(0, 0.3, leaf.shape), leaf.dtype), shapes)
    apply = jax.jit(net.apply, compiler_options=QUICK)
    pairs = jax.jit(noise(net.apply, variables, examples, examples, company=2), compiler_options=QUICK)
    found = pairs(jax.random.key(2), images)
    several = apply(variables, target, drawn, support, support)
    np.testing.assert_allclose(found, several[:, 0], atol=1e-5)
    swapped = apply(variables, target, drawn[:, ::-1], support, support)
    np.testing.assert_allclose(found, swapped[:, 1], atol=1e-5)  # all candidates are alike
    alone = apply(variables, target[:, :1], drawn[:, :1], support, support)[:, 0]
    assert np.allclose(found, alone, atol=1e-5) is not mix  # whether company makes a difference
    with pytest.raises(ConfigError, match="company of 0"):
        noise(net.apply, variables, examples, examples, company=0)
