"""Values that make no sense are refused where they are known, and pass where they are traced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab import uncertainty
from hyperlab.errors import ConfigError, DataError
from hyperlab.uncertainty import calibration, moments, proper, temperature

pytestmark = pytest.mark.fast
HALF, ZEROS = np.full((2, 3, 3, 2), 0.5, np.float32), np.zeros((2, 3, 3), int)
ONE = {"all": None}

PREDICTIONS = [
    ("a class that is not there", HALF, ZEROS + 7, "labels span 7 to 7, expected the 2 classes"),
    ("below zero", HALF, ZEROS - 1, "labels span -1 to -1"),
    ("halves", HALF, ZEROS + 0.5, "labels are float"),
    ("sums of 10", HALF * 10, ZEROS, "span 5 to 5, expected 0 to 1; are they logits"),
    ("sums of .6", HALF * 0.6, ZEROS, "sum to 1 only up to 0.4"),
    ("logits", HALF - 1, ZEROS, "are they logits"),
    ("other shapes", HALF, ZEROS[..., None], r"labels \(2, 3, 3, 1\)"),
]


@pytest.mark.parametrize("row", PREDICTIONS, ids=[row[0] for row in PREDICTIONS])
@pytest.mark.parametrize(
    "measure",
    [proper.nll, proper.brier_over_classes, proper.overlap, lambda p, y: calibration.calibration_table(p, y, ONE)],
    ids=["nll", "brier", "overlap", "calibration"],
)
def test_predictions_and_labels_that_do_not_belong_together_are_refused(row, measure):
    _, probabilities, labels, words = row
    with pytest.raises(DataError, match=words):
        measure(jnp.asarray(probabilities), jnp.asarray(labels))


def test_what_a_mask_leaves_out_may_hold_anything_and_rounding_passes():
    labels, mask = jnp.where(jnp.arange(9).reshape(1, 3, 3) > 4, 255, 0), jnp.arange(9).reshape(1, 3, 3) <= 4
    assert float(proper.nll(HALF[:1].astype(jnp.bfloat16), labels, mask).count[0]) == 5
    assert proper.nll(jnp.asarray(HALF) + 0.004, jnp.asarray(ZEROS)).total.shape == (2,)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, "warm", None])
def test_temperatures_are_above_zero(value):
    logits = jnp.ones((2, 3))
    for call in (moments.probabilities, temperature.tempered_samples, temperature.tempered_mean):
        if value is None:
            continue
        with pytest.raises(ConfigError, match="expected a finite number above 0"):
            call(logits, value)
    jax.eval_shape(moments.probabilities, logits, 0.0)  # traced: nothing is known


@pytest.mark.parametrize("count", [2.5, "3", True, None, 1])
def test_draws_are_counted_in_whole_numbers(count):
    def sampler(key, images):
        return images + jax.random.normal(key, ())

    with pytest.raises(ConfigError):
        uncertainty.sample(sampler, jax.random.key(0), jnp.ones((1, 2, 2, 1)), count)
    found = uncertainty.sample(sampler, jax.random.key(0), jnp.ones((1, 2, 2, 1)), np.int64(3))
    assert float(found.count) == 3
