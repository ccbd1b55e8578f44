"""Candidates of networks that draw: what makes them differ, and what they are trained with."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab.in_context.networks import network
from hyperlab.in_context.programs import Programs
from hyperlab.models import Tyche, UniverSeg
from hyperlab.studies.stochastic.arms import ANSWERS, ARMS, LEARNERS, learners
from hyperlab.studies.stochastic.candidates import CandidatePrograms, masks, noise_masks

RNG = np.random.default_rng(0)
QUERIES = RNG.random((5, 8, 8, 1), np.float32)
SETS = [(RNG.random((3, 8, 8, 1), np.float32), RNG.integers(0, 2, (3, 8, 8, 1)).astype(np.float32)) for _ in range(4)]


def spread(params, scale=3.0):
    """Parameters large enough that masks are neither empty nor full."""
    return jax.tree.map(lambda leaf: scale * leaf, params)


def test_every_arm_names_a_learner_and_an_answer_and_is_defined():
    for arm in ARMS.values():
        assert arm.learner in LEARNERS and arm.answers in ANSWERS and arm.definition()
    assert learners(tuple(ARMS))[0] == "tyche"


def test_a_dropout_network_drops_channels_with_a_key_and_nothing_without():
    net = network("dropout_unet", SimpleNamespace(unet_widths=(4, 4), dropout=0.5))
    quick = {"xla_backend_optimization_level": 0}
    params = jax.jit(net.init, compiler_options=quick)(jax.random.key(0), QUERIES)
    fixed = jax.jit(net.apply, compiler_options=quick)(params, QUERIES)
    dropped = jax.jit(lambda key: net.apply(params, QUERIES, rngs={"dropout": key}), compiler_options=quick)
    first, again, second = (dropped(jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, second) and not np.allclose(first, fixed)


def test_candidates_of_support_draws_are_the_masks_of_each_support_set():
    programs = Programs(UniverSeg([4, 4]), (8, 8), evaluation_batch=2)
    params = spread(programs.start(jax.random.key(0), 0.1).params)
    found = masks("draws", programs, params, jax.random.key(1), QUERIES, SETS.__getitem__, 3)
    assert found.shape == (5, 3, 8, 8) and found.dtype == bool
    for index in range(3):
        np.testing.assert_array_equal(found[:, index], programs.predict(params, QUERIES, *SETS[index])[..., 0] > 0.5)


def test_candidates_of_tyche_differ_and_are_a_function_of_the_key():
    programs = CandidatePrograms(Tyche([4, 4]), (8, 8), evaluation_batch=3, candidates=2)
    params = spread(programs.start(jax.random.key(0), 0.1).params)
    first, again, other = (
        masks("channel", programs, params, jax.random.key(seed), QUERIES, SETS.__getitem__, 4) for seed in (1, 1, 2)
    )
    assert first.shape == (5, 4, 8, 8)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any() and (first[:, 0] != first[:, 1]).any()


def test_the_loss_is_that_of_the_best_candidate_or_of_all():
    best, mean = (CandidatePrograms(Tyche([4]), (8, 8), candidates=3, loss=loss) for loss in ("best", "mean"))
    params = spread(best.start(jax.random.key(0), 0.1).params)
    support = [jnp.asarray(np.repeat(one[None], 5, 0)) for one in SETS[0]]
    labels = jnp.asarray(RNG.integers(0, 2, QUERIES.shape), jnp.float32)
    low, middle = (t._objective(params, jax.random.key(3), jnp.asarray(QUERIES), labels, support) for t in (best, mean))
    assert low.shape == (5,) and (low < middle).all()


def test_noise_of_no_scale_is_the_network_itself():
    probabilities = RNG.random((4, 8, 8, 1), np.float32)
    found = noise_masks(jax.random.key(0), probabilities, 3, 0.0, 1.0)
    np.testing.assert_array_equal(found, np.repeat(probabilities[:, None, ..., 0] > 0.5, 3, 1))
    assert (noise_masks(jax.random.key(0), probabilities, 3, 2.0, 1.0) != found).any()
