"""Scores and their evidence against slow, obvious versions."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab import nn as layers
from hyperlab import pruning, trees
from hyperlab.errors import ConfigError, NonFiniteError, ParameterTreeError
from hyperlab.pruning import evidence, schedules
from hyperlab.pruning.scores import SCORES, Evidence, evaluate

RANDOM = np.random.default_rng(0)
WEIGHTS = {"a/bias": RANDOM.normal(size=3), "a/kernel": RANDOM.normal(size=(4, 3))}
GRADS = {path: RANDOM.normal(size=w.shape) for path, w in WEIGHTS.items()}


def test_products_of_weights_and_gradients():
    of = Evidence(grads=trees.nest(GRADS), flow=trees.nest(GRADS), hessian_gradient=trees.nest(GRADS))
    product = np.abs(WEIGHTS["a/kernel"] * GRADS["a/kernel"])
    total = product.sum() + np.abs(WEIGHTS["a/bias"] * GRADS["a/bias"]).sum()
    expected = {"gradient": product, "synflow": product, "snip": product / total, "taylor": product**2}
    expected |= {"grasp": WEIGHTS["a/kernel"] * GRADS["a/kernel"]}
    expected |= {"magnitude": np.abs(WEIGHTS["a/kernel"]), "squared": WEIGHTS["a/kernel"] ** 2}
    for name, value in expected.items():
        np.testing.assert_allclose(evaluate(name, WEIGHTS, of)["a/kernel"], value, rtol=1e-12, err_msg=name)
    assert set(expected) | {"random", "activation", "wanda"} <= set(SCORES)


def test_low_precision_is_widened_and_infinity_refused():
    assert evaluate("magnitude", {"a": jnp.ones(2, jnp.bfloat16)}, Evidence())["a"].dtype == np.float32
    with pytest.raises(NonFiniteError, match="1 of 2 scores of 'a'"):
        evaluate("magnitude", {"a": np.array([np.inf, 1.0])}, Evidence())
    with pytest.raises(ParameterTreeError, match="the scores do not fit"):
        evaluate(lambda weights, evidence: {}, WEIGHTS, Evidence())


class Net(nn.Module):
    """Convolutions with and without groups, a dense layer on tokens that is called twice, and a head."""

    @nn.compact
    def __call__(self, images):
        x = layers.Conv(4, (3, 3), name="conv")(images)
        x = nn.Conv(6, (3, 3), feature_group_count=2, name="grouped")(nn.relu(x))
        x = x.reshape(x.shape[0], -1, 6)
        tokens = nn.Dense(6, name="tokens")
        x = tokens(nn.relu(tokens(x)))
        return nn.Dense(2, name="classifier")(x.mean(1))


def test_activation_scores_are_those_of_loops():
    images = RANDOM.normal(size=(3, 4, 4, 2)).astype(np.float32)
    variables = Net().init(jax.random.key(0), images)
    kinds = (layers.Conv, nn.Conv, nn.Dense)
    inputs = {}

    def record(next_call, args, kwargs, context):
        if isinstance(context.module, kinds):
            inputs.setdefault(context.module.name, []).append(np.asarray(args[0], np.float64))
        return next_call(*args, **kwargs)

    with nn.intercept_methods(record):
        Net().apply(variables, images)
    seen = evidence.activations(Net(), variables, images)
    assert set(seen) == {"conv", "grouped", "tokens", "classifier"} and len(inputs["tokens"]) == 2
    weights = {path: np.asarray(leaf) for path, leaf in trees.flatten(variables["params"]).items()}
    weights = {path: w + 1 if path.endswith("bias") else w for path, w in weights.items()}
    of = Evidence(activations=seen)
    kernels = {path: w for path, w in weights.items() if w.ndim > 1}
    scored = {"activation": evaluate("activation", weights, of), "wanda": evaluate("wanda", kernels, of)}
    with pytest.raises(ConfigError, match="is for kernels; leave out"):
        evaluate("wanda", weights, of)
    for path, w in weights.items():
        layer, kind = path.split("/")
        means, squares = [], 0.0
        for x in inputs[layer]:
            mean = np.abs(x.mean(0))
            means.append(mean.reshape(-1, x.shape[-1]).mean(0))
            squares = squares + (x.reshape(-1, x.shape[-1]) ** 2).sum(0)
        mean, norm = np.mean(means, 0), np.sqrt(squares)
        if kind == "bias":
            np.testing.assert_allclose(scored["activation"][path], np.abs(w * mean.mean()), rtol=1e-4)
            continue
        groups = len(mean) // w.shape[-2]
        for index in np.ndindex(w.shape):
            channel = index[-2] + (index[-1] // (w.shape[-1] // groups)) * w.shape[-2]
            np.testing.assert_allclose(scored["activation"][path][index], abs(w[index] * mean[channel]), rtol=1e-4)
            np.testing.assert_allclose(scored["wanda"][path][index], abs(w[index]) * norm[channel], rtol=1e-4)
    masks = pruning.masks("wanda", variables["params"], 1.5, exclude=["classifier/**"], activations=seen)
    for layer in ("conv", "grouped", "tokens"):  # every output keeps as many
        per_output = masks[layer]["kernel"].reshape(-1, masks[layer]["kernel"].shape[-1]).sum(0)
        assert set(per_output) == {per_output[0]} and 0 < per_output[0] < len(masks[layer]["kernel"]) * 9
        assert masks[layer]["bias"].all()


def test_activations_need_a_layer():
    with pytest.raises(ConfigError, match="no layer with a 'kernel'"):
        evidence.activations(nn.LayerNorm(), nn.LayerNorm().init(jax.random.key(0), jnp.ones((1, 2))), jnp.ones((1, 2)))


def test_hessian_times_gradient_is_that_of_the_dense_hessian():
    """Through this library's convolution as well, which has reverse mode only."""
    x = jnp.asarray(RANDOM.normal(size=(2, 4, 4, 1)), jnp.float32)
    net = layers.Conv(2, (3, 3))
    params = net.init(jax.random.key(0), x)["params"]

    def loss(params, x):
        return (jnp.tanh(net.apply({"params": params}, x)) ** 2).mean()

    flat, unravel = jax.flatten_util.ravel_pytree(params)
    gradient = jax.jit(jax.grad(lambda v: loss(unravel(v), x)))
    step = 1e-2
    hessian = np.stack(
        [(gradient(flat + step * e) - gradient(flat - step * e)) / (2 * step) for e in jnp.eye(len(flat))]
    )
    product = jax.flatten_util.ravel_pytree(evidence.hessian_gradient(loss, params, x))[0]
    np.testing.assert_allclose(product, hessian @ gradient(flat), atol=2e-3 * float(jnp.abs(product).max()) + 1e-6)


def test_synaptic_flow_counts_paths():
    """Of a linear network the flow through a weight is the sum of |products| over all paths through it."""
    first, second = RANDOM.normal(size=(3, 4)), RANDOM.normal(size=(4, 2))
    params = {"a": {"kernel": jnp.asarray(first, jnp.float32)}, "b": {"kernel": jnp.asarray(second, jnp.float32)}}

    def apply(params, x):
        return jax.nn.relu(x @ params["a"]["kernel"]) @ params["b"]["kernel"]

    flow = evidence.flow(apply, params, jax.ShapeDtypeStruct((1, 3), jnp.float32))
    scores = evaluate("synflow", {p: np.asarray(w) for p, w in trees.flatten(params).items()}, Evidence(flow=flow))
    np.testing.assert_allclose(scores["a/kernel"], np.abs(first) * np.abs(second).sum(1), rtol=1e-6)
    np.testing.assert_allclose(scores["b/kernel"], np.abs(second) * np.abs(first).sum(0)[:, None], rtol=1e-6)
    # what flows in flows out: the scores of both layers have one sum
    assert np.isclose(scores["a/kernel"].sum(), scores["b/kernel"].sum())


def test_synaptic_flow_in_rounds_keeps_every_layer():
    """One round of a narrow layer between wide ones empties it; a hundred rounds do not."""
    shapes = [(40, 40), (40, 40), (40, 4)]
    params = {f"l{i}": {"kernel": jnp.asarray(RANDOM.normal(size=s), jnp.float32)} for i, s in enumerate(shapes)}
    apply = lambda p, x: x @ p["l0"]["kernel"] @ p["l1"]["kernel"] @ p["l2"]["kernel"]  # noqa: E731

    def gather(params):
        return Evidence(flow=evidence.flow(apply, params, jnp.ones((1, 40))))

    ratios = schedules.exponential(params, 100, 20)
    masks = schedules.in_rounds("synflow", params, ratios, gather)
    assert not pruning.collapsed(masks)
    assert abs(pruning.compression(masks) - 100) < 3
    pruned = pruning.apply(params, masks)
    assert float(jnp.abs(apply(jax.tree.map(jnp.abs, pruned), jnp.ones((1, 40)))).sum()) > 0
    with pytest.raises(NonFiniteError, match="synaptic flow is 0.0"):
        gather(jax.tree.map(jnp.zeros_like, params))


def test_synaptic_flow_of_deep_networks_stays_in_range():
    params = {f"l{i:02d}": {"kernel": jnp.full((8, 8), 1e-3)} for i in range(30)}

    def apply(params, x):
        for layer in params.values():
            x = x @ layer["kernel"]
        return x

    flow = evidence.flow(apply, params, jnp.ones((1, 8)))
    assert all(np.all(leaf > 0) for leaf in jax.tree.leaves(flow))
    masks = pruning.masks("synflow", params, 2.0, evidence=Evidence(flow=flow))
    assert sum(pruning.available(masks).values()) == 960
