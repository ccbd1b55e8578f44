"""Layers in the leaves: attention, stacks and other layouts are pruned as the layers that they are."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab import pruning, roles, trees
from hyperlab.errors import ConfigError, ParameterTreeError, PatternError
from hyperlab.pruning import evidence
from hyperlab.pruning.scores import Evidence, evaluate

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(5, 6, 4)).astype(np.float32) * np.linspace(0.1, 3, 4, dtype=np.float32)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _=None):
        x = x + nn.MultiHeadDotProductAttention(2, name="attention")(x, x)
        x = x + nn.remat(nn.Dense)(4, name="dense")(x)
        return nn.LayerNorm(name="norm")(x + nn.Embed(2, 4, name="table")(jnp.zeros(x.shape[:2], jnp.int32))), None


class Stack(nn.Module):
    axis: int

    @nn.compact
    def __call__(self, x):
        layers = nn.scan(nn.remat(Block), variable_axes={"params": self.axis}, split_rngs={"params": True}, length=3)
        return layers(name="blocks")(x, None)[0]


class Loop(nn.Module):
    @nn.compact
    def __call__(self, x):
        for index in range(3):
            x, _ = Block(name=f"blocks_{index}")(x)
        return x


def each(tree, axis):
    """The leaves of a stack, as those of a loop."""
    one = lambda index: jax.tree.map(lambda leaf: np.take(np.asarray(leaf), index, axis), tree["blocks"])  # noqa: E731
    return {f"blocks_{index}": one(index) for index in range(3)}


@pytest.fixture(scope="module", params=[0, -1], ids=["first axis", "last axis"])
def stack(request):
    """`(axis, parameters, statistics, those of the loop)`."""
    axis, module = request.param, Stack(request.param)
    params = jax.jit(module.init)(jax.random.key(1), X)["params"]
    loop = {"params": each(params, axis)}
    return axis, params, evidence.activations(module, {"params": params}, X), evidence.activations(Loop(), loop, X)


def test_statistics_of_stacked_layers_are_those_of_a_loop(stack):
    _, _, stacked, alone = stack
    # embeddings and norms have none; the output of an attention sums over heads and their size
    shapes = {"attention/query": (4,), "attention/key": (4,), "attention/value": (4,), "attention/out": (2, 2)}
    shapes["dense"] = (4,)
    assert {path: seen.norm.shape for path, seen in stacked.items()} == {
        f"blocks/{path}": (3, *shape) for path, shape in shapes.items()
    }
    for path, index in ((path, index) for path in stacked for index in range(3)):
        own = alone[path.replace("blocks", f"blocks_{index}")]
        np.testing.assert_allclose(stacked[path].mean[index], own.mean, rtol=1e-5, err_msg=path)
        np.testing.assert_allclose(stacked[path].norm[index], own.norm, rtol=1e-5, err_msg=path)


class Each(nn.Module):
    """A dense layer of its own for every position."""

    @nn.compact
    def __call__(self, x):
        layer = nn.vmap(nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=1, out_axes=1)
        return layer(3, name="each")(x)


def test_statistics_are_along_the_axes_that_a_layer_sums_over():
    """Of `X` [batch 5, position 6, channel 4]: which entries meet one entry of the kernel."""
    cases = [
        (Each(), "each", (6, 4), 0),
        (nn.DenseGeneral(3, axis=(-1, 1)), "", (6, 4), 0),  # flax 0.12.8 sorts the axes
        (nn.DenseGeneral(3, batch_dims=(0,)), "", (5, 4), 1),
        (nn.Einsum((6, 4, 2), "bpc,pco->bpo"), "", (6, 4), 0),
        (nn.Einsum((4, 2, 2), "bpc,chk->bphk"), "", (4,), (0, 1)),
    ]
    for module, layer, shape, summed in cases:
        variables = jax.jit(module.init)(jax.random.key(0), X)
        seen = evidence.activations(module, variables, X)[layer]
        assert seen.norm.shape == seen.mean.shape == shape, module
        np.testing.assert_allclose(seen.norm, np.sqrt(np.square(X).sum(summed)), rtol=1e-5)
        kernel = np.asarray(trees.flatten(variables["params"])[f"{layer}/kernel".strip("/")])
        scores = evaluate("wanda", {f"{layer}/kernel".strip("/"): kernel}, Evidence(activations={layer: seen}))
        expected = np.abs(kernel) * seen.norm.reshape(*shape, *[1] * (kernel.ndim - len(shape)))
        np.testing.assert_allclose(next(iter(scores.values())), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "strategy",
    ["wanda", "layer_activation", "layer_magnitude", "magnitude_2_4", "channel_l1", "erk_magnitude", "lamp", "block"],
)
def test_a_stack_is_pruned_as_a_loop(stack, strategy):
    axis, params, stacked, alone = stack
    options = {"strategy": strategy, "compression": None if strategy == "magnitude_2_4" else 1.2}
    if strategy == "block":
        options |= {"strategy": "global_magnitude", "pattern": "block:2,2"}
    said = roles.of(params, Stack(axis), X)
    found = pruning.masks(params=params, activations=stacked, roles=said, **options)
    expected = pruning.masks(params=each(params, axis), activations=alone, **options)
    assert not all(mask.all() for mask in jax.tree.leaves(expected))
    jax.tree.map(np.testing.assert_array_equal, each(found, axis), expected)
    assert found["blocks"]["norm"]["scale"].all() and found["blocks"]["norm"]["bias"].all()


def test_kernels_of_attention_are_scored_along_their_inputs():
    net = nn.MultiHeadDotProductAttention(2)
    params = jax.jit(net.init)(jax.random.key(0), X)["params"]
    seen = evidence.activations(net, {"params": params}, X)
    weights = {path: np.asarray(leaf) for path, leaf in trees.flatten(params).items()}
    scores = evaluate("wanda", {p: w for p, w in weights.items() if "kernel" in p}, Evidence(activations=seen))
    norm = np.sqrt(np.square(X).sum((0, 1)))
    np.testing.assert_allclose(scores["query/kernel"], np.abs(weights["query/kernel"]) * norm[:, None, None], rtol=1e-5)
    out = np.abs(weights["out/kernel"]) * seen["out"].norm[:, :, None]
    np.testing.assert_allclose(scores["out/kernel"], out, rtol=1e-6)
    masks = pruning.masks("magnitude_2_4", params, None)
    assert set(masks["query"]["kernel"].reshape(1, 4, 4).sum(1).ravel()) == {2}
    assert set(masks["out"]["kernel"].reshape(1, 4, 4).sum(1).ravel()) == {2}
    assert masks["query"]["bias"].all()
    channels = pruning.masks("channel_l1", params, 2.0)["value"]
    np.testing.assert_array_equal(channels["kernel"], np.broadcast_to(channels["bias"], (4, 2, 2)))


@pytest.mark.parametrize("rule", ["set", "rigl"])
def test_every_layer_of_a_stack_moves_its_own_share(rule):
    params = {
        "stack": {
            "kernel": RANDOM.normal(size=(3, 4, 5)) * np.array([1e-3, 1, 1])[:, None, None],
            "bias": np.ones((3, 5)),
        }
    }
    masks = pruning.masks("layer_magnitude", params, 2.0, prunable=["**/kernel"])
    moved = pruning.move(rule, pruning.apply(params, masks), masks, 0.5, grads=params, key=0)["stack"]["kernel"]
    before = masks["stack"]["kernel"]
    kept = before.sum((1, 2)).tolist()
    assert moved.sum((1, 2)).tolist() == kept and (moved & ~before).sum((1, 2)).tolist() == [n // 2 for n in kept]


def test_outputs_first():
    """The layout of Equinox and PyTorch: every output keeps the best two of four inputs."""
    weight = RANDOM.normal(size=(3, 8)).astype(np.float32)
    params = {
        "linear": {"weight": weight, "bias": np.zeros(3, np.float32)},
        "norm": {"weight": np.ones(3), "bias": np.ones(3)},
    }
    options = {"compression": None, "prunable": ["**/weight"]}
    mask = pruning.masks("magnitude_2_4", params, **options)
    assert set(mask["linear"]["weight"].reshape(3, 2, 4).sum(-1).ravel()) == {2} and mask["norm"]["weight"].all()
    turned = pruning.masks("magnitude_2_4", {"linear": {"kernel": weight.T}}, None)
    np.testing.assert_array_equal(mask["linear"]["weight"], turned["linear"]["kernel"].T)


def test_what_is_undecided_is_refused_only_where_it_matters():
    params = {"mix": {"kernel": RANDOM.normal(size=(4, 4, 4)).astype(np.float32)}}
    pruning.masks("global_magnitude", params, 2.0)
    for strategy in ("magnitude_2_4", "channel_l1", "erk_magnitude"):
        with pytest.raises(ConfigError, match=r"axes of 'mix/kernel' \(4, 4, 4\) may be .* say it with roles="):
            pruning.masks(strategy, params, None if strategy == "magnitude_2_4" else 2.0)
    said = pruning.masks("magnitude_2_4", params, None, roles={"mix/*": "in out out"})["mix"]["kernel"]
    assert set(said.sum(0).ravel()) == {2}
    said = pruning.masks("magnitude_2_4", params, None, roles={"mix/*": "copy in out"})["mix"]["kernel"]
    assert set(said.sum(1).ravel()) == {2}
    with pytest.raises(ConfigError, match="reduction axis .* has 3 entries"):
        pruning.masks("magnitude_2_4", {"a": {"kernel": np.ones((2, 3, 4)), "bias": np.ones((2, 4))}}, None)


def test_complex_weights_go_with_both_their_parts():
    params = {"layer": {"kernel": np.array([[3j, 0.1], [2, 0.2j]], np.complex64)}}
    expected = [[True, False], [True, False]]
    for strategy in ("global_magnitude", "layer_magnitude", "channel_l1", "channel_l2"):
        mask = pruning.masks(strategy, params, 2.0)
        assert mask["layer"]["kernel"].tolist() == expected, strategy
    kept = pruning.apply(params, mask)["layer"]["kernel"]
    assert (
        kept.dtype == jnp.complex64
        and kept.tolist() == [[3j, 0], [2, 0]]
        and pruning.agree({"layer": {"kernel": kept}}, mask)
    )

    def loss(params, x):
        return jnp.square(jnp.abs(x @ params["layer"]["kernel"])).sum()

    x = jnp.array([[1.0, 2.0]])
    grads = evidence.gradients(loss, params, x)
    scores = evaluate("gradient", trees.flatten(params), Evidence(grads=grads))["layer/kernel"]
    weights, change = params["layer"]["kernel"], np.zeros((2, 2))
    for place in np.ndindex(2, 2):  # what the loss is without a share of the weight
        less = weights.copy()
        less[place] *= 1 - 1e-3
        change[place] = (loss(params, x) - loss({"layer": {"kernel": less}}, x)) / 1e-3
    np.testing.assert_allclose(scores, np.abs(change), rtol=2e-2, atol=1e-2)
    hessian = evidence.hessian_gradient(loss, params, x)
    # the loss is quadratic, |x w|^2: its Hessian times its gradient is 2 x^T x times the gradient
    np.testing.assert_allclose(hessian["layer"]["kernel"], 2 * x.T @ x @ grads["layer"]["kernel"], rtol=1e-5)
    assert not np.iscomplexobj(
        evaluate("grasp", trees.flatten(params), Evidence(hessian_gradient=hessian))["layer/kernel"]
    )
    with pytest.raises(ParameterTreeError, match="scores of 'layer/kernel' are complex"):
        evaluate(lambda weights, evidence: weights, trees.flatten(params), Evidence())


def test_integers_are_left_as_they_are():
    params = {
        "mix": {"kernel": jnp.ones((4, 4)), "bias": jnp.arange(4)},
        "quantised": {"kernel": jnp.ones((2, 2), jnp.int8)},
    }
    assert pruning.prunable_paths(params, ["**"]) == ["mix/kernel"]
    loss = lambda params: (params["mix"]["kernel"][params["mix"]["bias"]] ** 2).sum()  # noqa: E731
    grads = evidence.gradients(loss, params)
    assert grads["mix"]["kernel"].tolist() == (2 * jnp.ones((4, 4))).tolist()
    masks = pruning.masks("global_gradient", params, 1.5, grads=grads)
    assert masks["mix"]["bias"].all() and masks["quantised"]["kernel"].all() and not masks["mix"]["kernel"].all()
    with pytest.raises(PatternError, match="integers are never pruned"):
        pruning.masks("global_magnitude", {"kernel": jnp.arange(4)[None]}, 1.5)
