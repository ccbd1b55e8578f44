import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import hyperlab as hl
from hyperlab import trees
from hyperlab.errors import (
    ConfigError,
    GammaError,
    HyperlabError,
    MemoryGuardError,
    ParameterTreeError,
    PatternError,
)
from hyperlab.hypernet import as_primary, probes

X = jnp.linspace(-1, 1, 24).reshape(6, 4)
GAMMA = jnp.array([0.3])


class Net(nn.Module):
    """Every kind of leaf and every kind of extra: scales, batch statistics, dropout, a keyword argument."""

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dense(8, param_dtype=self.dtype, name="encoder")(x)
        x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
        x = nn.Dropout(0.5, deterministic=not train)(nn.relu(x))
        return nn.Dense(3, name="classifier")(x)


def build(**options):
    return hl.hypernetize(Net(), X, hidden=(6, 8), **options)


def pair():
    def init(key, x):
        return {"w": jax.random.normal(key, (x.shape[-1], 3)), "b": jnp.zeros(3)}

    return init, lambda params, x: x @ params["w"] + params["b"][None, :]


class NnxNet(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(4, 8, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)])
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x, train=False):
        x = self.norm(self.layers[0](x), use_running_average=not train)
        return self.layers[1](self.dropout(x, deterministic=not train))


PRIMARIES = {"linen": Net, "nnx": lambda: lambda rngs: NnxNet(rngs), "pair": pair}


# -- the three kinds of primary -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PRIMARIES)
@pytest.mark.parametrize(
    "parametrization", ["direct", "additive", "scaled:0.1", "learned_scale:0.1", "multiplicative", "centred"]
)
def test_battery(kind, parametrization):
    model = hl.hypernetize(PRIMARIES[kind](), X, hidden=(6, 8), parametrization=parametrization)
    variables = model.init(jax.random.key(0))
    eager = model.apply(variables, GAMMA, X)
    assert eager.shape == (6, 3) and eager.dtype == jnp.float32 and jnp.isfinite(eager).all()

    compiled = jax.jit(model.apply)
    np.testing.assert_allclose(compiled(variables, GAMMA, X), eager, atol=1e-5)
    compiled(variables, GAMMA / 2, X)
    assert compiled._cache_size() == 1

    rest = {k: v for k, v in variables.items() if k != "params"}
    gradient = jax.grad(lambda p: jnp.sum(model.apply({"params": p, **rest}, GAMMA, X) ** 2))(variables["params"])
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert float(probes.global_norm(gradient["hypernet"])) > 0

    # Several draws on one batch: vmap over apply equals a loop.
    gammas = jnp.array([[0.1], [0.5], [0.9]])
    draws = jax.vmap(lambda g: model.apply(variables, g, X))(gammas)
    for gamma, draw in zip(gammas, draws, strict=True):
        np.testing.assert_allclose(draw, model.apply(variables, gamma, X), atol=1e-5)

    # The frozen network is the same function, and knows nothing of the hypernetwork.
    primary, theta = model.freeze(variables, GAMMA)
    np.testing.assert_allclose(primary.apply(theta, X), eager, atol=1e-5)
    assert set(trees.flatten(theta["params"])) == {record.path for record in model.spec}


@pytest.mark.parametrize("kind", PRIMARIES)
def test_one_theta_per_sample_equals_a_loop(kind):
    model = hl.hypernetize(PRIMARIES[kind](), X, hidden=(6, 8))
    variables = model.init(jax.random.key(1))
    gammas = jnp.linspace(0, 1, 6)[:, None]
    together = model.apply_per_sample(variables, gammas, X)
    for i in range(6):
        np.testing.assert_allclose(together[i], model.apply(variables, gammas[i], X[i : i + 1])[0], atol=1e-5)


def test_bias_hyperinit_reproduces_the_ordinary_network_exactly():
    for options in ({"parametrization": "additive"}, {"parametrization": "direct"}):
        model = build(initializer="bias_hyperinit", **options)
        variables = model.init(jax.random.key(2))
        own = model.primary.init(jax.random.split(jax.random.key(2))[0], X)
        theta = model.generate(variables, GAMMA)
        for path, leaf in trees.flatten(theta["params"]).items():
            expected = trees.flatten(own["params"])[path]
            # A direct scale is 1 + (head bias 1): its own init sits in the parametrisation.
            if options["parametrization"] == "direct" and path.endswith("scale"):
                continue
            np.testing.assert_array_equal(leaf, expected, err_msg=path)


def test_additive_base_is_the_primarys_own_init():
    model = build()
    own = model.primary.init(jax.random.split(jax.random.key(3))[0], X)
    base = model.base(model.init(jax.random.key(3)))
    jax.tree.map(np.testing.assert_array_equal, base["params"], dict(own["params"]))


def test_raw_direct_is_homogeneous_and_mip_is_not():
    model = build(encoding="raw", parametrization="direct", gamma_range=None)
    assert probes.check_proportional(model, model.init(jax.random.key(0)), GAMMA) < 1e-6
    model = build()
    assert probes.check_proportional(model, model.init(jax.random.key(0)), GAMMA) > 0.1


def test_centred_is_theta0_at_the_centre():
    model = build(parametrization="centred:0.25")
    variables = model.init(jax.random.key(0))
    theta, base = model.generate(variables, jnp.array([0.25])), model.base(variables)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), theta["params"], base["params"])


def test_scale_of_a_direct_model_starts_at_one():
    theta = (model := build(parametrization="direct")).generate(model.init(jax.random.key(0)), GAMMA)
    np.testing.assert_array_equal(theta["params"]["norm"]["scale"], np.ones(8))


# -- selection, collections, dtypes -------------------------------------------------------------------------------


def test_selection_leaves_the_rest_ordinary():
    model = build(select=["**/kernel", "!classifier/**"])
    params = model.init(jax.random.key(0))["params"]
    assert list(trees.flatten(params["theta0"])) == ["encoder/kernel"]
    assert "classifier/kernel" in trees.flatten(params["primary"])
    with pytest.raises(PatternError, match=r"'encoder/kernal' matches none.*did you mean 'encoder/kernel'"):
        build(select="encoder/kernal")


def test_mutable_collections_rngs_and_keywords_pass_through():
    model = build()
    variables = model.init(jax.random.key(0))
    assert set(variables) == {"params", "batch_stats"}
    rngs = {"dropout": jax.random.key(5)}
    out, updated = model.apply(variables, GAMMA, X, train=True, rngs=rngs, mutable=["batch_stats"])
    again, _ = model.apply(variables, GAMMA, X, train=True, rngs=rngs, mutable=["batch_stats"])
    np.testing.assert_array_equal(out, again)
    other, _ = model.apply(
        variables, GAMMA, X, train=True, rngs={"dropout": jax.random.key(6)}, mutable=["batch_stats"]
    )
    assert not np.array_equal(out, other)
    before, after = variables["batch_stats"]["norm"]["mean"], updated["batch_stats"]["norm"]["mean"]
    assert not np.array_equal(before, after)
    # One random stream per sample: identical samples with identical gammas get different dropout.
    same = jnp.ones((6, 4))
    per_sample, state = model.apply_per_sample(
        variables, jnp.full((6, 1), 0.3), same, train=True, rngs=rngs, mutable=["batch_stats"]
    )
    assert len({row.tobytes() for row in np.asarray(per_sample)}) > 1
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, {"batch_stats": variables["batch_stats"]})


def test_nnx_dropout_and_batch_statistics():
    model = hl.hypernetize(lambda rngs: NnxNet(rngs), X, hidden=(6,))
    variables = model.init(jax.random.key(0))
    run = lambda seed: model.apply(  # noqa: E731
        variables, GAMMA, X, train=True, rngs={"dropout": jax.random.key(seed)}, mutable=["batch_stats"]
    )
    np.testing.assert_array_equal(run(1)[0], run(1)[0])
    assert not np.array_equal(run(1)[0], run(2)[0])
    assert not np.array_equal(run(1)[1]["batch_stats"]["norm"]["mean"], variables["batch_stats"]["norm"]["mean"])
    with pytest.raises(HyperlabError, match="factory"):
        hl.hypernetize(NnxNet(nnx.Rngs(0)), X)


def test_theta0_is_float32_where_the_primary_is_bfloat16():
    model = hl.hypernetize(Net(dtype=jnp.bfloat16), X, hidden=(6,))
    variables = model.init(jax.random.key(0))
    assert variables["params"]["theta0"]["encoder"]["kernel"].dtype == jnp.float32
    assert model.generate(variables, GAMMA)["params"]["encoder"]["kernel"].dtype == jnp.bfloat16


def test_partitioning_boxes_are_opened():
    kernel_init = nn.with_partitioning(nn.initializers.lecun_normal(), (None, "model"))
    model = hl.hypernetize(nn.Dense(3, kernel_init=kernel_init), X, hidden=(6,))
    assert isinstance(model.init(jax.random.key(0))["params"]["theta0"]["kernel"], jax.Array)


def test_tied_parameters_are_generated_once():
    def init(key, x):
        w = jax.random.normal(key, (4, 4))
        return {"encode": w, "decode": w}

    model = hl.hypernetize((init, lambda p, x: x @ p["encode"] @ p["decode"].T), X, hidden=(6,))
    assert [record.path for record in model.spec] == ["decode"] and model.tied == {"encode": "decode"}
    params = model.generate(model.init(jax.random.key(0)), GAMMA)["params"]
    np.testing.assert_array_equal(params["encode"], params["decode"])


# -- theta0, decay, named inputs ----------------------------------------------------------------------------------


def test_pretrained_theta0_is_copied_and_checked():
    model = build()
    pretrained = Net().init(jax.random.key(9), X)
    variables = model.init(jax.random.key(0), pretrained)
    np.testing.assert_array_equal(
        variables["params"]["theta0"]["encoder"]["kernel"], pretrained["params"]["encoder"]["kernel"]
    )
    broken = {"encoder": {"kernel": jnp.zeros((4, 9)), "bias": jnp.zeros(8)}}
    with pytest.raises(ParameterTreeError, match=r"encoder/kernel.*\(4, 9\).*\(4, 8\)"):
        model.init(jax.random.key(0), broken)


def test_theta0_frozen_by_pattern_does_not_move():
    model = build()
    variables = model.init(jax.random.key(0))
    labels = trees.assign(trees.flatten(variables["params"]), [("theta0/**", "frozen"), ("**", "trained")])
    optimizer = optax.partition(
        {"frozen": optax.set_to_zero(), "trained": optax.sgd(0.1)}, trees.unflatten(labels, variables["params"])
    )
    rest = {"batch_stats": variables["batch_stats"]}
    gradient = jax.grad(lambda p: jnp.sum(model.apply({"params": p, **rest}, GAMMA, X) ** 2))(variables["params"])
    updates, _ = optimizer.update(gradient, optimizer.init(variables["params"]))
    assert float(probes.global_norm(updates["theta0"])) == 0 < float(probes.global_norm(updates["hypernet"]))


def test_decay_acts_on_what_is_generated():
    plain, decaying = build(), build(generated_weight_decay=0.5)
    variables = plain.init(jax.random.key(0))
    rest = {"batch_stats": variables["batch_stats"]}

    def loss(model):
        return lambda p: jnp.sum(model.apply({"params": p, **rest}, GAMMA, X) ** 2)

    assert float(loss(plain)(variables["params"])) == float(loss(decaying)(variables["params"]))
    difference = jax.tree.map(
        jnp.subtract, jax.grad(loss(decaying))(variables["params"]), jax.grad(loss(plain))(variables["params"])
    )
    theta = plain.generate(variables, GAMMA)["params"]
    jax.tree.map(lambda d, t: np.testing.assert_allclose(d, 0.5 * t, atol=1e-4), difference["theta0"], theta)


def test_named_inputs_join_in_sorted_order():
    model = build(gamma_dim={"task": 1, "lam": 2}, encoding={"task": "one_hot:4", "lam": "cos_sin"})
    variables = model.init(jax.random.key(0))
    assert variables["params"]["hypernet"]["hidden_0"]["kernel"].shape == (2 * 2 + 4, 6)
    gamma = {"task": jnp.array([2.0]), "lam": jnp.array([0.1, 0.2])}
    assert model.apply(variables, gamma, X).shape == (6, 3)
    per_sample = {"task": jnp.ones((6, 1)), "lam": jnp.full((6, 2), 0.5)}
    assert model.apply_per_sample(variables, per_sample, X).shape == (6, 3)
    with pytest.raises(GammaError, match="'lamb'.*did you mean 'lam'"):
        model.apply(variables, {"task": jnp.array([2.0]), "lamb": jnp.array([0.1, 0.2])}, X)
    with pytest.raises(GammaError, match=r"lacks \['task'\]"):
        model.apply(variables, {"lam": jnp.array([0.1, 0.2])}, X)


# -- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gamma", "message"),
    [
        (jnp.zeros(2), r"shape \[2\]; expected \[1\]"),
        (jnp.zeros((6, 1)), "apply_per_sample"),
        (jnp.array([1.5]), r"1.5.*outside its range \[0, 1\].*allow_extrapolation"),
        (jnp.array([jnp.nan]), "outside its range"),
        ({"a": jnp.zeros(1)}, "expected one array"),
    ],
)
def test_wrong_gammas_are_refused(gamma, message):
    model = build()
    with pytest.raises(GammaError, match=message):
        model.apply(model.init(jax.random.key(0)), gamma, X)


def test_extrapolation_is_a_choice_and_debug_checks_under_jit():
    model = build(debug=True)
    variables = model.init(jax.random.key(0))
    assert model.extrapolating().apply(variables, jnp.array([1.5]), X).shape == (6, 3)
    with pytest.raises(jax.errors.JaxRuntimeError, match="outside its range"):
        jax.block_until_ready(jax.jit(model.apply)(variables, jnp.array([1.5]), X))


def test_memory_guards_name_the_bytes():
    with pytest.raises(MemoryGuardError, match=r"head \(83 generated numbers, 664 parameters\).*bytes.*chunked"):
        build(memory_limit=100).init(jax.random.key(0))
    model = build()
    variables = model.init(jax.random.key(0))
    with pytest.raises(MemoryGuardError, match=r"6 samples x 83 numbers x 4 bytes\) needs 1,992 bytes"):
        model.replace(memory_limit=1000).apply_per_sample(variables, jnp.zeros((6, 1)), X)
    with pytest.raises(GammaError, match="5 gammas"):
        model.apply_per_sample(variables, jnp.zeros((5, 1)), X)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoding": "cossin"}, "cos_sin"),
        ({"parametrization": "aditive"}, "additive"),
        ({"initializer": "fanout"}, "fan_out"),
        ({"activation": "reluu"}, "relu"),
        ({"head": "denze"}, "dense"),
        ({"normalization": "batchnorm"}, "batch_norm"),
    ],
)
def test_unknown_options_are_refused_at_construction(options, message):
    with pytest.raises(ConfigError, match=message):
        build(**options)


def test_what_is_not_a_network_is_refused():
    with pytest.raises(HyperlabError, match="cannot use a int"):
        as_primary(3)


# -- heads, normalisation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["dense", "chunked:32", "low_rank:1"])
@pytest.mark.parametrize("head_bias", [None, "zeros", "own"])
def test_heads(head, head_bias):
    model = build(head=head, head_bias=head_bias)
    variables = model.init(jax.random.key(0))
    from hyperlab.hypernet.heads import HEADS

    params = dict(variables["params"]["hypernet"]["head"])
    assert (params.pop("bias", None) is not None) == (head_bias is not None)
    assert trees.count(params) == HEADS.get(head).size(model.spec, 8)
    batched = model.delta(variables, jnp.array([[0.2], [0.8]]))
    for path, tensor in model.delta(variables, jnp.array([0.8])).items():
        np.testing.assert_allclose(batched[path][1], tensor, atol=1e-5)
        if not path.endswith("scale") and head != "chunked:32":
            assert tensor.any(), path


def test_chunked_head_of_a_large_primary_is_small():
    big = (lambda key, x: {"w": jax.random.normal(key, (1000, 1000))}, lambda p, x: x @ p["w"])
    x = jax.ShapeDtypeStruct((1, 1000), jnp.float32)
    sizes = {
        head: trees.count(
            jax.eval_shape(hl.hypernetize(big, x, head=head).init, jax.random.key(0))["params"]["hypernet"]
        )
        for head in ("dense", "chunked", "low_rank")
    }
    assert sizes["dense"] > 128_000_000 and sizes["chunked"] < 300_000 and sizes["low_rank"] < 1_100_000


@pytest.mark.parametrize(
    "normalization",
    ["layer_norm_before", "layer_norm_after", "rms_norm", "weight_norm", "output_norm", "output_layer_norm"],
)
def test_normalizations_train(normalization):
    model = build(normalization=normalization)
    variables = model.init(jax.random.key(0))
    rest = {"batch_stats": variables["batch_stats"]}
    gradient = jax.grad(lambda p: jnp.sum(model.apply({"params": p, **rest}, GAMMA, X) ** 2))(variables["params"])
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert float(probes.global_norm(gradient["hypernet"])) > 0


def test_batch_norm_over_gamma_needs_a_batch_of_gamma():
    model = build(normalization="batch_norm")
    variables = model.init(jax.random.key(0))
    assert "hypernet_batch_stats" in variables
    gammas = jnp.linspace(0, 1, 6)[:, None]
    _, updated = model.apply_per_sample(variables, gammas, X, mutable=["hypernet_batch_stats"])
    assert list(updated) == ["hypernet_batch_stats"]
    moved = updated["hypernet_batch_stats"]["norm_0"]["mean"] - variables["hypernet_batch_stats"]["norm_0"]["mean"]
    assert jnp.abs(moved).max() > 0
    assert model.apply({**variables, **updated}, GAMMA, X).shape == (6, 3)
    with pytest.raises(GammaError, match="single gamma"):
        model.apply(variables, GAMMA, X, mutable=["hypernet_batch_stats"])


def test_layer_norm_on_a_scalar_input_erases_gamma():
    model = build(normalization="layer_norm_after", encoding="raw", parametrization="direct")
    variables = model.init(jax.random.key(0))
    norms = probes.weight_norms(model, variables, jnp.array([[0.2], [0.9]]))["total"]
    assert float(norms[0]) == pytest.approx(float(norms[1]), rel=1e-2)


def test_a_large_head_is_told_with_the_heads_that_would_be_smaller(caplog):
    inputs = jax.ShapeDtypeStruct((1, 600), jnp.float32)
    model = hl.hypernetize(nn.Dense(400), inputs)
    shapes = jax.eval_shape(model.init, jax.random.key(0))["params"]["hypernet"]
    assert model.head_size() == 128 * (600 * 400 + 400) == shapes["head"]["kernel"].size
    assert f"{model.head_size():,} parameters to generate 240,400, 128 times" in caplog.text
    smaller = hl.hypernetize(nn.Dense(400), inputs, head="low_rank:4")
    shapes = jax.eval_shape(smaller.init, jax.random.key(0))["params"]["hypernet"]["head"]
    kernels = sum(leaf.size for leaf in jax.tree.leaves(shapes) if leaf.ndim > 1)
    assert smaller.head_size() == model.head_size("low_rank:4") == kernels
    for head in ("low_rank:4", "chunked:4096"):
        assert f"{head!r} has {model.head_size(head):,}" in caplog.text


@pytest.mark.parametrize("head", ["dense", "low_rank:4"])
def test_a_head_of_few_parameters_is_told_nothing(caplog, head):
    hl.hypernetize(nn.Dense(300), jax.ShapeDtypeStruct((1, 300), jnp.float32), head=head)
    assert not caplog.text
