"""Measures of sets of masks: against the obvious loops, and where masks are empty."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab.errors import DataError
from hyperlab.uncertainty import structure, unpack

pytestmark = pytest.mark.fast

MEASURE = jax.jit(structure, compiler_options={"xla_backend_optimization_level": 0})
RANDOM = np.random.default_rng(0)
MASKS = RANDOM.random((4, 5, 6, 7)) < RANDOM.random((4, 5, 1, 1))


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum()) if a.any() or b.any() else 1.0


def slow(masks):
    pairs = np.mean([dice(a, b) for a, b in itertools.combinations(masks, 2)])
    consensus = masks.mean(0) > 0.5
    areas = masks.sum((1, 2))
    either = masks.any(0).sum()
    return (
        pairs,
        np.mean([dice(a, consensus) for a in masks]),
        masks.all(0).sum() / either if either else 1.0,
        areas.std() / areas.mean() if either else 0.0,
    )


def test_measures_are_the_obvious_loops():
    masks = MASKS.copy()
    masks[1, 2] = False  # one empty mask among others
    masks[2] = False  # nothing but empty masks
    found = MEASURE(jnp.asarray(masks))
    np.testing.assert_allclose(np.stack(found, -1), [slow(one) for one in masks], atol=1e-6)
    assert np.isfinite(np.stack(found)).all()


@pytest.mark.parametrize("mask", [MASKS[0, 0], np.zeros((6, 7), bool), np.ones((6, 7), bool)])
def test_masks_that_are_all_the_same_agree(mask):
    found = MEASURE(jnp.asarray(np.broadcast_to(mask, (4, 5, 6, 7))))
    assert [float(value[0]) for value in found] == [1, 1, 1, 0]


def test_another_consensus_changes_its_dice_alone():
    masks = jnp.asarray(MASKS)
    found, other = MEASURE(masks), MEASURE(masks, jnp.asarray(MASKS[:, 0]))
    expected = [np.mean([dice(a, one[0]) for a in one]) for one in MASKS]
    np.testing.assert_allclose(other.consensus_dice, expected, atol=1e-6)
    np.testing.assert_array_equal(found.pairwise_dice, other.pairwise_dice)


@pytest.mark.parametrize("size", [(6, 7), (3, 3, 3), (8,)])
def test_unpacked_bits_are_the_masks(size):
    masks = RANDOM.random((2, 3, *size)) < 0.5
    bits = np.packbits(masks.reshape(2, 3, -1), axis=-1)
    np.testing.assert_array_equal(unpack(bits, size), masks)
    assert isinstance(unpack(bits, size), np.ndarray)
    np.testing.assert_array_equal(unpack(jnp.asarray(bits), size), masks)


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match="T of 2 at least"):
        structure(jnp.asarray(MASKS[:, :1]))
    with pytest.raises(DataError, match="expected bool"):
        structure(jnp.ones((1, 2, 3, 3)))
    with pytest.raises(DataError, match="the consensus is"):
        structure(jnp.asarray(MASKS), jnp.ones((4, 6), bool))
    with pytest.raises(DataError, match=r"expected uint8 \[n, T, 6\]"):
        unpack(np.zeros((1, 2, 5), np.uint8), (6, 7))
