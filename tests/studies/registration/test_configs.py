"""Every config of the registration study: its header is complete, and shrunk it runs to a report."""

import os
from pathlib import Path

import ml_collections
import numpy as np
import pandas as pd
import pytest

import hyperlab as hl
from experiments import registration
from hyperlab import launch, sweep
from hyperlab.errors import ConfigError, HyperlabError

ROOT = Path(__file__).parents[3]
FILES = sorted(path for path in (ROOT / "configs" / "registration").glob("*.py") if path.name != "__init__.py")
SMALL = {
    "data.size": (16, 16),
    "data.subjects": 4,
    "data.warps_per_image": 1,
    "data.amplitude": 1.0,
    "network.encoder": (2,),
    "network.decoder": (3, 2),
    "network.integration_steps": 2,
    "hypernet.hidden": (4,),
    "weights": (0.2, 0.8),
    "curve_weights": (0.5, 1.0),
    "rates": (0.003,),
    "tuning_seeds": 1,
    "widenings": 0,
    "report_seeds": 2,
    "train_length": "4 steps",
    "steps_per_call": 2,
    "batch_size": 1,
    "initializers": ("scale_matched",),
    "pairwise.steps": 2,
    "pairwise.rates": (0.1,),
}


def small(config, **changes):
    return sweep.apply(config, SMALL | changes)


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_shrunk_it_runs_to_a_report(file, tmp_path):
    config = launch.config_module(str(file)).get_config()
    changes = {}
    if config.data.name != "synthetic":
        root = Path(os.environ.get("HYPERLAB_DATA", "no-data")) / config.data.name
        if not root.is_dir():
            pytest.skip(f"no {config.data.name} in the folder that HYPERLAB_DATA names")
        changes = {"data.root": str(root), "data.subjects": 12}
    if config.data.name == "msd_hippocampus":
        pytest.importorskip("nibabel", reason="needs the extra medical")
        changes["data.size"] = (8, 12, 10)
    folder = hl.run(small(config, **changes), tmp_path / "run")
    check_folder(folder, config)


def test_the_default_shrunk_runs_stops_continues_and_reports(tmp_path, monkeypatch):
    # Two arms: what takes the time is the compilation of each arm's training program.
    config = small(registration.get_config(), arms=("separate", "mip"), contrasts=("mip - separate",))

    class Stop:
        """Asks to stop once some units are on disk."""

        reason = "a test"

        @property
        def requested(self):
            return len(list((tmp_path / "run" / "units").glob("*.npz"))) >= 5

    folder = hl.run(config, tmp_path / "run", stop=Stop())
    kept = {path: path.stat().st_mtime_ns for path in (folder / "units").glob("*.npz")}
    assert len(kept) == 5 and not (folder / "report.html").exists()
    hl.run(config, folder)
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items()), "a finished unit was done again"
    check_folder(folder, config)
    first = (folder / "results.csv").read_text()
    monkeypatch.setattr("hyperlab.train.loop.fit", None)  # nothing is left to train
    hl.run(config, folder)
    assert (folder / "results.csv").read_text() == first


def check_folder(folder, config):
    results = pd.read_csv(folder / "results.csv")
    assert set(results.arm) == {"identity", "pairwise", *config.arms}
    assert set(results[results.arm == "mip"].seed) == {100, 101} and set(results.split) == {"test"}
    metrics = set(results.metric)
    known = config.data.task == "warps"
    assert {"dice", "folding", "relative_loss", "train_seconds", "compile_seconds", "tuning_seconds"} <= metrics
    assert ("endpoint_error" in metrics) == known
    dice = results[results.metric == "dice"]
    assert dice.value.between(0, 1).all()
    at = dice[dice.arm == "mip"].weight.unique()
    np.testing.assert_allclose(sorted(at), [0.2, 0.5, 0.8, 1.0])
    if "separate" in config.arms:
        assert set(dice[dice.arm == "separate"].weight) == {0.2, 0.8}
    subjects = pd.read_csv(folder / "per_subject.csv")
    mean = subjects.groupby(["arm", "seed", "weight", "subject"]).dice.mean().groupby(["arm", "seed", "weight"]).mean()
    expected = dice.set_index(["arm", "seed", "weight"]).value
    np.testing.assert_allclose(mean.sort_index(), expected.sort_index(), atol=1e-6)
    contrasts = pd.read_csv(folder / "contrasts.csv")
    assert set(contrasts.contrast) == set(config.contrasts) and set(contrasts.label) == {"no claim"}
    page = (folder / "report.html").read_text()
    assert len(page) > 100_000 and "Does one HyperMorph do" in page
    assert {path.stem for path in (folder / "figures").glob("*.pdf")} >= {"overview", "example", "classes", "tuning"}
    assert (folder / "choices.json").exists() and list(folder.glob("events.*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": ("mips",)}, "did you mean 'mip'"),
        ({"contrasts": ("mip - encoding",)}, "names 'encoding'"),
        ({"initializers": ("fan_inn",)}, "did you mean 'fan_in'"),
        ({"loss.similarity": "lncc"}, "did you mean 'ncc'"),
        ({"loss.smoothness": "tv"}, "valid: 'gradient', 'total_variation'"),
        ({"weights": (0.5, 1.0)}, "from 0 to below 1.*images do not count"),
        ({"weights": ()}, "one or more"),
        ({"curve_weights": (1.5,)}, "numbers from 0 to 1"),
        ({"steps_per_call": 3}, "must divide train_length"),
        ({"data.name": "oasis"}, "valid: 'brain_t1_ptbp'"),
    ],
)
def test_a_config_that_cannot_run_is_refused_before_anything_is_trained(changes, message, tmp_path):
    config = ml_collections.ConfigDict(small(registration.get_config(), **changes))
    with pytest.raises(HyperlabError, match=message):
        hl.run(config, tmp_path / "run")
    assert not (tmp_path / "run" / "units").exists()


def test_a_report_of_an_unfinished_folder_says_what_is_missing(tmp_path):
    from hyperlab.studies.registration import page as report

    with pytest.raises(HyperlabError, match="run the study to its end first"):
        report.read(tmp_path)
    with pytest.raises(ConfigError, match="unknown config key"):
        launch.parse("registration", ["--config.weight=0.5"])
