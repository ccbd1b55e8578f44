"""`predict.py` beside an exported network: numpy and jax alone, in a process that cannot import this library."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab import pareto
from hyperlab.data.normalisation import BY_PERCENTILES, Normalisation
from hyperlab.data.prepared import Channel, Windowed
from hyperlab.data.prepared import Preprocessing as of_a_set
from hyperlab.data.preprocessing import Preprocessing
from hyperlab.data.readers.scan import Scan, read_scan
from hyperlab.inference import alone, standalone
from hyperlab.inference.network import Card, Network
from hyperlab.models import FilmUNet, UNet
from hyperlab.nn import level_sizes

CLASSES = ("background", "left", "right")
WITHOUT = """
import builtins, runpy, sys
allowed, before = {allowed!r}, builtins.__import__
def importing(name, *rest):
    if name.partition(".")[0] in ("hyperlab", "flax", "scipy", "safetensors", "orbax", "PIL", "nibabel", "flatbuffers"):
        if name.partition(".")[0] not in allowed and "jax" not in str(sys._getframe(1).f_globals.get("__name__")):
            raise ImportError(name)
    return before(name, *rest)
builtins.__import__ = importing
sys.argv = {arguments!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def exported(folder, net, how, formats=("safetensors",), temperature=1.0):
    """A U-Net as files, and what the library makes of it."""
    size = how.size
    count = len((net.unet if isinstance(net, FilmUNet) else net).widths)
    rescaled = isinstance(net, UNet) and net.rescaled_input
    sizes = ((size,) if rescaled else ()) + level_sizes(
        tuple(-(-n * 4 // 5) for n in size) if rescaled else size, 0.4, count
    )
    images, told = jnp.zeros((1, *size, how.channels)), jnp.array([0.3, 0.7])
    film = isinstance(net, FilmUNet)
    variables = net.init(jax.random.key(0), *([told] if film else []), images, sizes)
    keys = iter(jax.random.split(jax.random.key(1), 200))
    variables = jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(next(keys), leaf.shape), variables)
    variables = {**variables, "conditioning": told} if film else variables

    def apply(variables, images):
        given = {"params": variables["params"]}
        logits = net.apply(given, *([variables["conditioning"]] if film else []), images, sizes)
        return logits / temperature

    card = {"preprocessing": how.record(), "architecture": alone.described(net, sizes, temperature=temperature)}
    pareto.export(folder, apply, variables, images, card, formats=formats, beside=alone.beside(card, formats))
    return Network(apply, variables, how, Card("none", "unet", 0, how.classes, None, how.record()))


def numbers(size, **options):
    return Preprocessing(size, 1, CLASSES, (0, 3, 9), options.pop("normalisation", Normalisation("range")), **options)


def run(folder, *arguments, allowed=()):
    """The command in a process of its own, which is refused all but numpy and jax."""
    text = WITHOUT.format(allowed=allowed, arguments=[str(folder / "predict.py"), *map(str, arguments)])
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment | {"JAX_PLATFORMS": "cpu"},
    )


NETWORKS = [
    UNet((3, 2), 3, convs_per_block=1, rescaled_input=True),
    UNet((4, 6, 6), 3, normalization="group", groups=2, activation="tanh", convs_per_block=1),
    UNet((4, 3), 3, skip="add", activation="gelu"),
    UNet((4, 3), 3, skip="none", width_multiplier=0.5),
    FilmUNet(UNet((3, 4), 3), hidden=(5, 4)),
]


@pytest.mark.parametrize("net", NETWORKS, ids=range(len(NETWORKS)))
def test_every_form_of_the_network(tmp_path, net):
    network = exported(tmp_path / "out", net, numbers((12, 10)))
    images = np.random.default_rng(0).random((2, 12, 10, 1)).astype(np.float32)
    with jax.numpy_rank_promotion("allow"):
        found = standalone.Network(tmp_path / "out")(images)
    np.testing.assert_allclose(found, network(images), atol=1e-5)
    assert np.ptp(found[..., 0]) > 0.01, "a network that says something"


@pytest.mark.parametrize(
    "how, shape",
    [
        (numbers((12, 10)), (20, 31)),
        (numbers((12, 10), fit="centre"), (7, 31)),
        (numbers((12, 10), fit="tiles", scale=0.5), (40, 50)),
        (numbers((12, 10), fit="centre", slice_axis=1, normalisation=BY_PERCENTILES), (9, 3, 14)),
        (numbers((8, 8, 8), fit="centre"), (6, 12, 9)),
        (numbers((12, 10), normalisation=Normalisation("divide", by=200)), (12, 10)),
    ],
)  # fmt: skip
def test_scans_there_and_back(tmp_path, how, shape):
    network = exported(tmp_path / "out", UNet((3, 2), 3), how)
    values = np.random.default_rng(0).integers(0, 200, (*shape, 1)).astype(np.uint8)
    with jax.numpy_rank_promotion("allow"):
        labels, probabilities = standalone.Network(tmp_path / "out").predict(values)
    expected = np.zeros((*shape, 3), np.float32)
    for placement, number, start, rows in network.answers(values):
        placement.put(expected, number, start, rows)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    np.testing.assert_array_equal(labels, network.predict(values))


def prepared(size, axis=None, **options):
    channels = (Channel("CT", "ct", 20.0, 180.0, 90.0, 40.0), Channel("T1", options.pop("scheme", "z_score")))
    how = of_a_set(
        channels, options.pop("axes", 3), options.pop("spacing", (1.0, 2.0, 1.5)), CLASSES, (0, 3, 9), **options
    )
    return Windowed(how, size, axis)


@pytest.mark.parametrize(
    "how, shape",
    [
        (prepared((8, 8, 8)), (14, 9, 12)),
        (prepared((8, 8, 8), masked=True), (6, 12, 9)),
        (prepared((8, 10), axis=1), (12, 7, 9)),
        (prepared((8, 10), axis=2, spacing=None, scheme="rescale_to_0_1"), (8, 10, 3)),
        (prepared((8, 6), axes=2, spacing=None, scheme="rgb_to_0_1"), (20, 1, 9)),
    ],
)  # fmt: skip
def test_scans_of_a_prepared_set_there_and_back(tmp_path, how, shape):
    network = exported(tmp_path / "out", UNet((3, 2), 3), how)
    assert (tmp_path / "out" / "prepared_set.py").is_file()
    values = np.random.default_rng(0).integers(1, 200, (*shape, 2)).astype(np.uint8)
    values[:2] = 0  # is cut off
    values[4:6, :, 3:5] = 0  # is enclosed, or reaches the border
    spacing = (1.0, 1.5, 2.5)
    scan = Scan(values, spacing)
    with jax.numpy_rank_promotion("allow"):
        labels, probabilities = standalone.Network(tmp_path / "out").predict(values, spacing=spacing)
    expected = np.zeros((*shape, 3), np.float32)
    for placement, number, start, rows in network.answers(scan):
        placement.put(expected, number, start, rows)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    np.testing.assert_array_equal(labels, network.predict(scan))
    assert {0} < set(np.unique(labels)) and (labels[:2] == 0).all()


def test_a_prepared_set_without_this_library(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    affine = np.array([[0, -2, 0, 5], [0, 0, 3, 1], [-1, 0, 0, 2], [0, 0, 0, 1.0]])
    values = np.random.default_rng(0).random((6, 12, 9, 2)).astype(np.float32) + 1
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "a.nii.gz")
    network = exported(tmp_path / "net", UNet((3, 2), 3), prepared((8, 8, 8)))
    done = run(tmp_path / "net", tmp_path / "a.nii.gz", "--out", tmp_path / "masks", allowed=("nibabel",))
    assert done.returncode == 0, done.stderr
    found = np.asanyarray(nibabel.as_closest_canonical(nibabel.load(tmp_path / "masks" / "a.nii.gz")).dataobj)
    np.testing.assert_array_equal(found, network.predict(read_scan(tmp_path / "a.nii.gz")))
    np.save(tmp_path / "b.npy", np.ones((5, 5, 5, 2)))
    done = run(tmp_path / "net", tmp_path / "b.npy", "--out", tmp_path / "masks")
    assert done.returncode == 1 and "nobody knows the spacing of the scan" in done.stderr


def test_the_command_without_this_library(tmp_path):
    how = numbers((12, 10), fit="centre")
    network = exported(tmp_path / "net", NETWORKS[0], how, temperature=2.0)
    values = np.random.default_rng(0).random((15, 9, 1))
    np.save(tmp_path / "a.npy", values)
    done = run(tmp_path / "net", tmp_path / "a.npy", "--out", tmp_path / "masks", "--probabilities")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "masks" / "a.npy")[..., 0], network.predict(values))
    expected = np.concatenate([rows for *_, rows in network.answers(values)])
    np.testing.assert_allclose(np.load(tmp_path / "masks" / "a.npy_probabilities.npy")[:, :, 0], expected, atol=1e-5)
    np.save(tmp_path / "b.npy", np.zeros((5, 5, 5, 2)))
    done = run(tmp_path / "net", tmp_path / "b.npy", "--out", tmp_path / "masks")
    assert done.returncode == 1 and "has 2 channels, the network was trained on 1" in done.stderr


def test_a_program_alone_does_too(tmp_path):
    network = exported(tmp_path / "net", NETWORKS[1], numbers((12, 10)), ("program",))
    values = np.random.default_rng(0).random((12, 10, 1))
    labels, _ = standalone.Network(tmp_path / "net").predict(values)
    np.testing.assert_array_equal(labels, network.predict(values))


def test_nifti_masks_have_the_grid_of_their_file(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    affine = np.array([[0, -2, 0, 5], [0, 0, 3, 1], [-1, 0, 0, 2], [0, 0, 0, 1.0]])
    values = np.random.default_rng(0).random((6, 12, 9)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "a.nii.gz")
    network = exported(tmp_path / "net", UNet((3, 2), 3), numbers((8, 8, 8), fit="centre"))
    done = run(tmp_path / "net", tmp_path / "a.nii.gz", "--out", tmp_path / "masks", allowed=("nibabel",))
    assert done.returncode == 0, done.stderr
    written = nibabel.load(tmp_path / "masks" / "a.nii.gz")
    assert written.shape == values.shape and np.allclose(written.affine, affine)
    found = np.asanyarray(nibabel.as_closest_canonical(written).dataobj)
    np.testing.assert_array_equal(found, network.predict(read_scan(tmp_path / "a.nii.gz")))


def test_what_cannot_be_computed_has_no_script():
    assert alone.described(UNet((4,), dtype=jnp.bfloat16), ((8, 8),)) is None
    card = {"preprocessing": {}, "architecture": None}
    assert not alone.beside(card, ["safetensors", "orbax"]) and list(alone.beside(card, ["program"])) == ["predict.py"]
    assert not alone.beside({"preprocessing": None, "architecture": {}}, ["safetensors"])


def test_safetensors_are_read_as_by_their_library(tmp_path):
    exported(tmp_path / "out", NETWORKS[4], numbers((12, 10)))
    path = Path(tmp_path / "out" / "variables.safetensors")
    own = standalone.read_safetensors(path)
    from safetensors.numpy import load_file

    theirs = load_file(path)
    assert own.keys() == theirs.keys()
    for name, leaf in theirs.items():
        np.testing.assert_array_equal(own[name], leaf)
    assert json.loads((tmp_path / "out" / "network.json").read_text())["architecture"]["film"]
