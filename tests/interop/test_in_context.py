"""The released networks' numbers: from a copy of their golden vectors, and from closed forms."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab import trees
from hyperlab.errors import ConfigError, ParameterTreeError
from hyperlab.interop import tyche_from_torch, universeg_from_torch

FOLDER = pathlib.Path(__file__).parents[1] / "golden"
FROM_TORCH = {"universeg": universeg_from_torch, "tyche": tyche_from_torch}
GOLDEN = {name: dict(np.load(FOLDER / f"{name}_8x3.npz")) for name in FROM_TORCH}
STATES = {
    name: {key.removeprefix("state_dict/"): value for key, value in golden.items() if key.startswith("state_dict/")}
    for name, golden in GOLDEN.items()
}


def compiled(function):
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def channel_last(images):
    return jnp.asarray(np.moveaxis(images, -3, -1))


def applied(name, state, inputs):
    """Logits in PyTorch's layout of inputs in PyTorch's layout."""
    module, params = FROM_TORCH[name](state, dtype=inputs[0].dtype)
    logits = compiled(module.apply)({"params": params}, *map(channel_last, inputs))
    return np.moveaxis(np.asarray(logits), -1, -3)


@pytest.mark.parametrize("name", FROM_TORCH)
def test_logits_match_the_reference(name):
    golden = GOLDEN[name]
    target = [golden[key] for key in ("target_image", "noise_image") if key in golden]
    logits = applied(name, STATES[name], [*target, golden["support_images"], golden["support_labels"]])
    assert logits.shape == golden["logits"].shape
    np.testing.assert_allclose(logits, golden["logits"], rtol=0, atol=1e-4)


def closed_form_state(widths, tyche):
    """Keys in PyTorch's order; every number is a sine of its place."""
    blocks, state, decoder = [], {}, widths[-2::-1]
    for i, width in enumerate(widths):
        target = (2 if tyche else 1) if i == 0 else widths[i - 1]
        blocks.append((f"enc_blocks.{i}", width, target, 2 if i == 0 else target))
    for i, width in enumerate(decoder):
        joined = (decoder[i - 1] if i else widths[-1]) + width
        blocks.append((f"dec_blocks.{i}", width, joined, joined))
    shapes = {}
    for name, width, target, support in blocks:
        shapes[f"{name}.cross.cross_conv"] = (width, target + support, 3, 3)
        if tyche:
            shapes[f"{name}.meanconv.vmapped.conv"] = (width, target + width, 3, 3)
        shapes |= {f"{name}.{branch}.vmapped.conv": (width, width, 3, 3) for branch in ("target", "support")}
    shapes["out_conv.conv"] = (1, widths[0], 1, 1)
    for name, shape in shapes.items():
        k, size, fan_in = len(state), np.prod(shape), np.prod(shape[1:])
        state[f"{name}.weight"] = (np.sin(0.7 * np.arange(size) + 1.3 * k) / np.sqrt(fan_in)).reshape(shape)
        state[f"{name}.bias"] = 0.05 * np.cos(0.9 * np.arange(shape[0]) + 0.4 * (k + 1))
    return state


def closed_form_inputs(tyche):
    def wave(a, b, *shape):
        return 0.5 + 0.5 * np.sin(a * np.arange(np.prod(shape)) + b).reshape(shape)

    image, size = wave(0.31, 0, 2, 1, 8, 12), (2, 3, 1, 8, 12)
    support = [wave(0.17, 0.5, *size), (wave(0.23, 1.0, *size) > 0.5).astype(float)]
    if not tyche:
        return [image, *support]
    return [np.repeat(image[:, None], 4, 1), 2 * wave(0.41, 0.2, 2, 4, 1, 8, 12) - 1, *support]


# Mean, population deviation and three logits in float64, computed once with the reference implementation.
CLOSED_FORMS = {
    ("universeg", 2): (-0.609952190014, 0.799683349375, -0.0657413534, -0.1971091515, 0.0236606433),
    ("universeg", 3): (-0.454495676273, 1.700893761024, 1.5621231213, 0.0837488722, 0.0645190413),
    ("tyche", 2): (0.260156562427, 0.582457753583, -0.0443593943, -0.0471474958, 0.0190158205),
    ("tyche", 3): (-0.973125789584, 1.307648991968, -0.0874179056, -0.0363356593, -0.0154570816),
}
PLACES = {
    "universeg": ((0, 0, 0, 0), (0, 0, 3, 5), (1, 0, 7, 11)),
    "tyche": ((0, 0, 0, 0, 0), (0, 1, 0, 3, 5), (1, 3, 0, 7, 11)),
}


@pytest.mark.parametrize(("name", "levels"), CLOSED_FORMS)
def test_logits_in_float64_match_the_closed_form(name, levels):
    inputs = closed_form_inputs(name == "tyche")
    np.testing.assert_allclose(inputs[0].ravel()[:3], [0.5, 0.6525, 0.7905], atol=1e-4)
    np.testing.assert_allclose([inputs[-1].mean(), inputs[-2][1, 2, 0, 7, 11]], [0.5017, 0.1209], atol=1e-4)
    with jax.enable_x64(True):
        logits = applied(name, closed_form_state([4, 4] if levels == 2 else [6, 6, 6], name == "tyche"), inputs)
    assert logits.dtype == np.float64
    found = [logits.mean(), logits.std(), *(logits[place] for place in PLACES[name])]
    np.testing.assert_allclose(found, CLOSED_FORMS[name, levels], rtol=0, atol=1e-9)


def test_as_many_tensors_as_the_released_checkpoints():
    for name, tensors, numbers in (("universeg", 44, 1_182_785), ("tyche", 58, 1_774_785)):
        state = closed_form_state([64] * 4, name == "tyche")
        module, params = FROM_TORCH[name](state)
        assert (len(state), trees.count(params)) == (tensors, numbers)
        assert module == type(module)()  # the default is the released network


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"model": state, "optim": {}, "_epoch": 3},
        lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}},
        lambda state: {"model": {"state_dict": {f"_orig_mod.module.{key}": v for key, v in state.items()}}},
        lambda state: {f"module._orig_mod.{key}": value for key, value in state.items()},
    ],
)
def test_containers_and_prefixes_are_accepted(wrap):
    state = STATES["universeg"]
    module, params = universeg_from_torch(state)
    assert module.encoder == ((8, 8),) * 3
    wrapped_module, wrapped = universeg_from_torch(wrap(state))
    assert wrapped_module == module
    jax.tree.map(np.testing.assert_array_equal, wrapped, params)


def test_unequal_widths_are_inferred_and_half_precision_becomes_single():
    module, _ = universeg_from_torch(STATES["universeg"])
    shapes = {"enc_blocks.0.cross.cross_conv": (3, 3, 3, 3), "enc_blocks.1.cross.cross_conv": (4, 10, 3, 3)}
    shapes |= {f"enc_blocks.0.{side}.vmapped.conv": (5, 3, 3, 3) for side in ("target", "support")}
    shapes |= {f"enc_blocks.1.{side}.vmapped.conv": (6, 4, 3, 3) for side in ("target", "support")}
    shapes |= {"dec_blocks.0.cross.cross_conv": (2, 22, 3, 3), "out_conv.conv": (1, 7, 1, 1)}
    shapes |= {f"dec_blocks.0.{side}.vmapped.conv": (7, 2, 3, 3) for side in ("target", "support")}
    state = {f"{name}.weight": np.ones(shape, np.float16) for name, shape in shapes.items()}
    module, params = universeg_from_torch(state | {f"{n}.bias": np.ones(s[0]) for n, s in shapes.items()}, remat=True)
    assert (module.encoder, module.decoder, module.remat) == (((3, 5), (4, 6)), ((2, 7),), True)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize(
    ("name", "change", "messages"),
    [
        ("universeg", lambda s: s | {"extra.weight": np.ones(1)}, ["unexpected .'extra.weight'."]),
        ("universeg", lambda s: _without(s, "dec_blocks.0.support.vmapped.conv.bias"), ["missing .'dec_blocks.0.supp"]),
        ("universeg", lambda s: _without(s, "dec_blocks.1."), ["missing", "dec_blocks.1.cross.cross_conv.weight"]),
        ("universeg", lambda s: s | {"out_conv.conv.weight": np.ones((1, 9, 1, 1))}, ["head/kernel", r"expected \("]),
        ("universeg", lambda s: s | {"out_conv.conv.weight": np.ones((1, 9))}, ["4 dimensions"]),
        ("universeg", lambda s: STATES["tyche"], ["unexpected", "meanconv"]),
        ("tyche", lambda s: STATES["universeg"], ["missing", "meanconv"]),
        ("tyche", lambda s: {"model": {"weight": np.ones(1)}}, ["no block", "weight"]),
        ("universeg", lambda s: s | {"module.out_conv.conv.bias": np.ones(1)}, ["prefix alone"]),
    ],
)
def test_wrong_state_dicts_are_refused(name, change, messages):
    with pytest.raises(ParameterTreeError) as refused:
        FROM_TORCH[name](change(STATES[name]))
    for message in messages:
        refused.match(message)


def _without(state, start):
    return {key: value for key, value in state.items() if not key.startswith(start)}


def test_tyche_with_unequal_widths_is_refused():
    state = closed_form_state([4, 4], tyche=True)
    state["enc_blocks.1.cross.cross_conv.bias"] = np.ones(5)
    with pytest.raises(ConfigError, match="equal cross and conv widths"):
        tyche_from_torch(state)
