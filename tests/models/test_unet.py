"""The U-Net: counts, sizes, and that the canvas form is the exact form, forward and backward."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st

import hyperlab as hl
from hyperlab import pareto, trees
from hyperlab.errors import ConfigError
from hyperlab.models import FilmUNet, UNet, published_size
from hyperlab.nn import Pyramid, bucket_of, level_sizes, plan
from hyperlab.nn.resize import resize

SHAPES = {2: (13, 10), 3: (6, 7, 5)}


def conv(window, source, target):
    return window * source * target + target


# By hand: encoder blocks, decoder blocks from the bottom up, projections, classifier; a norm adds 2 for each channel.
PLAIN = conv(9, 1, 4) + conv(9, 4, 6) + conv(9, 6, 8)
COUNTS = {
    "concat": (UNet((4, 6, 8), 2, 1), (8, 8, 1), PLAIN + conv(9, 14, 6) + conv(9, 10, 4) + conv(1, 4, 2)),
    "none": (UNet((4, 6, 8), 2, 1, skip="none"), (8, 8, 1), PLAIN + conv(9, 8, 6) + conv(9, 6, 4) + conv(1, 4, 2)),
    "add": (
        UNet((4, 6, 8), 2, 1, skip="add"),
        (8, 8, 1),
        PLAIN + conv(1, 8, 6) + conv(9, 6, 6) + conv(1, 6, 4) + conv(9, 4, 4) + conv(1, 4, 2),
    ),
    "two convolutions, group": (
        UNet((4, 6), 3, 2, normalization="group"),
        (8, 8, 2),
        conv(9, 2, 4) + conv(9, 4, 4) + conv(9, 4, 6) + conv(9, 6, 6) + conv(9, 10, 4) + conv(9, 4, 4)
        + 2 * (4 + 4 + 6 + 6 + 4 + 4) + conv(1, 4, 3),
    ),
    "volumes": (UNet((4, 6), 1, 1), (8, 8, 8, 1), conv(27, 1, 4) + conv(27, 4, 6) + conv(27, 10, 4) + conv(1, 4, 1)),
    "one level, wide window": (UNet((4,), 2, 1, kernel_size=5), (8, 8, 1), conv(25, 1, 4) + conv(1, 4, 2)),
    "half the width": (UNet((8, 6), 2, 1, width_multiplier=0.5), (8, 8, 1), 40 + conv(9, 4, 3) + conv(9, 7, 4) + 10),
}  # fmt: skip


def drawn(net, *inputs):
    """Variables of the shapes that `init` gives, from a generator that needs no compilation; variances above 0."""
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(net.init, jax.random.key(0), *inputs)
    variables = jax.tree.map(lambda leaf: jnp.asarray(random.normal(0, 0.4, leaf.shape), leaf.dtype), shapes)
    state = jax.tree.map(lambda leaf: jnp.abs(leaf) + 0.1, {k: v for k, v in variables.items() if k != "params"})
    return {"params": variables["params"], **state}


def compiled(function, **options):
    """Every program here runs once or twice: its compilation is the time it takes."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0}, **options)


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_and_shapes(name):
    net, shape, count = COUNTS[name]
    variables = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, *shape)))
    assert trees.count(variables["params"]) == count
    logits = jax.eval_shape(net.apply, variables, jnp.zeros((3, *shape)))
    assert logits.shape == (3, *shape[:-1], net.classes) and logits.dtype == jnp.float32


def test_the_published_size():
    """109.4 thousand, and 192.5 thousand with FiLM: the author's table."""
    for classes in (1, 2):
        count = trees.count(jax.eval_shape(published_size(classes).init, jax.random.key(0), jnp.zeros((1, 8, 8, 1))))
        assert round(count, -2) == 109_400
    film = FilmUNet(published_size())
    count = trees.count(jax.eval_shape(film.init, jax.random.key(0), jnp.ones(1), jnp.zeros((1, 8, 8, 1))))
    assert round(count, -2) == 192_500


@pytest.mark.parametrize("skip", ["concat", "add", "none"])
def test_pixel_costs_are_the_products_of_the_kernels(skip):
    """A kernel's numbers are the multiply-adds on one pixel of its level, projections aside."""
    net = UNet((4, 6, 8), 3, 2, skip=skip)
    params = trees.flatten(jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 8, 8, 2)))["params"])
    costs = [0, 0, 0]
    for path, leaf in params.items():
        if path.endswith("kernel") and not path.startswith("project"):
            costs[0 if path.startswith("classifier") else int(path.split("_")[1])] += leaf.size
    assert net.pixel_costs(2, in_channels=2) == tuple(costs)
    assert net.clone(rescaled_input=True).pixel_costs(2, in_channels=2) == (0, *costs)


def value_and_gradient(net):
    """Loss, logits, updated statistics and gradient, in the exact and in the canvas form."""

    def loss(params, state, images, conditioning, train, sizes, canvases=None):
        inputs, options = (*conditioning, images, sizes), {"canvases": canvases, "train": train}
        logits, updated = net.apply({"params": params, **state}, *inputs, mutable=["batch_stats"], **options)
        return jnp.sin(logits).mean(), (logits, updated)

    function = jax.value_and_grad(loss, has_aux=True)
    return compiled(function, static_argnums=(4, 5)), compiled(function, static_argnums=(4, 6))


def assert_close(ours, theirs, tolerance=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), ours, theirs)


def assert_canvas_is_exact(net, shape, largest, factors, **options):
    """The canvases are the sizes of the largest factors, `factors` are those that are tried."""
    levels = len(net.unet.widths if isinstance(net, FilmUNet) else net.widths)
    assert_same(net, shape, *(level_sizes(shape, f, levels) for f in (largest, factors)), **options)


def assert_same(net, shape, canvases, sizes, *, programs=None, train=True, conditioning=()):
    images = np.random.default_rng(1).normal(size=(2, *shape, 2)).astype(np.float32)
    state = drawn(net, *conditioning, images)
    arguments = (state.pop("params"), state, images, conditioning, train)
    exact, canvas = programs or value_and_gradient(net)
    assert sizes != canvases
    assert_close(canvas(*arguments, np.array(sizes), canvases), exact(*arguments, sizes))


# With the volumes below, the quick ones see every normalisation and every skip twice.
QUICK = {(None, "add"), ("group", "none"), ("batch", "concat")}
EVERY = itertools.product((None, "group", "batch"), ("concat", "add", "none"))


@pytest.mark.parametrize(
    ("normalization", "skip"), [pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.slow) for pair in EVERY]
)
def test_canvas_is_exact_whatever_the_normalization_and_the_skip(normalization, skip):
    net = UNet((4, 6), 2, 1, normalization=normalization, groups=2, skip=skip)
    assert_canvas_is_exact(net, SHAPES[2], 0.6, 0.35)


@pytest.mark.parametrize(("normalization", "skip"), [(None, "concat"), ("group", "add"), ("batch", "none")])
def test_canvas_is_exact_on_volumes(normalization, skip):
    net = UNet((3, 4), 2, 1, normalization=normalization, groups=2, skip=skip)
    assert_canvas_is_exact(net, SHAPES[3], 0.7, [(0.5, 0.7, 0.3)])


DEEP = UNet((2, 3, 2), 2, 1, normalization="group", groups=1)
PROGRAMS = value_and_gradient(DEEP)  # one canvas program for all examples


@settings(deadline=None, max_examples=5)
@given(factors=st.lists(st.floats(0.02, 0.9), min_size=2, max_size=2))
def test_canvas_is_exact_for_any_factors(factors):
    assert_canvas_is_exact(DEEP, SHAPES[2], 1.0, factors, programs=PROGRAMS)


def test_canvas_is_exact_with_modulation():
    net = FilmUNet(UNet((4, 6), 2, 1, normalization="group", groups=2), hidden=(5,))
    assert_canvas_is_exact(net, SHAPES[2], 0.6, 0.3, conditioning=(jnp.array([0.3]),))


RESCALED = {
    "images": (UNet((4, 6), 2, 1, normalization="group", groups=2), Pyramid((13, 10), 2, full_at=0.5)),
    "batch statistics": (UNet((4, 6), 2, 1, normalization="batch", skip="add"), Pyramid((13, 10), 2, full_at=0.5)),
    "volumes, each axis by itself": (UNet((3, 4), 2, 1), Pyramid((6, 7, 5), 2, powers=(1, 2, 0.5), full_at=0.5)),
    "volumes of slices": (UNet((3, 4), 2, 1, skip="add"), Pyramid((7, 6, 4), 2, powers=(1, 1, 0))),
    "modulation": (FilmUNet(UNet((4, 6), 2, 1), hidden=(5,)), Pyramid((13, 10), 2, full_at=0.5)),
}


@pytest.mark.parametrize("name", RESCALED)
def test_canvas_is_exact_with_rescaled_images_and_axes(name):
    net, pyramid = RESCALED[name]
    rescaled, film = pyramid.full_at is not None, isinstance(net, FilmUNet)
    net = FilmUNet(net.unet.clone(rescaled_input=rescaled), net.hidden) if film else net.clone(rescaled_input=rescaled)
    conditioning = (jnp.array([0.3]),) if film else ()
    assert_same(net, pyramid.shape, pyramid.sizes(0.42), pyramid.sizes(0.27), conditioning=conditioning)


def test_rescaled_images_are_resized_around_the_network_that_has_the_same_parameters():
    plain, images = UNet((3, 4), 2, 1), jax.random.normal(jax.random.key(0), (2, 12, 9, 1))
    net, pyramid = plain.clone(rescaled_input=True), Pyramid((12, 9), 2, full_at=0.5)
    params = drawn(plain, images)
    assert jax.eval_shape(net.init, jax.random.key(0), images) == jax.eval_shape(plain.init, jax.random.key(0), images)
    sizes = pyramid.sizes(0.2)
    inside = compiled(plain.apply, static_argnums=2)(params, resize(images, sizes[1]), sizes[1:])
    found = compiled(net.apply, static_argnums=2)(params, images, sizes)
    np.testing.assert_allclose(found, resize(inside, (12, 9)), atol=1e-6)
    whole = (compiled(net.apply, static_argnums=2)(params, images, s) for s in (pyramid.sizes(0.5), None))
    for logits in whole:  # images of their own size, at the largest factor and where no sizes are given
        np.testing.assert_allclose(logits, compiled(plain.apply)(params, images), atol=1e-6)


def test_with_rescaled_images_the_cost_falls_with_the_square_of_the_factor():
    """At a tenth to a half of the sizes, where the levels alone leave three quarters of the cost."""
    images, spans = jnp.zeros((1, 64, 64, 1)), []
    for full_at in (None, 0.5):
        net = published_size(rescaled_input=full_at is not None)
        variables, pyramid = drawn(net, images), Pyramid((64, 64), 4, full_at=full_at)
        few, many = (
            pareto.operations(lambda v, x, n=net, s=sizes: n.apply(v, x, s), variables, images).macs
            for sizes in map(pyramid.sizes, (0.1, 0.5))
        )
        spans.append(many / few)
    assert spans[0] < 2 and spans[1] > 10


def test_running_statistics_are_used_in_evaluation():
    net = UNet((4, 6), 2, 1, normalization="batch")
    assert_canvas_is_exact(net, SHAPES[2], 0.6, 0.4, train=False)
    images = 3 + jax.random.normal(jax.random.key(0), (2, 8, 8, 1))
    variables = drawn(net, images)
    before = trees.flatten(variables["batch_stats"])
    train = compiled(lambda v, x: net.apply(v, x, train=True, mutable=["batch_stats"]))
    logits, updated = train(variables, images)
    assert not np.allclose(logits, compiled(net.apply)(variables, images), atol=0.1)
    after = trees.flatten(updated["batch_stats"])
    assert all(np.abs(leaf - before[path]).max() > 1e-3 for path, leaf in after.items())


def test_the_parameters_know_no_size():
    net, images = UNet((4, 6, 8), 2, 1, normalization="group", groups=2), jnp.ones((1, 12, 9, 1))
    plain = jax.eval_shape(net.init, jax.random.key(0), images)
    sizes, canvases = level_sizes((12, 9), 0.3, 3), level_sizes((12, 9), 0.5, 3)
    for arguments in ((images, sizes), (jnp.ones((2, 5, 7, 1)),), (images, sizes, canvases)):
        inputs, options = arguments[:2], {"canvases": (*arguments, None, None)[2]}
        assert jax.eval_shape(lambda key, i=inputs, o=options: net.init(key, *i, **o), jax.random.key(0)) == plain


def test_a_factor_of_one_half_is_the_ordinary_network():
    """Down-sampling is then the mean of blocks: a network written out by hand gives the same."""
    net, images = UNet((3, 5), 2, 1), jax.random.normal(jax.random.key(0), (2, 8, 6, 1))
    params = drawn(net, images)["params"]

    def layer(x, name, activation=nn.leaky_relu):
        kernel = params[name]["kernel"]
        y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return activation(y + params[name]["bias"][None, None, None])

    skip = layer(images, "encoder_0_conv_0")
    x = layer(skip.reshape(2, 4, 2, 3, 2, 3).mean((2, 4)), "encoder_1_conv_0")
    x = jnp.concatenate([skip, jax.image.resize(x, (2, 8, 6, 5), "linear")], -1)
    by_hand = layer(layer(x, "decoder_0_conv_0"), "classifier", lambda x: x)
    np.testing.assert_allclose(compiled(net.apply)({"params": params}, images), by_hand, atol=1e-5)


def test_a_continuous_factor_compiles_a_program_for_each_bucket():
    net, images, traces = UNet((2, 2, 2), 2, 1), jnp.ones((1, 32, 32, 1)), []
    variables = drawn(net, images)

    def apply(variables, images, sizes, canvases):
        traces.append(canvases)
        return net.apply(variables, images, sizes, canvases=canvases)

    program = jax.jit(apply, static_argnames="canvases")
    buckets, seen = plan((32, 32), 3, 0.0, 0.5, programs=3), set()
    for factor in np.random.default_rng(0).uniform(0, 0.5, 60):
        sizes = level_sizes((32, 32), factor, 3)
        seen.add(sizes)
        assert program(variables, images, np.array(sizes), bucket_of(buckets, factor).canvases).shape == (1, 32, 32, 2)
    assert len(traces) == 3 < len(seen)


def test_hypernetized_by_the_rescaling_factor():
    """Nothing of the hypernetwork depends on sizes: one set of variables, both forms, and a frozen network."""
    images = jax.random.normal(jax.random.key(0), (2, 12, 11, 1))
    model = hl.hypernetize(
        UNet((3, 4), 2, 1), images, hidden=(4, 8), encoding="z_1mz", gamma_range=(0.0, 0.5), initializer="fan_in"
    )
    variables = compiled(model.init)(jax.random.key(1))
    labels, canvases = jnp.abs(images[..., 0]) > 0.5, level_sizes((12, 11), 0.5, 2)

    @compiled
    def step(variables, factor, sizes):
        def loss(variables):
            logits = model.apply(variables, factor[None], images, sizes, canvases=canvases)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels.astype(int)).mean()

        value, gradient = jax.value_and_grad(loss)(variables)
        return value, jax.tree.map(lambda v, g: v - 0.05 * g, variables, gradient)

    losses = []
    for factor in (0.5, 0.2, 0.35, 0.5, 0.2, 0.35):
        value, variables = step(variables, jnp.float32(factor), np.array(level_sizes((12, 11), factor, 2)))
        losses.append(float(value))
    assert sum(losses[3:]) < sum(losses[:3])
    assert step._cache_size() == 1

    sizes = level_sizes((12, 11), 0.2, 2)
    on_canvas, exact = (
        compiled(lambda v, s, o=options, f=fixed: model.apply(v, jnp.array([0.2]), images, s if f is None else f, **o))
        for options, fixed in (({"canvases": canvases}, None), ({}, sizes))
    )
    logits = on_canvas(variables, np.array(sizes))
    np.testing.assert_allclose(exact(variables, None), logits, atol=1e-5)
    theta = compiled(model.generate)(variables, jnp.array([0.2]))
    net = model.freeze(variables, jnp.array([0.2]))[0]
    np.testing.assert_allclose(compiled(lambda t: net.apply(t, images, sizes))(theta), logits, atol=1e-5)


def test_film_starts_as_the_primary_and_follows_its_input():
    film, images = FilmUNet(UNet((3, 4), 2, 1), hidden=(5,)), jax.random.normal(jax.random.key(0), (1, 6, 6, 1))
    params = compiled(film.init)(jax.random.key(1), jnp.array([0.5]), images)["params"]
    # Biases away from zero: a silenced convolution is then not one of a blank image.
    params = params | {"unet": drawn(film.unet, images)["params"]}
    apply, alone = (
        compiled(lambda p, *inputs, net=net: net.apply({"params": p}, *inputs)) for net in (film, film.unet)
    )
    primary = alone(params["unet"], images)
    np.testing.assert_allclose(apply(params, jnp.array([0.5]), images), primary, atol=1e-6)
    out = params["film_out"] | {"kernel": params["film_out"]["kernel"] + 0.1}
    low, high = (apply(params | {"film_out": out}, jnp.array([factor]), images) for factor in (0.1, 0.5))
    assert np.abs(low - high).max() > 1e-3


def test_the_modulation_is_in_the_order_of_the_convolutions():
    """Scale and shift of the first convolution alone, against parameters that are scaled and shifted instead."""
    net, images = UNet((3, 4), 2, 1), jax.random.normal(jax.random.key(0), (1, 6, 6, 1))
    params = drawn(net, images)["params"]
    apply = compiled(lambda p, m: net.apply({"params": p}, images, modulation=m))
    first, last = params["encoder_0_conv_0"], params["decoder_0_conv_0"]
    for name, layer, place in (("encoder_0_conv_0", first, slice(3)), ("decoder_0_conv_0", last, slice(7, 10))):
        scaled = {"kernel": 1.5 * layer["kernel"], "bias": 1.5 * layer["bias"] - 0.2}
        none = jnp.zeros((2, net.channels))
        modulation = none.at[:, place].set(jnp.array([[0.5], [-0.2]]))
        np.testing.assert_allclose(apply(params, modulation), apply(params | {name: scaled}, none), atol=1e-5)


def test_bfloat16_computation_keeps_float32_parameters_and_logits():
    images = jax.random.normal(jax.random.key(0), (2, 9, 8, 1))
    net, exact = (
        UNet((4, 4), 2, 1, normalization="group", groups=2, dtype=dtype) for dtype in (jnp.bfloat16, jnp.float32)
    )
    variables = drawn(net, images)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    logits, gradient = compiled(lambda v: (net.apply(v, images), jax.grad(lambda v: net.apply(v, images).sum())(v)))(
        variables
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype(jnp.float32)}
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, compiled(exact.apply)(variables, images), atol=0.1)


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_blocks_that_are_computed_again_change_neither_values_nor_gradients(dtype, modulated):
    images = jax.random.normal(jax.random.key(0), (2, 9, 8, 1))
    kept = UNet((4, 6), 2, 2, normalization="group", groups=2, dtype=dtype)
    variables = drawn(kept, images)
    modulation = jax.random.normal(jax.random.key(1), (2, kept.channels)) if modulated else None

    def both(net):
        def loss(variables, modulation):
            return (net.apply(variables, images, modulation=modulation) ** 2).mean()

        return compiled(jax.value_and_grad(loss, argnums=(0, 1) if modulated else 0))(variables, modulation)

    close = {"rtol": 2e-5, "atol": 1e-5} if dtype == jnp.float32 else {"rtol": 0.1, "atol": 1e-2}
    again = both(kept.clone(remat=True))
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, **close), again, both(kept))


def test_blocks_are_computed_again_where_it_is_asked_for_and_running_averages_are_kept():
    images = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))
    kept = UNet((3, 4), 2, 1, normalization="batch")
    variables, again = drawn(kept, images), kept.clone(remat=True)
    updated = [net.apply(variables, images, train=True, mutable=["batch_stats"]) for net in (kept, again)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *updated)
    texts = [str(jax.make_jaxpr(lambda v, net=net: net.apply(v, images))(variables)) for net in (kept, again)]
    assert [text.count("remat") + text.count("checkpoint") > 0 for text in texts] == [False, True]
    assert jax.tree.structure(again.init(jax.random.key(0), images)) == jax.tree.structure(variables)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "leaky"}, "did you mean 'leaky_relu'"),
        ({"normalization": "layer"}, "unknown normalization 'layer'"),
        ({"skip": "sum"}, "unknown skip 'sum'"),
        ({"widths": ()}, "widths"),
        ({"widths": (4, 0)}, "widths"),
        ({"width_multiplier": 0.0}, "widths"),
        ({"classes": 0}, "classes 0"),
    ],
)
def test_an_unknown_option_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        jax.eval_shape(UNet(**{"widths": (4, 4), **options}).init, jax.random.key(0), jnp.ones((1, 8, 8, 1)))


@pytest.mark.parametrize(
    ("sizes", "options", "message"),
    [
        (((8, 8), (4, 4), (2, 2)), {}, "expected 2 of them, each 2 ints"),
        (((8, 8), (4,)), {}, "expected 2 of them, each 2 ints"),
        (((8, 8), (4, 0)), {}, "at least 1"),
        (((8, 8), (4, 4.5)), {}, "ints"),
        (((7, 8), (4, 4)), {}, r"first level are \(7, 8\); the images have \(8, 8\)"),
        (((8, 8), (4, 4)), {"canvases": ((8, 8), (4, 3))}, "smaller than the size"),
        (((8, 8), (4, 4)), {"canvases": ((9, 8), (4, 4))}, "canvases of the first level"),
        (((8, 8), (4, 4)), {"canvases": ((8, 8),)}, "expected 2 of them"),
        (None, {"canvases": ((8, 8), (4, 4))}, "canvases without sizes"),
        (((8, 8), (4, 4)), {"net": UNet((4, 4), 2, 1, rescaled_input=True)}, "expected 3 of them"),
        (None, {"modulation": jnp.zeros((2, 7))}, r"expected \(2, 12\)"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes, options, message):
    net, images = options.get("net", UNet((4, 4), 2, 1)), jnp.ones((1, 8, 8, 1))
    options = {name: value for name, value in options.items() if name != "net"}
    variables = jax.eval_shape(net.init, jax.random.key(0), images)
    with pytest.raises(ConfigError, match=message):
        jax.eval_shape(lambda v, x: net.apply(v, x, sizes, **options), variables, images)


def test_traced_sizes_need_canvases_and_their_shape_is_checked():
    net, images = UNet((4, 4), 2, 1), jnp.ones((1, 8, 8, 1))
    variables = jax.eval_shape(net.init, jax.random.key(0), images)
    with pytest.raises(ConfigError, match="give canvases="):
        jax.eval_shape(net.apply, variables, images, jnp.array([[8, 8], [4, 4]]))
    with pytest.raises(ConfigError, match=r"sizes of shape \(3, 2\)"):
        canvases = ((8, 8), (4, 4))
        jax.eval_shape(
            lambda v, x, s: net.apply(v, x, s, canvases=canvases), variables, images, jnp.ones((3, 2), jnp.int32)
        )
    with pytest.raises(ConfigError, match=r"expected \[d\]"):
        jax.eval_shape(FilmUNet(net).init, jax.random.key(0), jnp.ones((2, 1)), images)
