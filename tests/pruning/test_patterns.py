"""What lives together lives together, along the axis that it says."""

import numpy as np
import pytest

from hyperlab import pruning
from hyperlab.errors import ConfigError
from hyperlab.pruning.patterns import NM, Block, Channel, pattern

pytestmark = pytest.mark.fast
RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(8, 5), (3, 3, 4, 6), (1, 1, 1, 8, 3)])
def test_n_m_keeps_the_best_of_every_group_along_the_reduction(shape):
    scores = RANDOM.integers(0, 5, shape).astype(np.float32)  # with ties
    mask = NM(2, 4).choose(scores, "kernel").reshape(-1, shape[-1])
    matrix = scores.reshape(-1, shape[-1])  # rows: height, width, input channel
    for column in range(shape[-1]):
        for start in range(0, len(matrix), 4):
            group, kept = matrix[start : start + 4, column], mask[start : start + 4, column]
            best = sorted(range(4), key=lambda i: (-group[i], i))[:2]
            assert np.flatnonzero(kept).tolist() == sorted(best)


def test_n_m_leaves_biases_and_says_which_axis_does_not_divide():
    params = {"a": {"kernel": RANDOM.normal(size=(8, 5)), "bias": np.zeros(5)}}
    masks = pruning.masks("global_magnitude", params, None, pattern="n_m:1,4")
    assert masks["a"]["bias"].all() and masks["a"]["kernel"].mean() == 0.25
    # a ratio that is what comes out is accepted
    pruning.masks("global_magnitude", params, 45 / 15, pattern=NM(1, 4))
    dense = r"'a/kernel' of shape \(6, 5\): its reduction axis \(axis -2\) has 6 entries.* M 4"
    with pytest.raises(ConfigError, match=dense):
        pruning.masks("magnitude_2_4", {"a": {"kernel": np.ones((6, 5))}}, None)
    with pytest.raises(ConfigError, match=r"\(all axes but the last\) has 27 entries"):
        pruning.masks("magnitude_2_4", {"a": {"kernel": np.ones((3, 3, 3, 5))}}, None)
    with pytest.raises(ConfigError, match="0 < N <= M"):
        NM(5, 4)


@pytest.mark.parametrize("distribution", ["global", "uniform", "erk"])
def test_blocks(distribution):
    params = {"a": {"kernel": RANDOM.normal(size=(3, 3, 4, 6))}, "b": {"kernel": RANDOM.normal(size=(8, 6))}}
    masks = pruning.masks("global_magnitude", params, 2.0, pattern="block:4,3", distribution=distribution)
    for layer, mask in masks.items():
        matrix = mask["kernel"].reshape(-1, 6)
        tiles = matrix.reshape(len(matrix) // 4, 4, 2, 3)
        whole = tiles.all((1, 3))
        np.testing.assert_array_equal(whole, tiles.any((1, 3)))
        if distribution == "uniform":
            assert abs(whole.sum() - whole.size / 2) <= 1
        weights = np.abs(params[layer]["kernel"]).reshape(tiles.shape).sum((1, 3))
        assert whole.all() or weights[whole].min() > weights[~whole].max()
    assert abs(sum(pruning.available(masks).values()) - 132) <= 24
    with pytest.raises(ConfigError, match="output axis .last axis. has 6 entries.* block width 4"):
        pruning.masks("global_magnitude", params, 2.0, pattern=Block(4, 4))


@pytest.mark.parametrize("strategy", ["channel_l1", "channel_l2"])
def test_channels_go_with_their_bias_by_their_norm(strategy):
    kernel = RANDOM.normal(size=(3, 3, 4, 6))
    params = {"a": {"kernel": kernel, "bias": np.arange(6.0)}}
    masks = pruning.masks(strategy, params, 2.0)["a"]
    np.testing.assert_array_equal(masks["kernel"], np.broadcast_to(masks["bias"], kernel.shape))
    norms = np.linalg.norm(kernel.reshape(-1, 6), 1 if strategy == "channel_l1" else 2, axis=0)
    if strategy == "channel_l1":
        norms = np.abs(kernel).reshape(-1, 6).sum(0)
    assert masks["bias"].sum() == 3 and norms[masks["bias"]].min() > norms[~masks["bias"]].max()


def test_channels_of_all_layers_together_meet_the_budget_to_one_channel():
    shapes = {"a": (3, 3, 1, 8), "b": (3, 3, 8, 16), "c": (64, 12)}
    params = {n: {"kernel": RANDOM.normal(size=s), "bias": np.zeros(s[-1])} for n, s in shapes.items()}
    masks = pruning.masks("global_magnitude", params, 3.0, pattern="channel")
    size = sum(int(np.prod(s)) + s[-1] for s in shapes.values())
    assert abs(sum(pruning.available(masks).values()) - size / 3) <= 73 / 2
    # a bias that may not be pruned stays
    masks = pruning.masks("global_magnitude", params, 2.0, pattern=Channel(), prunable=["**/kernel"])
    assert all(layer["bias"].all() for layer in masks.values())


def test_names():
    assert pattern("block:4,2") == Block(4, 2) and pattern("channel") == Channel() and pattern(NM(1, 2)) == NM(1, 2)
    with pytest.raises(ConfigError, match="did you mean 'n_m'"):
        pattern("nm:2,4")
