"""What runs leave to be taken along."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from run_folders import write_run

from hyperlab import pareto, trees
from hyperlab.errors import CheckpointError, ConfigError, DataError, WorkdirError
from hyperlab.exports import STUDIES, export
from hyperlab.inference import saved
from hyperlab.models import DropoutUNet
from hyperlab.train.checkpoints import save_variables

IMAGES = np.random.default_rng(0).normal(size=(3, 4, 4, 1)).astype(np.float32)


@pytest.fixture
def rescaled(tmp_path):
    """A run of rescaling with its network, a product with a matrix."""
    run = write_run(tmp_path / "run", False, study="rescaling")
    kernel = {"params": {"kernel": jnp.full((1, 2), 2.0)}}
    pareto.export(
        run / "network", lambda v, x: x @ v["params"]["kernel"], kernel, jnp.zeros((1, 4, 4, 1)), {"factor": 0.3}
    )
    return run


@pytest.mark.parametrize("to", [["safetensors"], ["stablehlo"], ["orbax"], ["orbax", "stablehlo", "safetensors"]])
def test_the_network_of_a_rescaling_run_in_the_formats_asked_for(rescaled, tmp_path, to):
    out = export(rescaled, tmp_path / "out", to)
    network = pareto.load(out)
    assert network.card["factor"] == 0.3
    if "stablehlo" in to:
        np.testing.assert_allclose(network.call(IMAGES), 2 * np.repeat(IMAGES, 2, -1))
    if to != ["stablehlo"]:
        assert network.variables["params"]["kernel"].tolist() == [[2.0, 2.0]]
    assert len(list(out.iterdir())) == 1 + len(to)


def test_the_network_of_an_uncertainty_run_is_what_its_module_gives(tmp_path):
    run = write_run(tmp_path / "run", False, study="uncertainty")
    net = DropoutUNet((2,), rate=0.5)
    variables = net.init(jax.random.key(0), jnp.asarray(IMAGES))
    described = {"channels": 1, "classes": ("background", "cell"), "window": (4, 4), "temperature": 2.0}
    saved.save(run, net, variables, name="spatial_100", **described)
    network = pareto.load(export(run, tmp_path / "out", ["stablehlo", "safetensors"]))
    expected = np.asarray(net.apply(variables, IMAGES)) / 2
    np.testing.assert_allclose(network.call(IMAGES), expected, atol=1e-5)
    assert network.card["class_names"] == ["background", "cell"]
    for path, leaf in trees.flatten(variables).items():
        np.testing.assert_array_equal(trees.flatten(network.variables)[path], leaf)


def test_the_weights_of_an_in_context_run(tmp_path):
    from safetensors.numpy import load_file

    run = write_run(tmp_path / "run", False, study="stochastic")
    weights = {"enc_0": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}
    (run / "networks").mkdir()
    save_variables(run / "networks" / "tyche_100.npz", weights)
    out = export(run, tmp_path / "one")
    assert load_file(out / "variables.safetensors")["enc_0/kernel"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert json.loads((out / "network.json").read_text())["parameters"] == 6
    save_variables(run / "networks" / "other_100.npz", weights)
    with pytest.raises(ConfigError, match="several networks, other_100, tyche_100; choose one"):
        export(run, tmp_path / "two")
    with pytest.raises(ConfigError, match="no network 'tyche'; did you mean 'tyche_100'"):
        export(run, tmp_path / "two", network="tyche")
    with pytest.raises(ConfigError, match="stablehlo: this network takes an image and a support set"):
        export(run, tmp_path / "two", ["stablehlo"], "tyche_100")
    (run / "networks" / "other_100.npz").write_bytes(b"cut")
    with pytest.raises(DataError, match="cannot be exported"):
        export(run, tmp_path / "two", network="other_100")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "run"], "no half of a folder is left"


@pytest.mark.parametrize("study", ["stability", "registration", "pruning", "local_sgd"])
def test_studies_that_keep_nothing_say_so(tmp_path, study):
    assert study not in STUDIES
    with pytest.raises(DataError, match=f"runs of {study} keep no network to export; those of .*rescaling"):
        export(write_run(tmp_path / "run", False, study=study), tmp_path / "out")


@pytest.mark.parametrize("study", STUDIES)
def test_runs_that_kept_no_network(tmp_path, study):
    with pytest.raises(DataError, match="holds no network"):
        export(write_run(tmp_path / "run", False, study=study), tmp_path / "out")


def test_nothing_is_written_over_and_damage_is_seen(rescaled, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(WorkdirError, match="is there already"):
        export(rescaled, tmp_path / "out")
    for arguments, message in (({"to": ["zip"]}, "unknown format 'zip'"), ({"to": []}, "no format"),
                               ({"network": "x"}, "has one network"),
                               ({"phi": 0.3}, "arm and phi go together")):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            export(rescaled, tmp_path / "new", **arguments)
    file = rescaled / "network" / "variables.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(CheckpointError, match="damaged"):
        export(rescaled, tmp_path / "new")
    file.unlink()
    with pytest.raises(ConfigError, match="has no safetensors: .* it has stablehlo, orbax"):
        export(rescaled, tmp_path / "new")
    with pytest.raises(DataError, match="is no run folder"):
        export(tmp_path, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_arm_is_chosen_of_a_run_of_rescaling_alone(tmp_path):
    run = write_run(tmp_path / "run", False, study="stochastic")
    with pytest.raises(ConfigError, match="choose a network of a run of rescaling; .* is one of stochastic"):
        export(run, tmp_path / "out", arm="tyche", phi=0.3)
