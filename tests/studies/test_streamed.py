"""Examples that a device has no room for: a study's trainings are the same, wherever the examples are."""

import json
import threading
import time
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from short_studies import StopAfter, assert_equal_units, config_of, starts, units

import hyperlab
from hyperlab.data import batch_indices, streaming
from hyperlab.errors import DataError
from hyperlab.metrics import Metric
from hyperlab.studies.base import Study
from hyperlab.train.phases import TUNE


class Cell(NamedTuple):
    key: str = "mean"

    def unit_name(self, phase, setting, seed):
        return f"{self.key}/{phase}/{setting}/{seed}"


@jax.jit
def towards(state, batch, key):
    examples, rows = batch
    loss = jnp.square(examples[rows].mean(0) - state["mean"]).mean()
    mean = state["mean"] + 0.1 * (examples[rows].mean(0) - state["mean"])
    return {"mean": mean, "step": state["step"] + 1}, {"loss": Metric(loss, jnp.ones(()))}


class Toy(Study[Cell]):
    """Learns the mean of its examples."""

    version, steps_of_one = 1, 60

    def train(self, cell, setting, seed, phase):
        return self.unit(cell.unit_name(phase, setting, seed), self.steps_of_one, lambda: self._train(seed))

    def _train(self, seed):
        losses = np.full(self.steps_of_one, np.nan, np.float32)

        def observe(step, metrics):
            losses[step] = metrics["loss"].total

        trained = self.fit(
            {"mean": jnp.zeros(256), "step": jnp.zeros((), jnp.int32)},
            towards,
            lambda step: batch_indices(seed, step, len(self.data), self.config.batch_size),
            steps=self.steps_of_one,
            key=jax.random.key(0),
            examples=self.data,
            select=streaming.select,
            observe=observe,
            kept={"losses": losses},
        )
        return None if trained is None else {"mean": np.asarray(trained["mean"]), "losses": losses}


@pytest.fixture
def toy(tmp_path):
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "examples.npy"
    np.save(path, np.random.default_rng(0).random((2000, 256), np.float32))

    def make(name, bytes_, stop=None):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        notes = {}
        run = SimpleNamespace(
            path=folder, checkpoints=folder / "checkpoints", mark=lambda name: None, note=notes.update, notes=notes
        )
        config = {"study": "toy", "seed": 0, "batch_size": 16, "workers": 1, "checkpoint_every": "7 steps"}
        config = ml_collections.ConfigDict(config | {"data": {"device_bytes": bytes_}})
        return Toy(config, np.load(path, mmap_mode="r"), run, stop or StopAfter(10**9)), path

    return make


def assert_nothing_reads():
    """Threads that read ahead have ended, or do at once."""
    end = time.monotonic() + 10
    while (readers := [t.name for t in threading.enumerate() if "grain" in t.name]) and time.monotonic() < end:
        time.sleep(0.01)
    assert not readers


def trained(study, seed=0):
    return study.train(Cell(), 0.1, seed, TUNE)


@pytest.mark.fast
def test_the_same_numbers_and_one_word_of_where_examples_are(toy, capsys):
    resident, _ = toy("resident", 10**9)
    straight = trained(resident)
    assert not resident.folder.notes and not capsys.readouterr().err
    streamed, _ = toy("streamed", 100_000)
    for key, values in trained(streamed).items():
        np.testing.assert_array_equal(values, straight[key], err_msg=key)
    trained(streamed, seed=1)
    assert streamed.folder.notes == {"streamed": {"bytes": 2_048_000, "device_bytes": 100_000}}
    assert capsys.readouterr().err.count("stay on the host") == 1


@pytest.mark.fast
def test_a_streamed_training_that_is_stopped_reads_on_where_it_was(toy):
    straight = trained(toy("straight", 10**9)[0])
    assert trained(toy("stopped", 1, StopAfter(23))[0]) is None
    assert_nothing_reads()
    again, _ = toy("stopped", 1)
    asked, real = [], streaming.select
    counted = lambda examples, rows: asked.append(rows) or real(examples, rows)  # noqa: E731
    supply = again.supply
    again.supply = lambda examples, select, read, **options: supply(examples, counted, read, **options)
    for key, values in trained(again).items():
        np.testing.assert_array_equal(values, straight[key], err_msg=key)
    assert 0 < len(asked) < 60 and again.trained_steps == len(asked)  # what was read before is not read again
    # the form may change in the middle
    assert trained(toy("changed", 1, StopAfter(23))[0]) is None
    np.testing.assert_array_equal(trained(toy("changed", 10**9)[0])["mean"], straight["mean"])


@pytest.mark.fast
def test_a_file_that_is_damaged_in_the_middle_is_named_and_the_training_goes_on_when_it_is_mended(toy):
    straight = trained(toy("straight", 10**9)[0])
    study, path = toy("damaged", 1)
    content, batches, real = path.read_bytes(), [], streaming.select

    def damaged_later(examples, rows):
        batches.append(rows)
        if len(batches) == 25:
            short = path.with_name("short.npy")
            short.write_bytes(content[:1000])
            short.replace(path)  # in place, another thread that reads would end the process
        return real(examples, rows)

    supply = study.supply
    study.supply = lambda examples, select, read, **options: supply(examples, damaged_later, read, **options)
    with pytest.raises(DataError, match="examples.npy is cut off"):
        trained(study)
    assert not list((study.folder.path / "units").glob("*.npz"))
    path.write_bytes(content)
    again, _ = toy("damaged", 1)
    for key, values in trained(again).items():
        np.testing.assert_array_equal(values, straight[key], err_msg=key)
    assert 0 < again.trained_steps <= 60 - 15  # it was saved at the step that could not be read
    assert_nothing_reads()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of networks that learnt nothing in so few steps
@pytest.mark.parametrize("study", ["rescaling", "uncertainty"])
def test_units_of_studies_are_bitwise_equal(study, tmp_path):
    more = {"arms": ("none", "tyche"), "tyche.support": 4} if study == "uncertainty" else {}
    folders = [
        hyperlab.run(config_of(study, **more, **{"data.device_bytes": size}), tmp_path / str(size))
        for size in (1, 10**12)
    ]
    assert_equal_units(*map(units, folders))
    assert [bool(starts(folder)[0].get("streamed")) for folder in folders] == [True, False]
    assert json.loads((folders[0] / "run.json").read_text())["starts"][0]["streamed"]["device_bytes"] == 1
