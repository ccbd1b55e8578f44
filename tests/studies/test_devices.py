"""Studies on several devices: refused before data are read, equal to one, side by side, and on again elsewhere."""

import json
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest
from benchmark_modules import benchmark

import hyperlab
from hyperlab import launch
from hyperlab.errors import ConfigError, MeshError
from hyperlab.studies.base import Study
from hyperlab.train import groups, state, step
from hyperlab.train.run_folder import RunFolder
from hyperlab.train.step import Aux

STUDIES = ("stability", "rescaling", "registration", "in_context", "stochastic", "pruning", "local_sgd", "uncertainty")


@pytest.fixture(scope="module")
def meshes():
    return benchmark("meshes")


# -- what cannot be ------------------------------------------------------------------------------------------------

REFUSED = {
    "a larger mesh": ("devices.mesh.data=64", MeshError, "groups of 64 .* cannot be made of the 4 devices"),
    "groups": ("devices.per_training=3", MeshError, "groups of 3 .* cannot be made of the 4 devices"),
    "an axis": ("devices.mesh={'dat': 2}", ConfigError, "devices.mesh.dat.*; did you mean 'devices.mesh.data'"),
}


@pytest.mark.fast
@pytest.mark.parametrize("study", STUDIES)
def test_devices_that_cannot_be_are_refused_before_data_are_read(study, tmp_path, monkeypatch):
    def read(*_):
        raise AssertionError("data were read")

    for kind in _all_studies(study):
        monkeypatch.setattr(kind, "load", read)
    tried = {**REFUSED, "a batch": ("batch_size=7", MeshError, "batch_size is 7, which does not divide by the 4")}
    for words, error, said in tried.values():
        with pytest.raises(error, match=said) as refused:
            given = [f"--config.{word}" for word in dict.fromkeys((words, *_mesh(words)))]
            hyperlab.run(launch.parse(study, given)[1], tmp_path / "run")
        assert "\n" not in str(refused.value)
        assert not (tmp_path / "run").exists()


def _mesh(words):
    return ("devices.mesh.data=4",) if words.startswith("batch") else ()


def _all_studies(study):
    module = launch.load_study(study)
    return [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Study)]


# -- the networks of the studies -----------------------------------------------------------------------------------

# A hypernetwork where the study has one; how many leaves of its state belong to the head's kernel: itself,
# its moments, and masks.
SHORT = {
    "stability": ("stability", {"arms": ("mip",), "evaluate_every": 1, "steps_per_call": 1}, 2),
    "pruning": ("pruning", {"task": "hypernetwork"}, 4),
    "rescaling": ("rescaling", {"arms": ("sshn",), "primary.widths": (4, 4), "data.size": (24, 24), "data.count": 40,
                                "programs": 1}, 3),
    "registration": ("registration", {"arms": ("mip",), "data.size": (16, 16), "data.subjects": 12, "batch_size": 4,
                                      "steps_per_call": 1, "network.encoder": (4, 4), "network.decoder": (4, 4)}, 3),
    "local_sgd": ("local_sgd", {"arms": ("local",), "parts": (), "cost.compute_seconds": 0.01, "replicas": (2,)}, 0),
}  # fmt: skip
QUICK = ("stability", "pruning")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SHORT]
)
def test_a_network_on_a_mesh_trains_as_on_one_device_with_its_head_split(name, meshes):
    study, settings, of_head = SHORT[name]
    one = meshes.course(study, settings, 3)
    mesh = meshes.course(study, {**settings, "devices.mesh": {"data": 2, "model": 2}}, 3)
    np.testing.assert_allclose(mesh.losses, one.losses, rtol=1e-5)
    assert len(set(one.losses)) == 3
    assert mesh.batch and not one.batch
    heads = [path for path in mesh.state if path.endswith("head/kernel")]
    assert len(heads) == of_head and not one.state
    assert mesh.programs[1:] == one.programs[1:] == [0, 0]


# -- the course of a study, on a small one -------------------------------------------------------------------------


class Cell(NamedTuple):
    key: str

    def unit_name(self, phase, setting, seed):
        return f"{self.key}/{phase}/{setting}/{seed}"


def _loss(params, collections, batch, keys):
    images, rows = batch
    return jnp.square(images[rows] @ params["head"]["kernel"] - 1.0).mean(), Aux()


OPTIMIZER = optax.adam(0.02)


class Small(Study[Cell]):
    """Trains a head of four outputs, and measures on which device it did."""

    fingerprint = ("numbers", "abc")

    def __init__(self, *given):
        super().__init__(*given)
        self.images = np.random.default_rng(0).normal(size=(32, 6)).astype(np.float32)
        self.program = jax.jit(step.train_step(_loss, OPTIMIZER), donate_argnums=0)
        self.start = jax.jit(
            lambda key: state.create({"params": {"head": {"kernel": jax.random.normal(key, (6, 4))}}}, OPTIMIZER)
        )

    def cells(self):
        return [Cell("only")]

    def steps(self, cell, phase):
        return 12

    def score(self, measured):
        return -float(measured["loss"][-1])

    def train(self, cell, setting, seed, phase):
        compute = lambda: self._train(seed)  # noqa: E731
        return self.unit(cell.unit_name(phase, setting, seed), 12, compute)

    def _train(self, seed):
        losses = np.full(12, np.nan, np.float32)

        def observe(at, metrics):
            losses[at] = metrics["loss"].total

        trained = self.fit(
            groups.current().made(self.start, self.key("initial", seed)),
            self.program,
            lambda at: np.random.default_rng((seed, at)).integers(0, 32, 8).astype(np.int32),
            steps=12,
            key=self.key("training", seed),
            examples=self.images,
            observe=observe,
            kept={"losses": losses},
        )
        if trained is None:
            return None
        kernel = trained.params["head"]["kernel"]
        return {
            "loss": losses,
            "kernel": np.asarray(kernel),
            "devices": np.array(sorted(device.id for device in kernel.devices())),
            "shard": np.array(kernel.addressable_shards[0].data.shape),
        }


class StopAt:
    """Requests a stop when it was looked at so often."""

    def __init__(self, looks=None):
        self.looks = looks

    def request(self, reason):
        self.looks = 0

    @property
    def requested(self):
        if self.looks:
            self.looks -= 1
        return self.looks == 0


def run(path, stop=None, **devices):
    """Runs the small study in a run folder; what `run.json` says of this start, and the units of its report."""
    config = {"study": "small", "seed": 0, "tuning_seeds": 1, "report_seeds": 4, "rates": (0.1,), "batch_size": 8}
    config = ml_collections.ConfigDict(config | devices)
    folder = RunFolder.open(path, config)
    Small(config, None, folder, stop or StopAt()).run()
    folder.finish("finished")
    start = json.loads((path / "run.json").read_text())["starts"][-1]
    return start, {file.stem: dict(np.load(file)) for file in sorted((path / "units").glob("*report*.npz"))}


def assert_equal(found, expected, **rounding):
    assert found.keys() == expected.keys() and len(found) == 4
    for name, unit in found.items():
        for key in ("loss", "kernel"):
            np.testing.assert_allclose(unit[key], expected[name][key], err_msg=f"{name} {key}", **rounding)


@pytest.fixture(scope="module")
def on_one_device(tmp_path_factory):
    return run(tmp_path_factory.mktemp("one") / "run")


def test_on_one_device_nothing_is_said_of_devices(on_one_device):
    noted, found = on_one_device
    assert not {"device_groups", "trained_on"} & noted.keys()
    assert len(found) == 4


def test_four_trainings_on_four_groups_use_each_device_and_equal_those_of_one(on_one_device, tmp_path):
    noted, found = run(tmp_path / "run", devices={"per_training": 1})
    assert_equal(found, on_one_device[1], rtol=0)
    assert noted["device_groups"] == [[str(device)] for device in jax.devices()]
    for name, index in noted["trained_on"].items():
        if "report" in name:
            unit = found[name.replace("/", "--")]
            assert unit["devices"].tolist() == [jax.devices()[index].id]
    assert set(noted["trained_on"].values()) <= {0, 1, 2, 3}


def test_in_groups_of_two_the_batch_is_dealt_and_run_json_says_where(on_one_device, tmp_path):
    noted, found = run(tmp_path / "run", devices={"per_training": 2})
    assert_equal(found, on_one_device[1], rtol=1e-5)
    assert noted["device_groups"] == [["cpu:0", "cpu:1"], ["cpu:2", "cpu:3"]]
    assert {tuple(unit["devices"]) for unit in found.values()} <= {(0, 1), (2, 3)}


@pytest.mark.parametrize("then", [{}, {"devices": {"mesh": {"data": 1, "model": 4}}}])
def test_a_training_stopped_on_one_mesh_goes_on_on_another(on_one_device, tmp_path, then):
    folder, mesh = tmp_path / "run", {"mesh": {"data": 2, "model": 2}}
    noted, _ = run(folder, StopAt(24), devices=mesh)
    ((unit, at),) = noted["saved"].items()
    assert 0 < at < 12
    noted, found = run(folder, **then)
    assert noted["trained_steps"] < 5 * 12 and unit
    assert_equal(found, on_one_device[1], rtol=1e-5)
    parts = 4 if then else 1
    assert all(found[name]["shard"].tolist() == [6, 4 // parts] for name in list(found)[1:])


def test_no_training_of_a_study_moves_its_state_back_and_forth(tmp_path, monkeypatch):
    """A compiled step leaves every leaf where the group wants it: no copy between two steps."""
    moved, placed = [], groups.Group.placed

    def counting(self, current, stacked=0):
        result = placed(self, current, stacked)
        pairs = zip(jax.tree.leaves(current), jax.tree.leaves(result), strict=True)
        moved.append(sum(one is not other for one, other in pairs))
        return result

    monkeypatch.setattr(groups.Group, "placed", counting)
    run(tmp_path / "run", devices={"mesh": {"data": 2, "model": 2}})
    assert len(moved) == 5 * 13 and not any(moved)
