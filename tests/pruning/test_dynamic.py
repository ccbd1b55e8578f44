"""Masks that move keep their counts, drop the weakest and grow where they should."""

import jax
import numpy as np
import pytest

from hyperlab import pruning
from hyperlab.errors import ConfigError, NonFiniteError

pytestmark = pytest.mark.fast
RANDOM = np.random.default_rng(0)
SHAPES = {"a": (3, 3, 4, 8), "b": (30, 7), "dense": (5, 5)}
PARAMS = {path: {"kernel": RANDOM.normal(size=shape)} for path, shape in SHAPES.items()}
GRADS = {path: {"kernel": RANDOM.normal(size=shape)} for path, shape in SHAPES.items()}
MASKS = pruning.masks("erk_random", PARAMS, 5.0, key=0, exclude=["dense/**"])


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("rule", ["set", "rigl"])
def test_counts_stay_and_the_right_ones_move(rule, fraction):
    new = pruning.move(rule, PARAMS, MASKS, fraction, grads=GRADS, key=1)
    assert pruning.available(new) == pruning.available(MASKS)
    for path in ("a", "b"):
        was, now = MASKS[path]["kernel"], new[path]["kernel"]
        count = int(fraction * was.sum())
        weights, gradient = np.abs(PARAMS[path]["kernel"]), np.abs(GRADS[path]["kernel"])
        dropped, grown = was & ~now, now & ~was
        assert dropped.sum() == grown.sum() == count
        if 0 < fraction < 1:
            assert weights[dropped].max() < weights[was & now].min()
            still = ~was & ~now
            assert rule == "set" or gradient[grown].min() > gradient[still].max()


def test_growth_is_by_key():
    first, again, other = (pruning.move("set", PARAMS, MASKS, 0.5, key=key) for key in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert (first["a"]["kernel"] != other["a"]["kernel"]).any()


def test_no_more_moves_than_there_is_room():
    masks = {"a": np.arange(10) > 0}
    new = pruning.move("rigl", {"a": np.arange(10.0)}, masks, 1.0, grads={"a": np.ones(10)})["a"]
    assert new.tolist() == [True, False] + [True] * 8


def test_the_drop_fraction_is_a_cosine():
    assert pruning.drop_fraction(0, 1000, 0.5) == 0.5
    assert pruning.drop_fraction(250, 1000, 0.5) == pytest.approx(0.25 * (1 + 2**-0.5))
    assert pruning.drop_fraction(2000, 1000) == pytest.approx(0)


BAD = {
    "rule": ("rigel", {}, ConfigError, "did you mean 'rigl'"),
    "fraction": ("set", {"fraction": 1.5, "key": 0}, ConfigError, r"in \[0, 1\]"),
    "key": ("set", {}, ConfigError, "needs key="),
    "grads": ("rigl", {}, ConfigError, "needs grads="),
    "nan": (
        "rigl",
        {"grads": jax.tree.map(lambda g: g * np.nan, GRADS)},
        NonFiniteError,
        "gradient of 'a/kernel'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    rule, options, error, message = BAD[case]
    with pytest.raises(error, match=message):
        pruning.move(rule, PARAMS, MASKS, **({"fraction": 0.3} | options))
