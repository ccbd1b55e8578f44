"""`apply` takes what `init` gave, in its own structure: trees, libraries and modules of every kind, in one battery.

What a network answers with generated parameters is what its own functions answer when they are called with the
generated tree. The libraries are those of the `test` extra (dm-haiku 0.0.17, equinox 0.13.8, flax 0.12.8).
"""

from collections import OrderedDict
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, struct
from flax.core import freeze
from jax.example_libraries import stax

import hyperlab as hl
from hyperlab import trees
from hyperlab.errors import HyperlabError, ParameterTreeError, PatternError
from hyperlab.hypernet import probes
from hyperlab.train.checkpoints import Checkpoints, load_variables, save_variables

X = jnp.linspace(-1, 1, 24).reshape(6, 4)
GAMMA = jnp.array([0.3])


@pytest.fixture(autouse=True)
def as_other_libraries_compute():
    with jax.numpy_rank_promotion("allow"):
        yield


class Layer(NamedTuple):
    w: jax.Array
    b: jax.Array


@struct.dataclass
class Record:
    w: jax.Array
    name: str = struct.field(pytree_node=False)


def dense(key, rows=4, columns=3):
    return jax.random.normal(key, (rows, columns)), jnp.linspace(-1, 1, columns)


def affine(layer, x):
    w, b = layer
    return x @ w + b


def chain(params, x):
    for layer in params:
        x = jnp.tanh(affine(layer, x))
    return x


def wb(key):
    return dict(zip("wb", dense(key), strict=True))


def haiku_mlp(x):
    return hk.nets.MLP([5, 3], name="mlp")(x)


def haiku_norm(x, is_training=True):
    return hk.BatchNorm(True, True, 0.9)(hk.Linear(3)(x), is_training)


stax_init, stax_apply = stax.serial(stax.Dense(8), stax.Relu, stax.Dense(3))
transformed, with_state = hk.transform(haiku_mlp), hk.transform_with_state(haiku_norm)
plain_haiku = hk.without_apply_rng(transformed)

# name: (pair, what the pair's own functions answer with the generated variables)
PAIRS: dict[str, tuple[Any, Any]] = {
    "list of (W, b)": (
        (lambda key, x: [dense(key, 4, 8), dense(jax.random.fold_in(key, 1), 8, 3)], chain),
        lambda theta: chain(theta["params"], X),
    ),
    "named tuple": (
        (lambda key, x: Layer(*dense(key)), lambda p, x: x @ p.w + p.b),
        lambda theta: affine(theta["params"], X),
    ),
    "integer keys": (
        (lambda key, x: dict(enumerate(dense(key))), lambda p, x: affine((p[0], p[1]), x)),
        lambda theta: affine((theta["params"][0], theta["params"][1]), X),
    ),
    "one array": (
        (lambda key, x: dense(key)[0], lambda p, x: x @ p),
        lambda theta: X @ theta["params"],
    ),
    "one number": (
        (lambda key, x: jnp.float32(2), lambda p, x: x * p),
        lambda theta: X * theta["params"],
    ),
    "stax, whose activations are empty tuples": (
        (lambda key, x: stax_init(key, x.shape)[1], stax_apply),
        lambda theta: stax_apply(theta["params"], X),
    ),
    "haiku, transformed": (transformed, lambda theta: transformed.apply(theta["params"], None, X)),
    "haiku, without a key": (plain_haiku, lambda theta: plain_haiku.apply(theta["params"], X)),
    "haiku, its functions": (
        (transformed.init, transformed.apply),
        lambda theta: transformed.apply(theta["params"], None, X),
    ),
    "haiku, with state": (
        with_state,
        lambda theta: with_state.apply(theta["params"], theta["state"], None, X)[0],
    ),
    "equinox": (
        (lambda key, x: eqx.nn.MLP(4, 3, 5, 1, key=key), lambda module, x: jax.vmap(module)(x)),
        lambda theta: jax.vmap(theta["params"])(X),
    ),
    "equinox, with numbers that are no parameters": (
        (
            lambda key, x: [eqx.nn.Linear(4, 3, key=key), eqx.nn.Dropout(0.5, inference=True)],
            lambda modules, x: modules[1](jax.vmap(modules[0])(x)),
        ),
        lambda theta: jax.vmap(theta["params"][0])(X),
    ),
    "variables like Linen's, around a list": (
        (
            lambda key, x: {"params": list(dense(key)), "stats": {"shift": jnp.ones(3)}},
            lambda v, x: affine(v["params"], x) + v["stats"]["shift"],
        ),
        lambda theta: affine(theta["params"], X) + 1,
    ),
    "variables that are frozen, as Flax had them": (
        (
            lambda key, x: freeze({"params": wb(key), "stats": {"shift": jnp.ones(3)}}),
            lambda v, x: affine((v.pop("params")[1][name] for name in "wb"), x) + v["stats"]["shift"],
        ),
        lambda theta: affine((theta["params"][name] for name in "wb"), X) + 1,
    ),
    "frozen dict": (
        (lambda key, x: freeze({"layer": wb(key)}), lambda p, x: affine((p["layer"]["w"], p["layer"]["b"]), x)),
        lambda theta: affine((theta["params"]["layer"]["w"], theta["params"]["layer"]["b"]), X),
    ),
    "ordered dict, not in the order of its keys": (
        (lambda key, x: OrderedDict(wb(key)), lambda p, x: affine(p.values(), x)),
        lambda theta: affine(theta["params"].values(), X),
    ),
    "dataclass with a name": (
        (lambda key, x: Record(dense(key)[0], "mine"), lambda p, x: x @ p.w * len(p.name)),
        lambda theta: X @ theta["params"].w * 4,
    ),
    "a key with slashes": (
        (
            lambda key, x: {"mlp/~/linear_0": wb(key)},
            lambda p, x: affine((p["mlp/~/linear_0"][name] for name in "wb"), x),
        ),
        lambda theta: affine((theta["params"]["mlp/~/linear_0"][name] for name in "wb"), X),
    ),
    "two leaves of one path": (
        (
            lambda key, x: {"a": {"b": dense(key)[0]}, "a/b": jnp.arange(3.0), "a/": {"c": jnp.ones(3)}},
            lambda p, x: affine((p["a"]["b"], p["a/b"]), x) * p["a/"]["c"],
        ),
        lambda theta: affine((theta["params"]["a"]["b"], theta["params"]["a/b"]), X) * theta["params"]["a/"]["c"],
    ),
    "a path that leads through a leaf": (
        (
            lambda key, x: {"a": dense(key)[0], "a/b": jnp.arange(3.0), "a.b": jnp.ones(3)},
            lambda p, x: affine((p["a"], p["a/b"]), x) * p["a.b"],
        ),
        lambda theta: affine((theta["params"]["a"], theta["params"]["a/b"]), X) * theta["params"]["a.b"],
    ),
    "no name at all": (
        (lambda key, x: {"": dense(key)[0], "value": jnp.ones(3)}, lambda p, x: affine((p[""], p["value"]), x)),
        lambda theta: affine((theta["params"][""], theta["params"]["value"]), X),
    ),
    "numbers of Python": (
        (
            lambda key, x: {"w": dense(key)[0], "scale": 0.5, "depth": 2, "square": True, "none": None},
            lambda p, x: sum(x @ p["w"] for _ in range(p["depth"])) * p["scale"] if p["square"] is True else None,
        ),
        lambda theta: 2 * X @ theta["params"]["w"] * theta["params"]["scale"],
    ),
    "integers, truth values, keys and nothing": (
        (
            lambda key, x: {
                "w": dense(key)[0],
                "order": jnp.array([3, 1, 0, 2]),
                "mask": jnp.array([True, False, True]),
                "key": jax.random.key(3),
                "empty": jnp.zeros((0, 3)),
                "host": np.float32(1.5),
            },
            lambda p, x: jnp.where(p["mask"], x[:, p["order"]] @ p["w"], 0) + p["empty"].sum() + p["host"],
        ),
        lambda theta: (X[:, [3, 1, 0, 2]] @ theta["params"]["w"]) * np.array([1, 0, 1]) + theta["params"]["host"],
    ),
}


class WeightNormed(nn.Module):
    """Flax names a parameter `Dense_0/kernel/scale` here (google/flax#3405)."""

    @nn.compact
    def __call__(self, x):
        return nn.WeightNorm(nn.Dense(3))(x)


class TreeParameter(nn.Module):
    @nn.compact
    def __call__(self, x):
        return affine(self.param("layer", lambda key: dense(key)), x) * self.param("times", lambda key: jnp.int32(2))


class Plain(nnx.Module):
    """Arrays that are no variables, keys with slashes, integers, a variable of a type of its own."""

    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(4, 3, rngs=rngs), nnx.BatchNorm(3, rngs=rngs)])
        self.scale, self.shifts = jnp.full(3, 2.0), nnx.data([jnp.ones(3), jnp.zeros(3)])
        self.named = nnx.data({"a/b": nnx.Param(jnp.ones(3)), "a": {"b": nnx.Param(jnp.zeros(3))}})
        self.count = Count(jnp.int32(3))
        self.order = nnx.Param(jnp.array([2, 1, 0]))

    def __call__(self, x):
        x = self.layers[1](self.layers[0](x), use_running_average=True) * self.scale * self.named["a/b"]
        return (x + self.shifts[0] + self.named["a"]["b"])[:, self.order[...]] * self.count[...]


class Count(nnx.Variable):
    pass


class NnxNormed(nnx.Module):
    def __init__(self, rngs):
        self.layer = nnx.WeightNorm(nnx.Linear(4, 3, rngs=rngs), rngs=rngs)

    def __call__(self, x):
        return self.layer(x)


class Block(nnx.Module):
    def __init__(self, rngs):
        self.linear, self.dropout = nnx.Linear(4, 4, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.dropout(self.linear(x))


class Stack(nnx.Module):
    """Layers under one scan, each with random states of its own (google/flax#4589)."""

    def __init__(self, rngs):
        @nnx.split_rngs(splits=3)
        @nnx.vmap(in_axes=(0,), out_axes=0)
        def make(rngs):
            return Block(rngs)

        self.blocks = make(rngs)

    def __call__(self, x):
        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        def forward(x, block):
            return block(x)

        return forward(x, self.blocks)


class Noisy(nnx.Module):
    """Asks for streams that it is not told of, as one does of `nnx.Rngs(0)` (google/flax#3668)."""

    def __init__(self, rngs):
        self.w, self.rngs = nnx.Param(rngs.normal((4, 3)) + jax.random.normal(rngs(), (4, 3))), rngs

    def __call__(self, x):
        return x @ self.w[...] + jax.random.normal(self.rngs.noise(), (len(x), 3))


MODULES = {
    "linen, a name with slashes": WeightNormed(),
    "linen, a parameter that is a tuple": TreeParameter(),
    "nnx, plain arrays": lambda rngs: Plain(rngs),
    "nnx, normed weights": lambda rngs: NnxNormed(rngs),
    "nnx, a scan with dropout": lambda rngs: Stack(rngs),
    "nnx, other streams": lambda rngs: Noisy(rngs),
}
CASES = [pytest.param(pair, own, id=name) for name, (pair, own) in PAIRS.items()]
CASES += [pytest.param(module, None, id=name) for name, module in MODULES.items()]


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if callable(a):
            assert a is b
            continue
        assert np.shape(a) == np.shape(b) and jnp.result_type(a) == jnp.result_type(b)
        if jnp.issubdtype(jnp.result_type(a), jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("primary", "own"), CASES)
def test_battery(primary, own, tmp_path):
    # The parametrisation that keeps parameters of its own for each leaf, beside theta0.
    model = hl.hypernetize(primary, X, hidden=(6, 8), parametrization="learned_scale:0.1")
    variables = model.init(jax.random.key(7))
    output = model.apply(variables, GAMMA, X)
    assert output.shape[0] == 6 and jnp.isfinite(output).all()
    theta = model.generate(variables, GAMMA)
    if own is not None:
        np.testing.assert_allclose(own(theta), output, atol=1e-5)

    # The primary's own structure, and at delta zero its own initial values.
    start = model.primary.init(jax.random.split(jax.random.key(7))[0], X)
    assert jax.tree.structure(theta["params"]) == jax.tree.structure(start["params"])
    numbers = jax.tree.map(lambda leaf: jnp.asarray(leaf) if type(leaf) is float else leaf, start["params"])
    assert_same(model.base(variables)["params"], numbers)
    again = model.init(jax.random.key(1), pretrained=theta)
    assert_same(model.base(again)["params"], theta["params"])

    # One theta for each sample, and a network without the hypernetwork.
    per_sample = model.eval().apply_per_sample(variables, jnp.full((6, 1), 0.3), X)
    np.testing.assert_allclose(per_sample[2:3], model.eval().apply(variables, GAMMA, X[2:3]), atol=1e-5)
    network, frozen = model.freeze(variables, GAMMA)
    assert_same(frozen, theta)
    np.testing.assert_allclose(network.apply(frozen, X), model.eval().apply(variables, GAMMA, X), atol=1e-5)

    # Files, onto the structure and without one; checkpoints.
    for name, tree in (("theta", theta), ("variables", variables)):
        save_variables(tmp_path / f"{name}.npz", tree)
        assert_same(load_variables(tmp_path / f"{name}.npz", like=tree), tree)
    if "key" not in str(jax.tree.map(jnp.result_type, variables)):
        loaded = load_variables(tmp_path / "variables.npz")
        np.testing.assert_array_equal(model.apply(loaded, GAMMA, X), output)
    with Checkpoints(tmp_path / "checkpoints", asynchronous=False) as checkpoints:
        checkpoints.save(1, {"theta": theta, "variables": variables}, wait=True)
        back = checkpoints.restore({"theta": model.base(again), "variables": again}).state
    assert_same(back, {"theta": theta, "variables": variables})


class ByKeyword(nnx.Module):
    """As flax's own layers, by name alone."""

    def __init__(self, width=3, *, rngs):
        self.linear, self.norm = nnx.Linear(4, width, rngs=rngs), nnx.BatchNorm(width, rngs=rngs)

    def __call__(self, x):
        return self.norm(self.linear(x))


@pytest.mark.parametrize("factory", [ByKeyword, partial(ByKeyword, width=3), partial(nnx.Linear, 4, 3)])
def test_a_class_of_nnx_is_a_factory(factory):
    model = hl.hypernetize(factory, X, hidden=(4,))
    assert str(model.spec.records[1].decided) == "kernel in out"
    assert model.eval().apply(model.init(jax.random.key(0)), GAMMA, X).shape == (6, 3)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (nnx.Linear, r"Linear\(in_features, .*lambda rngs: Linear\(..., rngs=rngs\)"),
        (lambda params, x: x @ params, r"\(params, x\) cannot be called with rngs alone.*a pair \(init, apply\)"),
    ],
)
def test_a_function_that_is_no_factory_is_refused(factory, message):
    with pytest.raises(HyperlabError, match=message):
        hl.hypernetize(factory, X, hidden=(4,))


def test_what_was_trained_elsewhere_is_taken_in_the_boxes_of_flax():
    trained = ByKeyword(rngs=nnx.Rngs(3))
    trained(X)
    model = hl.hypernetize(ByKeyword, X, hidden=(4,))
    for given in (trained, nnx.state(trained)):
        variables = model.init(jax.random.key(0), pretrained=given)
        np.testing.assert_array_equal(model.base(variables)["params"]["linear"]["kernel"], trained.linear.kernel[...])
        np.testing.assert_array_equal(variables["batch_stats"]["norm"]["mean"], trained.norm.mean[...])
    kernel_init = nn.with_partitioning(nn.initializers.lecun_normal(), ("in", "out"))
    module = nn.Dense(3, kernel_init=kernel_init)
    boxed, model = module.init(jax.random.key(5), X), hl.hypernetize(module, X, hidden=(4,))
    base = model.base(model.init(jax.random.key(0), pretrained=boxed))
    np.testing.assert_array_equal(base["params"]["kernel"], boxed["params"]["kernel"].value)


# -- what is generated, and what is not ---------------------------------------------------------------------------


def spectral(key, x):
    real, imaginary = jax.random.normal(key, (2, 4, 3))
    return {"w": real + 1j * imaginary, "b": jnp.ones(3), "order": jnp.array([3, 1, 0, 2]), "on": True, "depth": 2}


def spectral_apply(params, x):
    return (x[:, params["order"]] @ params["w"]).real + params["b"] * params["depth"]


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ("**", r"'w' is complex64.*real numbers.*select=\['\*\*', '!w'\]"),
        (["b", "w"], r"'w' is complex64.*select=\['b', 'w', '!w'\]"),
        ("order", r"'order' selects no leaf.*'order' \(int32 \(4,\)\)"),
        (["b", "o*"], r"'o\*' selects no leaf.*'on' \(bool\), 'order' \(int32 \(4,\)\)"),
        ("depth", r"'depth' \(int\)"),
        (["b", "!b"], "leaves nothing to generate of 'b', 'w'"),
        ("bb", r"'bb' matches none of the 5 parameters.*did you mean 'b'"),
    ],
)
def test_what_cannot_be_generated_is_named(select, message):
    with pytest.raises(PatternError, match=message):
        hl.hypernetize((spectral, spectral_apply), X, hidden=(4,), select=select)


def test_what_is_not_generated_stays_as_it_is():
    model = hl.hypernetize((spectral, spectral_apply), X, hidden=(4,), select=["**", "!w"])
    variables = jax.jit(model.init)(jax.random.key(0))
    assert [record.path for record in model.spec] == ["b"]
    assert set(variables["params"]["theta0"]) == {"b"} and set(variables["params"]["primary"]) == {"order", "w"}
    start = model.primary.init(jax.random.split(jax.random.key(0))[0], X)["params"]
    theta = model.generate(variables, GAMMA)["params"]
    np.testing.assert_allclose(theta["w"], start["w"], rtol=1e-6)  # one of them in a larger program, by one rounding
    assert theta["order"].tolist() == [3, 1, 0, 2] and theta["on"] is True and theta["depth"] == 2
    # Gradients: with respect to what is complex or real, of a loss over integers too.
    _, theta_gradient = probes.loss_and_gradients(
        model, variables["params"], {}, GAMMA, lambda apply: jnp.square(apply(X)).mean()
    )[1:]
    assert jnp.isfinite(theta_gradient["b"]).all() and theta_gradient["b"].any()


def test_the_stored_layout_of_nested_dicts_is_the_primarys_own():
    """Checkpoints of earlier versions: theta0, primary and parametrization by the primary's names, lists by number."""
    model = hl.hypernetize(
        lambda rngs: Plain(rngs), X, hidden=(4,), select="**/kernel", parametrization="learned_scale:0.1"
    )
    params = model.init(jax.random.key(0))["params"]
    assert set(params) == {"hypernet", "theta0", "primary", "parametrization"}
    assert params["theta0"]["layers"]["0"]["kernel"].shape == (4, 3)
    assert params["parametrization"]["layers"]["0"]["kernel"].shape == ()
    assert set(params["primary"]["layers"]) == {"0", "1"} and set(params["primary"]["named"]) == {"a", "a/b"}


def test_two_leaves_of_one_path_are_told_apart():
    (init, apply), _ = PAIRS["two leaves of one path"]
    model = hl.hypernetize((init, apply), X, hidden=(4,), select="a/b")
    assert [record.path for record in model.spec] == ["a/b"]  # `a` -> `b`; the key with a slash is `a%2Fb`
    params = model.init(jax.random.key(0))["params"]
    assert jax.tree.map(jnp.shape, params["theta0"]) == {"a": {"b": (4, 3)}}
    assert jax.tree.map(jnp.shape, params["primary"]) == {"a/b": (3,), "a/": {"c": (3,)}}


@pytest.mark.parametrize("normalization", ["output_norm", "output_layer_norm"])
def test_normalised_outputs_have_names_of_their_own(normalization):
    (init, apply), _ = PAIRS["a path that leads through a leaf"]
    model = hl.hypernetize((init, apply), X, hidden=(4,), normalization=normalization)
    hypernet = model.init(jax.random.key(0))["params"]["hypernet"]
    assert {f"{normalization}_{name}" for name in ("a", "a.b", "a/b")} <= set(hypernet)


MLP = eqx.nn.MLP(4, 3, 5, 1, key=jax.random.key(0))


@pytest.mark.parametrize(
    "given", [MLP, eqx.nn.MLP, eqx.partition(MLP, eqx.is_array)], ids=["instance", "class", "parts"]
)
def test_an_equinox_module_by_itself_is_told_how_to_be_a_pair(given):
    with pytest.raises(HyperlabError, match=r"MLP is an Equinox module.*lambda key, x: MLP\(\.\.\., key=key\)"):
        hl.hypernetize(given, X)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: trees.flatten(OrderedDict([(1, 0), ("1", 0)])), "2 leaves of the tree are called '1'"),
        (lambda: trees.nest({"a": 1, "a/b": 2}), "'a/b' leads through the leaf 'a'"),
        (lambda: trees.nest({"a/b": 1, "a": 2}), "'a' is a leaf and a folder of leaves"),
    ],
)
def test_names_that_cannot_be_told_apart_are_refused(call, message):
    with pytest.raises(ParameterTreeError, match=message):
        call()
