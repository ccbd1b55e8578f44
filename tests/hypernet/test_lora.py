"""LoRA: updates of low rank beside slow loops, zero at the start, and of matrices alone."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import hyperlab as hl
from hyperlab import trees
from hyperlab.errors import ConfigError, PatternError
from hyperlab.hypernet import own_start
from hyperlab.train import checkpoints, optimizers

GAMMA = jnp.array([0.3])
IMAGES = jax.random.normal(jax.random.key(7), (5, 6, 6, 2))
ROWS = IMAGES.reshape(5, -1)[:, :8]
TOKENS = jax.random.normal(jax.random.key(8), (2, 3, 8))


class Conv(nn.Module):
    """A convolution, a normalisation and a dense layer."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(6, (3, 3), name="conv")(x)
        x = nn.relu(nn.LayerNorm(name="norm")(x)).mean((1, 2))
        return nn.Dense(4, name="classifier")(x)


class Stack(nn.Module):
    """Three dense layers in one leaf `[3, 8, 8]`."""

    @nn.compact
    def __call__(self, x):
        class Layer(nn.Module):
            @nn.compact
            def __call__(self, x, _):
                return nn.Dense(8, name="dense")(x), None

        layers = nn.scan(Layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        return layers(name="layers")(x, None)[0]


def equinox_conv():
    def init(key, x):
        first, second = jax.random.split(key)
        return [eqx.nn.Conv2d(2, 6, 3, key=first), eqx.nn.Linear(6, 4, key=second)]

    def one(layers, image):
        return layers[1](layers[0](image.transpose(2, 0, 1)).mean((1, 2)))

    return init, lambda layers, x: jax.vmap(lambda image: one(layers, image))(x)


# Where in a kernel the row (what an output sums over, in the order of the axes) and the column of an entry are.
NETWORKS = {
    "conv": (Conv, IMAGES, {"conv/kernel": ("wwio", (18, 6)), "classifier/kernel": ("io", (6, 4))}),
    "attention": (
        lambda: nn.MultiHeadDotProductAttention(2),
        TOKENS,
        {f"{name}/kernel": ("ioo", (8, 8)) for name in ("query", "key", "value")} | {"out/kernel": ("iio", (8, 8))},
    ),
    "stack": (Stack, ROWS, {"layers/dense/kernel": ("cio", (8, 8))}),
    "equinox": (equinox_conv, IMAGES, {"0/weight": ("oiww", (18, 6)), "1/weight": ("oi", (6, 4))}),
    "nnx": (
        lambda: lambda rngs: nnx.Sequential(nnx.Linear(8, 6, rngs=rngs), nnx.Linear(6, 4, rngs=rngs)),
        ROWS,
        {f"layers/{i}/kernel": ("io", sides) for i, sides in enumerate([(8, 6), (6, 4)])},
    ),
}
each_network = pytest.mark.parametrize("name", NETWORKS)


def built(name, rank=2, **options):
    network, x, kernels = NETWORKS[name]
    return hl.hypernetize(network(), x, lora=rank, hidden=(6, 8), **options), x, kernels


def moved(variables):
    """Variables as after some training: no part of the head is zero."""
    head = variables["params"]["hypernet"]["head"]
    kernel = head["kernel"] + 0.3 * jax.random.normal(jax.random.key(9), head["kernel"].shape)
    hypernet = {**variables["params"]["hypernet"], "head": {"kernel": kernel}}
    return {**variables, "params": {**variables["params"], "hypernet": hypernet}}


def updates_by_loops(model, variables, kernels, rank):
    """A B of each kernel, entry by entry, from the features and the columns of the head."""
    given = {"params": variables["params"]["hypernet"]}
    _, seen = model.network.apply(given, GAMMA, mutable=["intermediates"])
    flat = np.asarray(seen["intermediates"]["features"][0] @ given["params"]["head"]["kernel"])
    found, offset = {}, 0
    for record in model.spec:
        words, (rows, columns) = kernels[record.path]
        copies = record.shape[0] if words[0] == "c" else 1
        a = flat[offset : offset + copies * rows * rank].reshape(copies, rows, rank)
        offset += a.size
        b = flat[offset : offset + copies * rank * columns].reshape(copies, rank, columns)
        offset += b.size
        update = np.zeros(record.shape, np.float32)
        for index in np.ndindex(record.shape):
            copy = row = column = 0
            for word, place, size in zip(words, index, record.shape, strict=True):
                copy = place if word == "c" else copy
                row = row * size + place if word in "wi" else row
                column = column * size + place if word == "o" else column
            for r in range(rank):
                update[index] += a[copy, row, r] * b[copy, r, column]
        found[record.path] = update
    assert offset == flat.size
    return found


@each_network
def test_updates_are_those_of_a_loop_over_entries(name):
    model, _, kernels = built(name, parametrization="scaled:0.5")
    variables = moved(model.init(jax.random.key(0)))
    assert {record.path for record in model.spec} == set(kernels)
    expected = updates_by_loops(model, variables, kernels, 2)
    theta, theta0 = model.generate(variables, GAMMA), model.base(variables)
    leaves, base = model.layout.read(theta["params"]), model.layout.read(theta0["params"])
    for path, update in expected.items():
        assert np.abs(update).max() > 0.1
        np.testing.assert_allclose(leaves[path], base[path] + 0.5 * update, rtol=1e-5, atol=1e-6, err_msg=path)
    for path in set(leaves) - set(expected):
        np.testing.assert_array_equal(leaves[path], base[path])


@each_network
def test_the_start_is_the_ordinary_network_bit_for_bit(name):
    model, x, _ = built(name)
    own = own_start(NETWORKS[name][0](), jax.random.key(1), x)
    variables = model.init(jax.random.key(1))
    for gamma in (0.0, 0.3, 1.0):
        theta = model.generate(variables, jnp.array([gamma]))
        jax.tree.map(
            np.testing.assert_array_equal, model.layout.read(theta["params"]), model.layout.read(own["params"])
        )
    np.testing.assert_array_equal(model.apply(variables, GAMMA, x), model.primary.apply(own, x))


@each_network
def test_apply_and_one_theta_per_sample_are_the_network_with_what_is_generated(name):
    model, x, _ = built(name)
    variables = moved(model.init(jax.random.key(0)))
    gammas = jnp.linspace(0, 1, len(x))[:, None]
    together = model.apply_per_sample(variables, gammas, x)
    several = jax.vmap(lambda gamma: model.apply(variables, gamma, x))(gammas)
    for index, gamma in enumerate(gammas):
        network, theta = model.freeze(variables, gamma)
        alone = network.apply(theta, x)
        np.testing.assert_allclose(model.apply(variables, gamma, x), alone, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(several[index], alone, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(together[index], alone[index], rtol=1e-4, atol=1e-4)
    assert jnp.abs(together - model.primary.apply(model.base(variables), x)).max() > 0.01


def test_a_trained_network_stays_and_updates_of_its_rank_learn():
    model, x, _ = built("conv", rank=3)
    trained = own_start(Conv(), jax.random.key(5), x)["params"]
    variables = model.init(jax.random.key(0), pretrained=trained)
    optimizer = optimizers.build(
        {"learning_rate": 0.01, "groups": (("hypernet/**", {}), ("**", {"frozen": True}))}, variables["params"]
    )
    labels = jnp.array([0, 1, 2, 3, 0])

    def loss(params):
        logits = model.apply({"params": params}, GAMMA, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    params, opt_state = variables["params"], optimizer.init(variables["params"])
    value_and_grad, losses = jax.jit(jax.value_and_grad(loss)), []
    sides = [(record.size // record.shape[-1], record.shape[-1]) for record in model.spec]
    is_a = np.concatenate([np.repeat([True, False], [3 * rows, 3 * columns]) for rows, columns in sides])
    for step in range(20):
        value, gradient = value_and_grad(params)
        losses.append(float(value))
        columns = np.abs(np.asarray(gradient["hypernet"]["head"]["kernel"])).max(0)
        assert columns[~is_a].min() > 0
        assert (columns[is_a].max() == 0) == (step == 0)  # of A, once B has moved
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        params = optax.apply_updates(params, updates)
    assert losses[-1] < 0.5 * losses[0]
    base = trees.flatten(model.base({"params": params})["params"])
    theta = trees.flatten(model.generate({"params": params}, GAMMA)["params"])
    for path, leaf in trees.flatten(trained).items():
        np.testing.assert_array_equal(base[path], leaf)
        update = np.asarray(theta[path] - leaf)
        if path.endswith("kernel"):
            assert np.linalg.matrix_rank(update.reshape(-1, update.shape[-1]), tol=1e-5) == 3
        else:
            assert not update.any()


def test_nothing_of_the_optimizer_is_kept_for_what_is_frozen():
    model, x, _ = built("conv")
    params = jax.eval_shape(model.init, jax.random.key(0))["params"]
    groups = (("hypernet/**", {}), ("**", {"frozen": True}))
    opt_state = jax.eval_shape(optimizers.build({"groups": groups}, params).init, params)
    moments = trees.count(opt_state) / trees.count(params["hypernet"])
    assert 2 <= moments < 2.05  # of Adam, with a counter and a rate


def test_the_head_has_the_size_that_is_said_and_reads_what_was_written(tmp_path):
    model, x, kernels = built("conv", rank=3)
    variables = moved(model.init(jax.random.key(0)))
    numbers = 8 * sum(3 * (rows + columns) for _, (rows, columns) in kernels.values())
    assert model.head_size() == model.head_size("lora:3") == numbers
    assert trees.count(variables["params"]["hypernet"]["head"]) == numbers
    checkpoints.save_variables(tmp_path / "variables.npz", variables)
    read = checkpoints.load_variables(tmp_path / "variables.npz", like=model.init(jax.random.key(1)))
    np.testing.assert_array_equal(model.apply(read, GAMMA, x), model.apply(variables, GAMMA, x))


def test_lora_is_the_head_of_that_name():
    one, x, _ = built("conv", rank=3)
    other = hl.hypernetize(Conv(), x, head="lora:3", hidden=(6, 8))
    jax.tree.map(np.testing.assert_array_equal, one.init(jax.random.key(0)), other.init(jax.random.key(0)))


def test_a_low_rank_head_is_another_thing():
    """It starts away from theta0, and generates vectors too."""
    model = hl.hypernetize(Conv(), IMAGES, head="low_rank:2", hidden=(6, 8))
    variables = model.init(jax.random.key(0))
    delta = model.delta(variables, GAMMA)
    assert delta["conv/kernel"].any() and delta["classifier/bias"].any()


def test_what_is_selected_alone_is_updated():
    model = hl.hypernetize(Conv(), IMAGES, lora=2, select="conv/kernel")
    params = model.init(jax.random.key(0))["params"]
    assert list(trees.flatten(params["theta0"])) == ["conv/kernel"]
    assert "classifier/kernel" in trees.flatten(params["primary"])


def test_a_certificate_of_a_start_at_zero_is_sound():
    model, x, _ = built("conv")
    assert hl.diagnose(model, seeds=2).verdict == "sound"


REFUSED = [
    ({"lora": 0}, ConfigError, "lora is 0, expected the rank of the updates"),
    ({"lora": True}, ConfigError, "lora is True"),
    ({"lora": 2.0}, ConfigError, "lora is 2.0"),
    ({"lora": "4"}, ConfigError, "lora is '4'"),
    ({"head": "lora:0"}, ConfigError, "rank is 0, expected a whole number of at least 1"),
    ({"lora": 5}, ConfigError, r"'classifier/kernel' \(6, 4\) is a matrix of 6 x 4, whose rank is 4 at most"),
    ({"lora": 7, "select": "conv/*"}, PatternError, r"select chooses 'conv/bias' \(bias \(6,\)\)"),
    ({"lora": 2, "select": "**"}, PatternError, "'norm/scale'.* select='\\*\\*/kernel'"),
    ({"lora": 2, "select": "**/kernal"}, PatternError, "did you mean 'conv/kernel'"),
    ({"lora": 2, "select": ()}, PatternError, "leaves nothing to generate"),
    ({"lora": 2, "head": "chunked"}, ConfigError, "head is 'chunked' beside it"),
    ({"lora": 2, "parametrization": "direct"}, ConfigError, "updates of theta0"),
    ({"lora": 2, "parametrization": "learned_scale:0"}, ConfigError, "nothing would ever learn"),
    ({"lora": 2, "head_bias": "zeros"}, ConfigError, "head_bias is 'zeros'"),
    ({"lora": 2, "normalization": "output_norm"}, ConfigError, "starts at zero; take 'unit_norm'"),
]


@pytest.mark.fast
@pytest.mark.parametrize(("options", "error", "words"), REFUSED, ids=[str(row[0]) for row in REFUSED])
def test_what_makes_no_update_is_refused(options, error, words):
    with pytest.raises(error, match=words):
        hl.hypernetize(Conv(), IMAGES, **options)


@pytest.mark.fast
def test_a_network_without_a_kernel_and_a_kernel_of_unknown_axes_are_told_what_to_say():
    with pytest.raises(PatternError, match=r"no kernel among 'bias' \(bias\), 'scale' \(scale\)"):
        hl.hypernetize(nn.LayerNorm(), ROWS, lora=2)

    def init(key, x):
        return {"mix": jax.random.normal(key, (8, 3, 4))}

    pair = (init, lambda params, x: jnp.einsum("bi,ijk->bjk", x, params["mix"]))
    with pytest.raises(ConfigError, match="say it with roles="):
        hl.hypernetize(pair, ROWS, lora=2)
    assert hl.hypernetize(pair, ROWS, lora=2, roles={"mix": "in out out"}).head_size() == 128 * 2 * (8 + 12)
