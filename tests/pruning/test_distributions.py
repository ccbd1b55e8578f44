"""How much is kept where, against formulas."""

import numpy as np
import pytest

from hyperlab import pruning
from hyperlab.pruning.distributions import DISTRIBUTIONS, Budget, divide, fill

pytestmark = pytest.mark.fast
RANDOM = np.random.default_rng(0)
ERK_SHAPES = {"a": (3, 3, 16, 32), "b": (3, 3, 32, 64), "c": (64, 10)}


def budget(scores, entries):
    sizes = {path: s.size for path, s in scores.items()}
    return Budget(entries, {path: s.shape for path, s in scores.items()}, sizes, sizes)


def test_erdos_renyi_kernel():
    """The worked example of google-research/jaxpruner at sparsity 0.8; it rounds every leaf and is one entry over."""
    params = {path: {"kernel": RANDOM.normal(size=shape).astype(np.float32)} for path, shape in ERK_SHAPES.items()}
    masks = pruning.masks("erk_magnitude", params, 5.0)
    fractions = pruning.fractions_of(masks)
    for path, sparsity in (("a", 0.692233), ("b", 0.854665), ("c", 0.0)):
        assert abs(1 - fractions[f"{path}/kernel"] - sparsity) < 1e-4
    assert abs(sum(pruning.available(masks).values()) - 4736) <= 1
    # proportional to the sum of dimensions over their product where not dense
    scale = (4736 - 640) / (54 + 102)
    exact = divide("erk", *(lambda s: (s, budget(s, 4736)))({p: np.zeros(s) for p, s in ERK_SHAPES.items()})).fractions
    np.testing.assert_allclose([exact["a"], exact["b"], exact["c"]], [scale * 54 / 4608, scale * 102 / 18432, 1])


def test_lamp_is_its_formula_with_ties():
    leaf = RANDOM.integers(1, 6, (6, 5)).astype(np.float32)
    rescored = DISTRIBUTIONS["lamp"]({"a": leaf}, None).scores["a"]
    for index in np.ndindex(leaf.shape):
        expected = leaf[index] ** 2 / (leaf[leaf >= leaf[index]] ** 2).sum()
        np.testing.assert_allclose(rescored[index], expected, rtol=1e-6)
    zeros = DISTRIBUTIONS["lamp"]({"a": np.zeros((2, 2), np.float32)}, None).scores["a"]
    np.testing.assert_array_equal(zeros, 0)


def test_lamp_keeps_a_weight_in_every_layer():
    """The largest weight of a layer scores 1, whatever the layer's scale is."""
    params = {f"l{i}": {"kernel": 10.0**-i * RANDOM.normal(size=(20, 20))} for i in range(5)}
    assert pruning.collapsed(pruning.masks("global_magnitude", params, 100))
    assert not pruning.collapsed(pruning.masks("lamp", params, 100))


def test_a_full_leaf_gives_what_it_cannot_take_to_the_others():
    sizes = {"a": 10, "b": 100, "c": 100}
    shapes = {path: (n,) for path, n in sizes.items()}
    plan = fill({"a": 5.0, "b": 1.0, "c": 2.0}, Budget(70, shapes, sizes, sizes))
    assert plan == {"a": 1.0, "b": pytest.approx(0.2), "c": pytest.approx(0.4)}
    plan = fill({"a": 1.0, "b": 1.0, "c": 1.0}, Budget(70, shapes, sizes, sizes | {"b": 5}))
    assert plan == {"a": pytest.approx(65 / 110), "b": 0.05, "c": pytest.approx(65 / 110)}
    assert set(fill({"a": 1.0, "b": 1.0, "c": 1.0}, Budget(210, shapes, sizes, sizes)).values()) == {1.0}


def test_uniform_is_the_same_fraction_of_every_leaf():
    params = {f"l{i}": {"kernel": RANDOM.normal(size=(10, 10 * (i + 1)))} for i in range(4)}
    counts = pruning.available(pruning.masks("layer_magnitude", params, 8.0))
    for i in range(4):
        size = 100 * (i + 1)
        assert counts[f"l{i}/kernel"] == size - int(np.ceil((1 - 1 / 8) * (size - 1)))


def test_given_fractions_come_as_a_mapping_or_a_tree():
    params = {"a": {"kernel": RANDOM.normal(size=(10, 10))}, "b": {"kernel": RANDOM.normal(size=(4, 10))}}
    fractions = {"a": {"kernel": 0.25}, "b": {"kernel": 0.0}}
    for given in (fractions, {"a/kernel": 0.25, "b/kernel": 0.0, "elsewhere": 1.0}):
        masks = pruning.masks("global_magnitude", params, None, distribution=given)
        assert pruning.available(masks) == {"a/kernel": 25, "b/kernel": 0}
