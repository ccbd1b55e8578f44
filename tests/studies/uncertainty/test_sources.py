"""Sources of uncertainty: what each begins with, is trained on, and draws, and which share programs."""

import functools
import types

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from hyperlab import losses, uncertainty
from hyperlab.errors import ConfigError
from hyperlab.studies.uncertainty import ARMS, Cell, find
from hyperlab.studies.uncertainty.cells import Setting
from hyperlab.studies.uncertainty.programs import Programs
from hyperlab.studies.uncertainty.sources import tyche
from hyperlab.studies.uncertainty.sources.base import Problem

CONFIG = ml_collections.ConfigDict(
    {
        "network": {"widths": (3,), "convs_per_block": 1},
        "bayesian": {"latent": 2, "hidden": (4,), "encoding": "cos_sin"},
        "tyche": {"widths": (3,), "support": 3, "candidates": 2},
        "noise": {"smoothness": 1.0},
        "draws": (2, 4),
        "members": 3,
    }
)
POOL = np.random.default_rng(0).uniform(size=(6, 8, 8, 1)).astype(np.float32)
LABELS = (POOL[..., 0] > 0.5).astype(np.int32)


def build(name, shape=(8, 8, 1), classes=2, examples=6):
    return find(name).bound(Problem(CONFIG, shape, classes, examples))


def take(rows):
    return jnp.asarray(POOL)[rows], jnp.asarray(LABELS)[rows]


@functools.cache
def begun(name):
    """A source and its initial parameters; the same key for all."""
    source = build(name)
    return source, jax.jit(source.init)(jax.random.key(0), POOL[:1])


def test_a_generated_network_begins_with_the_parameters_of_the_one_without_a_hypernetwork():
    source, params = begun("bayesian")
    own = begun("spatial")[1]
    jax.tree.map(np.testing.assert_array_equal, params["theta0"], own)
    jax.tree.map(np.testing.assert_array_equal, source.network.base({"params": params})["params"], own)


def test_one_latent_serves_all_images_of_a_draw_and_of_a_step():
    source, params = begun("bayesian")

    @jax.jit
    def found(params, seed):
        keys = [jax.random.key(seed) for _ in range(4)]
        logits = source.primary.apply({"params": source.unet(params, keys[0])}, POOL[:3])
        rows = jnp.arange(3)
        return {
            "logits": logits,
            "loss": losses.dice_cross_entropy(logits, LABELS[:3]),
            "one": source.one_pass(params, keys[1], POOL[:3], ()),
            "draw": source.sampler(params, ())(keys[2], POOL[:3]),
            "step": source.loss(params, keys[3], take, rows, ()),
        }

    first, second = (found(params, seed) for seed in (1, 2))
    for name in ("one", "draw"):
        np.testing.assert_allclose(first[name], first["logits"], atol=1e-6)
    np.testing.assert_allclose(first["step"], first["loss"], rtol=1e-5)
    assert not np.allclose(first["logits"], second["logits"])


def test_a_collapsed_hypernetwork_has_no_spread():
    source, params = begun("bayesian")
    spread = jax.jit(lambda params, seed: source.spread(params, jax.random.key(seed), POOL[:2]))
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
    source, params = begun("tyche")
    labels = LABELS[:1, ..., None].astype(np.float32)

    def alike(rows):
        return jnp.repeat(jnp.asarray(POOL[:1]), len(rows), 0), jnp.repeat(jnp.asarray(LABELS[:1]), len(rows), 0)

    @jax.jit
    def found(params, seed):
        first, second, third = (jax.random.key(seed) for _ in range(3))
        target = np.repeat(POOL[:1][:, None], 2, 1)
        noise = jax.random.normal(jax.random.split(first)[1], target.shape)
        support = [np.repeat(one[:, None], 3, 1) for one in (POOL[:1], labels)]
        logits = source.network.apply({"params": params}, target, noise, *support)
        each = [losses.binary_soft_dice(logits[:, one], labels, smooth=tyche.SMOOTH) for one in range(2)]
        rows = source.rows(third, jnp.array([0]), jnp.arange(4))
        return jnp.stack(each), source.loss(params, second, alike, rows, jnp.arange(4))

    each, loss = found(params, 3)
    assert each[0] != each[1]
    np.testing.assert_allclose(loss, each.min(0), rtol=1e-5)


def test_noise_moves_the_logit_of_one_pass_by_its_scale():
    source, params = begun("noise")
    jax.tree.map(np.testing.assert_array_equal, params, begun("spatial")[1])

    @jax.jit
    def found(params, scale):
        many = np.repeat(POOL, 50, 0)  # each has noise of its own
        draws = source.sampler(params, scale)(jax.random.key(1), many)[..., 0]
        return draws, uncertainty.probabilities(source.one_pass(params, jax.random.key(0), POOL, scale))

    still, one = found(params, 0.0)
    np.testing.assert_allclose(jax.nn.sigmoid(still[::50]), one[..., 1], atol=1e-6)
    moved = found(params, 2.0)[0] - still
    assert abs(float(moved.mean())) < 0.1
    assert 1.9 < float(moved.std()) < 2.1


@pytest.fixture(scope="module")
def study():
    """What sources ask of the study around them."""
    programs = Programs(Problem(CONFIG, (8, 8, 1), 2, 6), {"name": "sgd", "weight_decay": 0.0})
    images, labels = jnp.asarray(POOL), jnp.asarray(LABELS)
    return types.SimpleNamespace(
        config=CONFIG, images=images, labels=labels, rows=lambda share: np.arange(6), programs=programs
    )


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_takes_a_step_and_answers(name, study):
    programs, cell = study.programs, Cell(name, 0.3)
    source, (first, second, third) = programs.source(name), jax.random.split(jax.random.key(0), 3)
    beside = source.train_inputs(study, cell)
    rows = programs.rows(source)(first, 0, np.arange(2), beside)
    batch = (study.images, study.labels, rows, beside)
    trained, metrics = programs.step(source)(programs.start(source, jax.random.key(1), 0.1), batch, first)
    assert np.isfinite(metrics["loss"].total)
    params = [trained.params] * source.members(CONFIG)
    aux = np.float32(0.5) if source.like else source.aux_inputs(study, cell, Setting(0.1), params[0], seed=0)
    answers, masks = programs.answers(source, params, POOL, aux, pass_key=second, draw_key=third, draws=(2,))
    assert list(answers) == source.answers(CONFIG, (2,))
    for maps in answers.values():
        np.testing.assert_allclose(maps.mean.sum(-1), 1, atol=1e-5)
    assert masks.shape[1:] == (2 if source.draws else 3, 8, 8) if source.several else masks is None


def test_arms_share_the_programs_of_what_they_inherit(study):
    programs = study.programs
    none, spatial, again, element, noise, bayesian = map(
        programs.source, ("none", "spatial", "spatial_again", "element", "noise", "bayesian")
    )
    assert programs.step(none) is programs.step(spatial) is programs.step(again) is programs.step(noise)
    assert len({programs.step(one) for one in (none, element, bayesian)}) == 3


def test_dropout_is_given_as_values_and_an_arm_without_has_zeros():
    cell = Cell("spatial_decoder", 0.4)
    rates = {arm: build(arm).train_inputs(None, cell) for arm in ("none", "spatial", "spatial_decoder")}
    of = {arm: [float(one["rate"]) for one in found.values()] for arm, found in rates.items()}
    assert set(of["none"]) == {0.0} and set(of["spatial"]) == {float(np.float32(0.4))}
    assert of["spatial_decoder"] == [0.0]  # one level has a bottleneck alone


def test_the_last_answer_stands_for_an_arm():
    answers = {arm: find(arm).answers(CONFIG) for arm in ("none", "spatial", "ensemble", "tyche")}
    assert answers == {"none": ["pass"], "spatial": (s := ["pass", "2", "4"]), "ensemble": ["pass", "3"], "tyche": s}
    assert find("spatial").answers(CONFIG, (2,)) == ["pass", "2"]


def test_every_arm_says_what_it_is():
    assert all(source.label and source.definition for source in ARMS.values())
    assert find("spatial_handicapped").definition == (
        "whole channels are dropped in encoder, bottleneck, decoder; several draws; learning rate times 0.01"
    )
    assert all(find(name) for source in ARMS.values() for name in (source.learner, source.like) if name)


def test_what_a_source_cannot_take_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'bayesian'"):
        build("bayesain")
    with pytest.raises(ConfigError, match="images of one channel, these have 3"):
        build("tyche", shape=(8, 8, 3))
    with pytest.raises(ConfigError, match="fewer than the 3 training images"):
        build("tyche", examples=3)
    for name in ("tyche", "noise"):
        with pytest.raises(ConfigError, match="the images have 3 classes"):
            build(name, classes=3)
