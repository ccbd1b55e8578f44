import json
import os
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hyperlab
from hyperlab import pareto
from hyperlab.errors import CheckpointError, ConfigError, MissingExtraError, WorkdirError
from hyperlab.hypernet import hypernetize
from hyperlab.models.unet import UNet
from hyperlab.nn import level_sizes

pytest.importorskip("safetensors", reason="the extra `export` is not installed")
pytest.importorskip("flatbuffers", reason="the extra `export` is not installed")

SIZES = level_sizes((16, 13), 0.31, 3)
NET = UNet(widths=(4, 4, 4), classes=3)
METADATA = {"rescaling_factor": 0.31, "sizes": SIZES, "classes": ["background", "cytoplasm", "nucleus"]}

# What a user without the hypernetwork does: the first part knows jax alone, the second orbax, the third the Linen
# module (whose package's own start-up, which names all rooms, is left out).
ELSEWHERE = """
import json, sys, types
import numpy as np
folder, package = sys.argv[1:]
images = np.load(folder + "/../images.npy")

import jax, jax.export
program = jax.export.deserialize(bytearray(open(folder + "/program.stablehlo", "rb").read()))
from_program = np.asarray(program.call(images))
assert not [name for name in sys.modules if name.startswith("hyperlab")]

import orbax.checkpoint as ocp
checkpointer = ocp.StandardCheckpointer()
from_orbax = checkpointer.restore(folder + "/variables")
checkpointer.close()
assert not [name for name in sys.modules if name.startswith("hyperlab")]

from safetensors.numpy import load_file
variables = {}
for path, array in load_file(folder + "/variables.safetensors").items():
    *parents, name = path.split("/")
    node = variables
    for parent in parents:
        node = node.setdefault(parent, {})
    node[name] = array
sys.modules["hyperlab"] = types.ModuleType("hyperlab")
sys.modules["hyperlab"].__path__ = [package]
from hyperlab.models.unet import UNet
card = json.load(open(folder + "/network.json"))
net = UNet(widths=(4, 4, 4), classes=len(card["classes"]))
sizes = tuple(map(tuple, card["sizes"]))
apply = jax.jit(lambda variables, images: net.apply(variables, images, sizes))
outputs = {
    "program": from_program,
    "orbax": np.asarray(apply(from_orbax, images)),
    "safetensors": np.asarray(apply(variables, images)),
}
assert "hyperlab.hypernet" not in sys.modules
np.savez(folder + "/../outputs.npz", **outputs)
"""


@pytest.fixture(scope="module")
def frozen():
    """The ordinary network of one factor, from a hypernetwork."""
    example = jnp.zeros((1, 16, 13, 1))
    model = hypernetize(NET, example, gamma_dim=1, hidden=(8,))
    primary, theta = model.freeze(jax.jit(model.init)(jax.random.key(0)), jnp.array([0.62]))
    theta = jax.tree.map(lambda leaf: leaf + 0.01, theta)  # biases that are not 0
    return jax.jit(lambda v, x: primary.apply(v, x, SIZES)), theta, example


def test_another_process_without_the_hypernetwork_computes_the_same(frozen, tmp_path):
    apply, theta, example = frozen
    folder = pareto.export(tmp_path / "network", apply, theta, example, METADATA)
    images = np.asarray(jax.random.normal(jax.random.key(1), (5, 16, 13, 1)))  # another batch size than the example's
    np.save(tmp_path / "images.npy", images)
    package = str(Path(hyperlab.__file__).parent)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(folder), package],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = apply(theta, images)
    with np.load(tmp_path / "outputs.npz") as outputs:
        assert set(outputs) == {"program", "orbax", "safetensors"}
        for name in outputs:
            np.testing.assert_allclose(outputs[name], expected, atol=1e-5, err_msg=name)


def test_the_card_says_what_the_network_is_and_costs(frozen, tmp_path):
    apply, theta, example = frozen
    folder = pareto.export(tmp_path / "network", apply, theta, example, METADATA)
    card = json.loads((folder / "network.json").read_text())
    assert card["input"] == {"shape": ["batch", 16, 13, 1], "dtype": "float32"}
    assert card["output"] == {"shape": ["batch", 16, 13, 3], "dtype": "float32"}
    assert card["platforms"] == ["cpu", "cuda"]
    assert card["macs"] == pareto.macs(apply, theta, example)
    assert card["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(theta))
    assert card["rescaling_factor"] == 0.31 and card["sizes"] == [list(size) for size in SIZES]
    assert card["versions"]["jax"] == jax.__version__
    assert set(card["sha256"]) == {"program.stablehlo", "variables.safetensors"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network"]  # nothing temporary is left


@pytest.mark.parametrize("formats", [("orbax", "program"), ("safetensors",), ("orbax",)])
def test_each_format_comes_back_alone(frozen, tmp_path, formats):
    apply, theta, example = frozen
    network = pareto.load(pareto.export(tmp_path / "network", apply, theta, example, formats=formats))
    images = jax.random.normal(jax.random.key(2), (2, 16, 13, 1))
    assert (network.call is None) == ("program" not in formats)
    jax.tree.map(np.testing.assert_array_equal, network.variables, dict(theta))
    if network.call:
        np.testing.assert_allclose(network.call(images), apply(theta, images), atol=1e-5)


def test_other_collections_and_half_precision_survive(tmp_path):
    net = nn.BatchNorm(use_running_average=True, param_dtype=jnp.bfloat16)
    variables = net.init(jax.random.key(0), jnp.zeros((1, 3)))
    variables["batch_stats"]["mean"] += jnp.arange(3.0)
    assert variables["params"]["scale"].dtype == jnp.bfloat16
    for formats in (("safetensors",), ("orbax",)):
        folder = tmp_path / formats[0]
        back = pareto.load(pareto.export(folder, net.apply, variables, jnp.zeros((1, 3)), formats=formats))
        assert jax.tree.map(lambda leaf: str(leaf.dtype), back.variables) == jax.tree.map(
            lambda leaf: str(leaf.dtype), variables
        )
        jax.tree.map(np.testing.assert_array_equal, back.variables, variables)
        assert back.card["parameters"] == 6  # running statistics are no parameters


def test_nothing_is_written_over_and_a_failure_leaves_nothing(frozen, tmp_path, monkeypatch):
    apply, theta, example = frozen
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "note.txt").write_text("mine")
    with pytest.raises(WorkdirError, match="choose a new folder"):
        pareto.export(tmp_path / "taken", apply, theta, example)
    (tmp_path / "empty").mkdir()
    assert pareto.export(tmp_path / "empty", apply, theta, example, formats=()).name == "empty"

    def fail(*_):
        raise OSError("disk full")

    module = sys.modules["hyperlab.pareto.export"]
    monkeypatch.setattr(module, "_save_safetensors", fail)
    with pytest.raises(WorkdirError, match="failed cannot be written: disk full"):
        pareto.export(tmp_path / "failed", apply, theta, example, formats=("safetensors",))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "taken"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formats": ("onnx",)}, "unknown format 'onnx'; valid: 'orbax', 'program', 'safetensors'"),
        ({"metadata": {"macs": 3}}, "\\['macs'\\], which the card says itself"),
        ({"metadata": {"phi": object()}}, "no JSON"),
        ({"metadata": {"phi": float("nan")}}, "no JSON"),
    ],
)
def test_mistakes_are_named_before_anything_is_traced(tmp_path, options, message):
    def untouched(variables, images):
        raise AssertionError

    with pytest.raises(ConfigError, match=message):
        pareto.export(tmp_path / "network", untouched, {"w": jnp.ones(2)}, jnp.ones((1, 2)), **options)
    assert not list(tmp_path.iterdir())


def test_several_outputs_are_no_network(tmp_path):
    with pytest.raises(ConfigError, match="2 arrays, expected one"):
        pareto.export(tmp_path / "n", lambda v, x: (x, x @ v["w"]), {"w": jnp.ones((2, 2))}, jnp.ones((1, 2)))


def test_a_missing_extra_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(MissingExtraError, match="pip install 'hyperlab\\[export\\]'"):
        pareto.export(tmp_path / "n", lambda v, x: x @ v["w"], {"w": jnp.ones((2, 2))}, jnp.ones((1, 2)))
    assert not list(tmp_path.iterdir())


def test_a_damaged_or_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="no exported network"):
        pareto.load(tmp_path)
    folder = pareto.export(tmp_path / "n", lambda v, x: x @ v["w"], {"w": jnp.ones((2, 2))}, jnp.ones((1, 2)))
    program = (folder / "program.stablehlo").read_bytes()
    (folder / "program.stablehlo").write_bytes(program[:-1] + b"x")
    with pytest.raises(CheckpointError, match="program.stablehlo is damaged"):
        pareto.load(folder)
    (folder / "program.stablehlo").unlink()
    with pytest.raises(CheckpointError, match="program.stablehlo, which network.json names, is missing"):
        pareto.load(folder)
    for text in ("[]", "null", '{"sha256": 3}', "{"):
        (folder / "network.json").write_text(text)
        with pytest.raises(CheckpointError, match="network.json is truncated or damaged"):
            pareto.load(folder)


# -- trees of any structure ---------------------------------------------------------------------------------------


def _trees():
    module = eqx.nn.MLP(2, 3, 4, 1, key=jax.random.key(0))
    kernel, shift = jnp.arange(6.0).reshape(2, 3), jnp.arange(3.0)
    # name: (variables, function, what is read back)
    return {
        "list": ([(kernel, shift)], lambda v, x: x @ v[0][0] + v[0][1], {"0": {"0": kernel, "1": shift}}),
        "one array": (kernel, lambda v, x: x @ v, kernel),
        "slashes": ({"a/~/0": {"w": kernel}}, lambda v, x: x @ v["a/~/0"]["w"], {"a/~/0": {"w": kernel}}),
        "one path, and one name in orbax": (
            {"a": {"b": kernel}, "a/b": shift, "a.b": shift + 1},
            lambda v, x: x @ v["a"]["b"] * v["a/b"] + v["a.b"],
            {"a": {"b": kernel}, "a/b": shift, "a.b": shift + 1},
        ),
        "no entries, numbers of Python": (
            {"w": kernel, "e": jnp.zeros((0, 2), jnp.bfloat16), "scale": 0.5, "times": 2},
            lambda v, x: sum(x @ v["w"] * v["scale"] for _ in range(v["times"])),
            {"w": kernel, "e": np.zeros((0, 2), jnp.bfloat16), "scale": np.float32(0.5), "times": np.int32(2)},
        ),
        "equinox": (
            module,
            lambda v, x: jax.vmap(jax.vmap(v))(x),
            {
                "layers": {
                    str(index): {"weight": layer.weight, "bias": layer.bias}
                    for index, layer in enumerate(module.layers)
                }
            },
        ),
    }


@pytest.mark.parametrize("name", _trees())
@pytest.mark.parametrize("variables_as", ["safetensors", "orbax"])
def test_variables_of_any_structure(name, variables_as, tmp_path):
    variables, apply, expected = _trees()[name]
    images = jnp.linspace(-1, 1, 24).reshape(3, 4, 2)
    with jax.numpy_rank_promotion("allow"):
        folder = pareto.export(tmp_path / "n", apply, variables, images, formats=("program", variables_as))
        loaded = pareto.load(folder)
        np.testing.assert_allclose(loaded.call(images), apply(variables, images), atol=1e-5)
    assert jax.tree.structure(loaded.variables) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(loaded.variables), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    assert loaded.card["parameters"] == sum(np.size(leaf) for leaf in jax.tree.leaves(expected))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"w": jnp.ones((2, 3)), "key": jax.random.key(0)}, "random key, 'key'"),
        ({"w": jnp.ones((2, 3)) + 1j}, "'w' is complex64, which safetensors does not know"),
    ],
)
def test_what_a_format_does_not_know_is_refused(variables, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        pareto.export(tmp_path / "n", lambda v, x: (x @ v["w"]).real, variables, jnp.zeros((1, 4, 2)))
    assert not (tmp_path / "n").exists()
