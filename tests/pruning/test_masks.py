"""The front door: every strategy on one small network, and every kind of bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperlab import pruning, trees
from hyperlab.errors import ConfigError, NonFiniteError, ParameterTreeError, PatternError
from hyperlab.pruning.evidence import Inputs

pytestmark = pytest.mark.fast
RANDOM = np.random.default_rng(0)
SHAPES = {
    "classifier/bias": (10,),
    "classifier/kernel": (16, 10),
    "conv_0/bias": (8,),
    "conv_0/kernel": (3, 3, 4, 8),
    "conv_1/bias": (12,),
    "conv_1/kernel": (3, 3, 8, 12),
    "dense/bias": (16,),
    "dense/kernel": (24, 16),
    "norm/bias": (8,),
    "norm/scale": (8,),
}


def drawn():
    return trees.nest({path: RANDOM.normal(size=shape).astype(np.float32) for path, shape in SHAPES.items()})


PARAMS, GRADS = drawn(), drawn()
WIDTHS = {"conv_0": 4, "conv_1": 8, "dense": 24}
ACTIVATIONS = {layer: Inputs(*RANDOM.uniform(0.1, 1, (2, n)).astype(np.float32)) for layer, n in WIDTHS.items()}
EVIDENCE = pruning.Evidence(GRADS, drawn(), GRADS, ACTIVATIONS, 7)
DENSE = trees.count(PARAMS)


def make(strategy, compression=4.0, **options):
    if strategy == "magnitude_2_4":
        compression = None
    return pruning.masks(strategy, PARAMS, compression, exclude=["classifier/**"], evidence=EVIDENCE, **options)


def total(masks):
    return sum(pruning.available(masks).values())


@pytest.mark.parametrize("strategy", pruning.STRATEGIES)
def test_every_strategy(strategy):
    masks = make(strategy)
    pruning.check(masks, PARAMS)
    flat = trees.flatten(masks)
    for path in ("classifier/kernel", "classifier/bias", "norm/scale", "norm/bias"):
        assert flat[path].all(), path
    jax.tree.map(np.testing.assert_array_equal, masks, make(strategy))
    # parameters on a device, and in another order of insertion, give the same
    device = jax.tree.map(jnp.asarray, dict(reversed(PARAMS.items())))
    kept = pruning.masks(
        strategy, device, None if "2_4" in strategy else 4.0, exclude=["classifier/**"], evidence=EVIDENCE
    )
    jax.tree.map(np.testing.assert_array_equal, masks, kept)
    if strategy == "magnitude_2_4":
        assert flat["dense/kernel"].mean() == 0.5
    elif strategy.startswith("channel"):
        # to within one channel of every layer
        assert abs(total(masks) - DENSE / 4) <= 37 + 73 + 25
    elif pruning.STRATEGIES[strategy].distribution in ("global", "lamp"):
        assert abs(total(masks) - DENSE / 4) <= 1
    elif strategy == "wanda":
        assert abs(total(masks) - DENSE / 4) <= 8 + 12 + 16  # one in every output
    else:
        assert abs(total(masks) - DENSE / 4) <= 6
    everything = make(strategy, 1.0)
    assert strategy == "magnitude_2_4" or all(mask.all() for mask in jax.tree.leaves(everything))


def test_random_depends_on_the_key_and_may_be_a_jax_key():
    first, again, other = (
        pruning.masks("random", PARAMS, 2.0, key=key) for key in (jax.random.key(1), jax.random.key(1), 2)
    )
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not all(jax.tree.leaves(jax.tree.map(lambda a, b: (a == b).all(), first, other)))
    bernoulli = pruning.masks("random", PARAMS, 2.0, key=0, rule="shrinkbench")
    assert 0 < abs(total(bernoulli) - DENSE / 2) < 5 * (DENSE / 4) ** 0.5


@settings(max_examples=40, deadline=None)
@given(
    st.floats(1, 9),
    st.integers(0, 2**16),
    st.sampled_from(["global_magnitude", "layer_magnitude", "erk_magnitude", "lamp"]),
)
def test_the_compression_that_was_asked_for_comes_out_with_many_ties(compression, seed, strategy):
    random = np.random.default_rng(seed)
    params = {f"l{i}": {"kernel": random.integers(-1, 2, (5 + i, 7)).astype(np.float32)} for i in range(3)}
    params["l0"]["bias"] = np.zeros(7, np.float32)
    params["norm"] = {"scale": np.ones(4, np.float32)}
    masks = pruning.masks(strategy, params, compression)
    leaves = 1 if strategy in ("global_magnitude", "lamp") else 4
    assert abs(total(masks) - trees.count(params) / compression) <= leaves + 1e-6


def test_a_layer_of_zero_scores_is_pruned_as_asked():
    params = {"a": {"kernel": np.ones((40, 50), np.float32)}, "b": {"kernel": np.ones((30, 50), np.float32)}}
    grads = {"a": {"kernel": np.zeros((40, 50), np.float32)}, "b": {"kernel": np.arange(1500.0).reshape(30, 50)}}
    assert total(pruning.masks("layer_gradient", params, 2, grads=grads)) == 1750
    assert total(pruning.masks("layer_gradient", params, 2, grads=grads, rule="shrinkbench")) == 2750


def test_pruning_further_keeps_what_is_gone():
    masks = make("global_magnitude", 2.0)
    for strategy in (
        "global_gradient",
        "layer_magnitude",
        "erk_magnitude",
        "layer_random",
        "lamp",
        "channel_l1",
        "wanda",
    ):
        further = make(strategy, 4.0, masks=masks)
        assert all(jax.tree.leaves(jax.tree.map(lambda new, old: not (new & ~old).any(), further, masks))), strategy
        if strategy not in ("channel_l1", "wanda"):
            assert abs(total(further) - DENSE / 4) <= 6, strategy
    again = make("global_magnitude", 2.0, masks=masks)
    jax.tree.map(np.testing.assert_array_equal, again, masks)
    zeroed = pruning.apply(PARAMS, masks)
    by_quantile = pruning.masks(
        "global_magnitude", zeroed, 4.0, exclude=["classifier/**"], masks=masks, rule="shrinkbench"
    )
    jax.tree.map(np.testing.assert_array_equal, by_quantile, make("global_magnitude", 4.0))
    with pytest.raises(ConfigError, match=r"compression 1.5 is lower than the 2.* masks="):
        make("global_magnitude", 1.5, masks=masks)


def test_a_minimum_saves_layers_from_collapse():
    params = {"weak": {"kernel": 1e-3 * np.ones((4, 4))}, "strong": {"kernel": np.ones((8, 8))}}
    assert pruning.collapsed(pruning.masks("global_magnitude", params, 4)) == ["weak/kernel"]
    masks = pruning.masks("global_magnitude", params, 4, minimum=3)
    assert pruning.available(masks) == {"strong/kernel": 17, "weak/kernel": 3}
    with pytest.raises(ConfigError, match="keeps 32 entries"):
        pruning.masks("global_magnitude", params, 4, minimum=16)


def test_controls_keep_the_counts_of_every_leaf():
    masks = make("global_magnitude")
    control = pruning.masks("random", PARAMS, None, key=0, distribution=pruning.fractions_of(masks))
    shuffled = pruning.shuffle(masks, 0)
    assert pruning.available(control) == pruning.available(shuffled) == pruning.available(masks)
    assert (shuffled["dense"]["kernel"] != masks["dense"]["kernel"]).any()
    with pytest.raises(ConfigError, match="make it 3.995"):
        pruning.masks("random", PARAMS, 2.0, key=0, distribution=pruning.fractions_of(masks))


def test_a_method_of_ones_own():
    def movement(weights, evidence):
        return {path: -w * trees.flatten(evidence.grads)[path] for path, w in weights.items()}

    masks = make(pruning.Strategy(movement), 2.0)
    gone = ~masks["dense"]["kernel"]
    moved = -PARAMS["dense"]["kernel"] * GRADS["dense"]["kernel"]
    assert moved[gone].max() < moved[~gone].min()


def test_packed_masks_come_back():
    masks = make("global_magnitude")
    jax.tree.map(np.testing.assert_array_equal, pruning.unpack(pruning.pack(masks), PARAMS), masks)
    with pytest.raises(ParameterTreeError, match="missing"):
        pruning.unpack({}, PARAMS)


def test_agree_says_whether_pruned_weights_are_zero():
    masks = make("global_magnitude")
    assert not pruning.agree(PARAMS, masks)
    assert pruning.agree(pruning.apply(PARAMS, masks), masks)


def test_only_parameters_of_normalisations_are_left_out_unasked():
    paths = pruning.prunable_paths(PARAMS)
    assert "norm/bias" not in paths and "norm/scale" not in paths and len(paths) == 8
    assert pruning.prunable_paths({"w": {"kernel": np.ones((2, 2))}}) == ["w/kernel"]  # a net without biases
    assert pruning.prunable_paths(PARAMS, ["**", "!conv_*/**"], "classifier/**") == ["dense/bias", "dense/kernel"]


NAN = trees.nest({p: np.full(s, np.nan if p == "dense/kernel" else 1.0, np.float32) for p, s in SHAPES.items()})
BAD = {
    "strategy": (ConfigError, "did you mean 'global_magnitude'", {"strategy": "global_magnitud"}),
    "rule": (ConfigError, "unknown rule", {"rule": "exac"}),
    "distribution": (ConfigError, "unknown distribution", {"distribution": "unifrom"}),
    "pattern": (ConfigError, "unknown pattern", {"pattern": "chanel"}),
    "sizes": (ConfigError, "pattern 'n_m:2'", {"pattern": "n_m:2"}),
    "below one": (ConfigError, "at least 1", {"compression": 0.5}),
    "nan": (ConfigError, "at least 1", {"compression": float("nan")}),
    "ceiling": (ConfigError, r"ceiling is 9.452 \(exclusive\)", {"compression": 9.6}),
    "no ratio": (ConfigError, "compression=None", {"compression": None}),
    "classifier": (PatternError, "'head/\\*\\*' matches none .* valid|mean", {"exclude": ["head/**"]}),
    "empty": (PatternError, "nothing to prune", {"prunable": ["**/weight"]}),
    "all excluded": (PatternError, "nothing to prune", {"exclude": ["**"]}),
    "grads": (ConfigError, "needs grads=", {"strategy": "global_gradient"}),
    "other grads": (ParameterTreeError, "dense/kernel", {"strategy": "taylor", "grads": {"conv_0": PARAMS["conv_0"]}}),
    "key": (ConfigError, "needs key=", {"strategy": "random"}),
    "activations": (ConfigError, "needs activations=", {"strategy": "wanda"}),
    "not recorded": (ConfigError, "exclude it or record 'conv_0'", {"strategy": "wanda", "activations": {"conv": 0}}),
    "hessian": (ConfigError, "hessian_gradient", {"strategy": "grasp"}),
    "flow": (ConfigError, "flow", {"strategy": "synflow"}),
    "nan score": (NonFiniteError, "scores of 'dense/kernel'", {"params": NAN}),
    "nan gradient": (NonFiniteError, "scores of 'dense/kernel'", {"strategy": "global_gradient", "grads": NAN}),
    "masks": (ParameterTreeError, "the masks do not fit", {"masks": {"conv_0": PARAMS["conv_0"]}}),
    "masks of floats": (ParameterTreeError, "expected bool", {"masks": PARAMS}),
    "n:m with fractions": (ConfigError, "decides the fraction", {"pattern": "n_m:2,4", "distribution": "erk"}),
    "n:m at a ratio": (ConfigError, "make it 1.", {"pattern": "n_m:2,4", "compression": 4.0}),
    "shrinkbench": (ConfigError, "unstructured masks", {"strategy": "channel_l1", "rule": "shrinkbench"}),
    "minimum": (ConfigError, "for the exact rule", {"minimum": 1, "rule": "shrinkbench"}),
    "rows of blocks": (ConfigError, "'rows'", {"strategy": "wanda", "pattern": "channel"}),
    "biases in channels": (ConfigError, "two dimensions", {"strategy": "channel_l1", "prunable": ["**/bias"]}),
    "fraction": (ConfigError, "in \\[0, 1\\]", {"distribution": dict.fromkeys(SHAPES, 1.5), "compression": None}),
    "no fraction": (ConfigError, "no fraction was given for", {"distribution": {"a": 1.0}, "compression": None}),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_what_would_do(case):
    error, message, options = BAD[case]
    options = {
        "strategy": "global_magnitude",
        "params": PARAMS,
        "compression": 2.0,
        "exclude": ["classifier/**"],
    } | options
    with pytest.raises(error, match=message):
        pruning.masks(**options)
