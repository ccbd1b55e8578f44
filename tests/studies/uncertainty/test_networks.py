"""The networks of the study: what each begins with, is trained on, and draws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab import losses, uncertainty
from hyperlab.errors import ConfigError
from hyperlab.studies.uncertainty import networks

CONFIG = {
    "network": {"widths": (3,), "convs_per_block": 1},
    "bayesian": {"latent": 2, "hidden": (4,), "encoding": "cos_sin"},
    "tyche": {"widths": (3,), "support": 3, "candidates": 2},
    "noise": {"smoothness": 1.0},
}
POOL = np.random.default_rng(0).uniform(size=(6, 8, 8, 1)).astype(np.float32)
LABELS = (POOL[..., 0] > 0.5).astype(np.int32)


def build(name, shape=(8, 8, 1), classes=2):
    return networks.build(name, CONFIG, shape, classes)


def take(rows):
    return jnp.asarray(POOL)[rows], jnp.asarray(LABELS)[rows]


@functools.cache
def begun(name):
    """A network and its initial parameters; the same key for all."""
    network = build(name)
    return network, jax.jit(network.init)(jax.random.key(0), POOL[:1])


def test_a_generated_network_begins_with_the_parameters_of_the_one_without_a_hypernetwork():
    network, params = begun("bayesian")
    own = begun("spatial")[1]
    jax.tree.map(np.testing.assert_array_equal, params["theta0"], own)
    jax.tree.map(np.testing.assert_array_equal, network.model.base({"params": params})["params"], own)


def test_one_latent_serves_all_images_of_a_draw_and_of_a_step():
    network, params = begun("bayesian")

    @jax.jit
    def found(params, seed):
        keys = [jax.random.key(seed) for _ in range(4)]
        logits = network.module.apply({"params": network.plain(params, keys[0])}, POOL[:3])
        rows = jnp.arange(3)
        return {
            "logits": logits,
            "loss": losses.dice_cross_entropy(logits, LABELS[:3]),
            "one": network.one(params, keys[1], POOL[:3], ()),
            "draw": network.sampler(params, ())(keys[2], POOL[:3]),
            "step": network.loss(params, keys[3], take, rows, ()),
        }

    first, second = (found(params, seed) for seed in (1, 2))
    for name in ("one", "draw"):
        np.testing.assert_allclose(first[name], first["logits"], atol=1e-6)
    np.testing.assert_allclose(first["step"], first["loss"], rtol=1e-5)
    assert not np.allclose(first["logits"], second["logits"])


def test_a_collapsed_hypernetwork_has_no_spread():
    network, params = begun("bayesian")
    spread = jax.jit(lambda params, seed: network.spread(params, jax.random.key(seed), POOL[:2]))
    found = spread(params, 1)
    assert found["theta_spread"] > 0 and found["logit_spread"] > 0
    assert found["base"].shape == (2, 8, 8, 2)
    found = spread({**params, "hypernet": jax.tree.map(jnp.zeros_like, params["hypernet"])}, 1)
    np.testing.assert_allclose([found["theta_spread"], found["logit_spread"]], 0, atol=1e-6)


def test_examples_are_of_the_training_images_and_never_the_image_itself():
    pool, rows = np.array([0, 2, 3, 5]), np.array([2, 5])
    draw = jax.jit(lambda seed: build("tyche").examples(jax.random.key(seed), jnp.asarray(rows), jnp.asarray(pool)))
    drawn = [np.asarray(draw(seed)) for seed in range(5)]
    for support in drawn:
        for image, own in zip(rows, support, strict=True):
            assert sorted(own) == sorted(set(pool) - {image})  # three others are all there are
    assert len({support.tobytes() for support in drawn}) > 1  # not always in one order


def test_the_loss_is_that_of_the_best_candidate():
    """Where all images are alike, it does not matter which are the examples, and candidates can be computed apart."""
    network, params = begun("tyche")
    labels = LABELS[:1, ..., None].astype(np.float32)

    def alike(rows):
        return jnp.repeat(jnp.asarray(POOL[:1]), len(rows), 0), jnp.repeat(jnp.asarray(LABELS[:1]), len(rows), 0)

    @jax.jit
    def found(params, seed):
        first, second = (jax.random.key(seed) for _ in range(2))
        target = np.repeat(POOL[:1][:, None], 2, 1)
        noise = jax.random.normal(jax.random.split(first)[1], target.shape)
        support = [np.repeat(one[:, None], 3, 1) for one in (POOL[:1], labels)]
        logits = network.module.apply({"params": params}, target, noise, *support)
        each = [losses.binary_soft_dice(logits[:, one], labels, smooth=networks.SMOOTH) for one in range(2)]
        return jnp.stack(each), network.loss(params, second, alike, jnp.array([0]), jnp.arange(4))

    each, loss = found(params, 3)
    assert each[0] != each[1]
    np.testing.assert_allclose(loss, each.min(0), rtol=1e-5)


def test_noise_moves_the_logit_of_one_pass_by_its_scale():
    network, params = begun("noise")
    jax.tree.map(np.testing.assert_array_equal, params, begun("spatial")[1])

    @jax.jit
    def found(params, scale):
        many = np.repeat(POOL, 50, 0)  # each has noise of its own
        draws = network.sampler(params, scale)(jax.random.key(1), many)[..., 0]
        return draws, uncertainty.probabilities(network.one(params, jax.random.key(0), POOL, scale))

    still, one = found(params, 0.0)
    np.testing.assert_allclose(jax.nn.sigmoid(still[::50]), one[..., 1], atol=1e-6)
    moved = found(params, 2.0)[0] - still
    assert abs(float(moved.mean())) < 0.1
    assert 1.9 < float(moved.std()) < 2.1


def test_what_a_network_cannot_take_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'bayesian'"):
        build("bayesain")
    with pytest.raises(ConfigError, match="images of one channel, these have 3"):
        build("tyche", shape=(8, 8, 3))
    for name in ("tyche", "noise"):
        with pytest.raises(ConfigError, match="the images have 3 classes"):
            build(name, classes=3)
