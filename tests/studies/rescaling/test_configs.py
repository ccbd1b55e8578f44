"""The rescaling study: shrunk, the study runs to a report and a network."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import segmentation_files
from PIL import Image

import hyperlab as hl
from hyperlab import launch, pareto
from hyperlab.cli import main
from hyperlab.data.labelled_pixels import load_segmented
from hyperlab.errors import ConfigError, DataError, HyperlabError
from hyperlab.exports import export
from hyperlab.metrics import segmentation
from hyperlab.metrics.defined import mean_defined
from hyperlab.nn import Pyramid
from hyperlab.studies.rescaling import page
from hyperlab.studies.rescaling.programs import pooled
from hyperlab.train.units import UnitFiles

ROOT = Path(__file__).parents[3]
SMALL = {
    "data.size": (16, 16),
    "rescale_input": False,  # the images have few pixels already
    "prior.low": 0.0,
    "data.count": 20,
    "primary.widths": (2, 2, 2),
    "primary.convs_per_block": 1,
    "hypernet.hidden": (4,),
    "factors": (0.3, 0.5),
    "front": (0.3, 0.4, 0.5),
    "outside": (1.0,),
    "widths": (0.5,),
    "rates": (0.01,),
    "tuning_seeds": 1,
    "widenings": 0,
    "report_seeds": 2,
    "train_length": "2 steps",
    "batch_size": 2,
    "curve_points": 1,
    "curve_examples": 4,
    "evaluation_batch": 4,
    "programs": 1,
}


def small(**changes):
    config = launch.load_study("rescaling").get_config()
    for key, value in {**SMALL, **changes}.items():
        launch.override(config, key, str(value))
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole study of all four kinds of arm, tiny."""
    return hl.run(small(arms=("fixed", "stochastic", "film", "sshn", "width")), tmp_path_factory.mktemp("run") / "run")


@pytest.mark.slow
def test_it_runs_to_a_report_with_every_arm_and_factor(finished):
    results = pd.read_csv(finished / "results.csv")
    assert set(results["arm"]) == {"fixed", "stochastic", "film", "sshn", "width"}
    inside = results[(results["split"] == "test") & (results["class"] == "mean")]
    counts = inside.groupby("arm").size().to_dict()
    assert counts == {"fixed": 4, "stochastic": 6, "film": 6, "sshn": 6, "width": 2}
    assert results["dice"].dropna().between(0, 1).all()
    wide, narrow = (inside[inside["width"] == width]["macs"].max() for width in (1.0, 0.5))
    assert narrow < wide
    report = (finished / "report.html").read_text()
    for said in ("Highest:", "non-inferior", "times as long as one Fixed network", "Weights generated for one factor"):
        assert said in report
    assert (finished / "figures" / "front.png").stat().st_size > 10_000


@pytest.mark.slow
def test_every_test_case_is_in_a_table_with_surface_distances(finished):
    table = pd.read_csv(finished / "per_case.csv")
    assert set(table["metric"]) == {"dice", "hd95_pooled", "hd95_max", "assd", "nsd"}
    assert {run.split("/")[0] for run in table["run"]} == {"fixed", "stochastic", "film", "sshn", "width"}
    case = table.groupby(["run", "metric"]).size()
    assert case.nunique() == 1 and case.iloc[0] == 3 * table["case"].nunique()  # three classes of shapes
    values = table.groupby("metric")["value"]
    assert values.min().min() >= 0 and values.max()[["dice", "nsd"]].max() <= 1
    wide = table.pivot_table(index=["run", "case", "class"], columns="metric", values="value").dropna()
    assert len(wide) and (wide["assd"] <= wide["hd95_max"] + 1e-6).mean() > 0.9
    summary = json.loads((finished / "summary.json").read_text())
    first = summary["metric_per_case"][0]["metrics"]["1"]
    assert {"Dice", "IoU", "n_ref", "hd95_pooled", "nsd"} <= set(first)
    assert len(summary["metric_per_case"]) == table["case"].nunique()


@pytest.mark.slow
def test_the_chosen_network_is_exported_and_needs_no_hypernetwork(finished):
    selection = json.loads((finished / "selection.json").read_text())
    results = pd.read_csv(finished / "results.csv")
    rows = results[(results["split"] == "validation") & (results["class"] == "mean")]
    rows = rows[(rows["trained_at"] == "prior") & rows["rescaling_factor"].isin([0.3, 0.5])]
    assert selection["arm"] == rows.groupby("arm")["dice"].mean().idxmax() and "phi" in selection["sentence"]
    exported = pareto.load(finished / "network")
    assert exported.card["rescaling_factor"] == selection["rescaling_factor"]
    assert (exported.card["arm"], exported.card["seed"]) == (selection["arm"], 100) and selection["seed"] == 100
    assert exported.call(np.zeros((3, 16, 16, 1), np.float32)).shape == (3, 16, 16, 4)
    front = json.loads((finished / "front.json").read_text())
    assert len(front["arms"]["fixed"]["share"]["all_factors"]["seeds"]) == 2 and front["contrast"]["first"] == "sshn"


@pytest.mark.slow
@pytest.mark.parametrize(("arm", "phi", "width"), [("fixed", 0.3, 1), ("stochastic", 0.5, 1), ("film", 0.4, 1),
                                                   ("sshn", 0.3, 1), ("width", 0.5, 0.5)])  # fmt: skip
def test_any_network_that_was_kept_is_exported_and_is_the_one_that_was_measured(finished, tmp_path, arm, phi, width):
    out = export(finished, tmp_path / "out", ["stablehlo"], arm=arm, phi=phi, width=width)
    network = pareto.load(out)
    assert (network.card["arm"], network.card["seed"], network.card["rescaling_factor"]) == (arm, 100, phi)
    data = load_segmented(small().data)
    predicted = np.asarray(network.call(data.test.images)).argmax(-1)
    counts = segmentation.counts(predicted, data.test.labels, 4)
    dice = np.asarray(segmentation.dice_of(pooled(counts, data.test.groups)))
    subjects = mean_defined(dice, -1)
    assert network.card["test_dice"]["estimate"] == pytest.approx(np.nanmean(subjects), abs=1e-6)
    assert network.card["test_dice"]["subjects"] == (~np.isnan(subjects)).sum()
    assert network.card["class_names"] == list(data.classes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--arm fixd --phi 0.3", "no arm 'fixd'; did you mean 'fixed'"),
        ("--arm fixed --phi 0.4", "no network for phi 0.4; it has 0.3, 0.5"),
        ("--arm sshn --phi 0.7", r"outside the prior (0, 0.5] that 'sshn' was trained on"),
        ("--arm sshn --phi 0.4 --seed 101", "sshn_prior_101.npz was not kept; seeds that were: 100"),
        ("--arm width --phi 0.5", "no network for phi 0.5; it has 0.5 at width 0.5"),
        ("--arm sshn", "arm and phi go together"),
        ("--seed 100", "arm and phi go together"),
    ],
)
def test_what_was_not_kept_is_refused_and_what_was_is_named(finished, tmp_path, capsys, words, said):
    assert main(["export", str(finished), *words.split(), "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def as_files(root):
    """The test images of the small config as PNG files, with their masks."""
    test = load_segmented(small().data).test
    for name, image, label in zip(test.names, test.images, test.labels, strict=True):
        for folder, values in (("images", np.round(255 * image[..., 0])), ("labels", label)):
            (root / folder).mkdir(exist_ok=True)
            Image.fromarray(values.astype(np.uint8)).save(root / folder / f"{name}.png")


@pytest.mark.slow
@pytest.mark.parametrize(("arm", "phi", "width"), [("fixed", 0.3, 1), ("film", 0.5, 1), ("sshn", 0.3, 1),
                                                   ("width", 0.5, 0.5)])  # fmt: skip
def test_predicted_files_have_the_dice_that_the_study_measured(finished, tmp_path, capsys, arm, phi, width):
    as_files(tmp_path)
    words = ["predict", str(finished), "--arm", arm, "--phi", str(phi), "--width", str(width), "--out"]
    words += [str(tmp_path / "out"), "--images", str(tmp_path / "images"), "--labels", str(tmp_path / "labels")]
    assert main(words) == 0
    shown = capsys.readouterr().out
    card = hl.load_network(finished, arm=arm, phi=phi, width=width).card
    assert f"{card}" in shown
    found = pd.read_csv(tmp_path / "out" / "per_case.csv").pivot(index="case", columns="class", values="value")
    measured = pd.read_csv(finished / "per_case.csv")
    of_run = measured[measured["run"].str.contains(rf"^{arm}\b") & (measured["metric"] == "dice")]
    same = [one for _, one in of_run.groupby("run") if np.allclose(
        one.pivot(index="case", columns="class", values="value").loc[found.index, found.columns], found, atol=1e-6,
        equal_nan=True)]  # fmt: skip
    assert len(same) >= 1, "one of the rows of the run's own table, case by case and class by class"
    assert card.test_dice["estimate"] == pytest.approx(np.nanmean(found.mean(axis=1, skipna=True)), abs=1e-6)


@pytest.mark.slow
def test_what_is_not_said_is_what_the_run_chose_or_a_budget_allows(finished):
    selection = json.loads((finished / "selection.json").read_text())
    card = hl.load_network(finished).card
    assert (card.arm, card.rescaling_factor, card.seed) == tuple(
        selection[key] for key in ("arm", "rescaling_factor", "seed")
    )
    assert hl.load_network(finished, arm="fixed", budget=1e12).card.rescaling_factor in (0.3, 0.5)
    assert hl.load_network(finished, arm="fixed", budget=0.99).card.rescaling_factor == 0.3
    assert hl.load_network(finished, arm="width", width=0.5).card.rescaling_factor == 0.5
    for given, said in (
        ({"arm": "fixed"}, "which network of 'fixed': give phi .0.3, 0.5 were measured., or a budget"),
        ({"phi": 0.3, "budget": 0.5}, "give one of them"),
        ({"arm": "fixd"}, "did you mean 'fixed'"),
        ({"support": "x"}, "support chooses nothing in a run of rescaling"),
        ({"budget": 1e-9}, "budget"),
    ):
        with pytest.raises(ConfigError, match=said):
            hl.load_network(finished, **given)


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["film", "sshn"])
def test_what_is_exported_predicts_as_the_run_does(finished, tmp_path, arm):
    out = export(finished, tmp_path / "out", ["safetensors"], arm=arm, phi=0.3)
    card = json.loads((out / "network.json").read_text())
    assert card["preprocessing"]["size"] == [16, 16] and {"arm", "seed", "rescaling_factor", "test_dice"} <= set(card)
    values = np.round(255 * load_segmented(small().data).test.images[0]).astype(np.uint8)
    np.save(tmp_path / "a.npy", values[..., 0])
    hidden = "import runpy, sys; sys.modules['hyperlab'] = None; sys.argv = sys.argv[1:]; "
    hidden += "runpy.run_path(sys.argv[0], run_name='__main__')"
    words = [sys.executable, "-c", hidden, str(out / "predict.py"), str(tmp_path / "a.npy"), "--out", str(tmp_path)]
    subprocess.run([*words, "--probabilities"], check=True, env={**os.environ, "PYTHONPATH": ""})
    network = hl.load_network(finished, arm=arm, phi=0.3)
    ((*_, expected),) = network.answers(values)
    np.testing.assert_allclose(np.load(tmp_path / "a.npy_probabilities.npy"), expected, atol=1e-5)


@pytest.mark.slow
def test_a_run_of_before_has_a_page_and_exports(finished, tmp_path):
    """Older runs note no shape of images, and no seed of what they exported."""
    old = shutil.copytree(finished, tmp_path / "old")
    selection = json.loads((old / "selection.json").read_text())
    del selection["seed"]
    (old / "selection.json").write_text(json.dumps(selection))
    units = UnitFiles(old / "units")
    _, cases = units.finished("cases")
    units.write("cases", {key: cases[key] for key in ("names", "classes")})
    text = page.write(old).read_text()
    assert "No claim with 2 seeds" in text and "seed 100 (the cheapest factor" in text
    assert pareto.load(export(old, tmp_path / "out", arm="fixed", phi=0.5)).card["arm"] == "fixed"
    (old / "preprocessing.json").unlink()
    with pytest.raises(DataError, match="holds no preprocessing.json"):
        hl.load_network(old, arm="fixed", phi=0.5)
    assert not (export(old, tmp_path / "out_0", arm="fixed", phi=0.5) / "predict.py").exists()
    shutil.copy(old / "networks" / "stochastic_prior_100.npz", old / "networks" / "film_prior_100.npz")
    with pytest.raises(DataError, match="cannot be exported: .*film_prior_100.npz"):
        export(old, tmp_path / "out_1", arm="film", phi=0.5)
    shutil.rmtree(old / "network")
    with pytest.raises(DataError, match="how large its images are"):
        export(old, tmp_path / "out_2", arm="fixed", phi=0.5)


@pytest.mark.slow
def test_a_second_start_trains_nothing_and_a_changed_config_is_refused(finished):
    before = {path: path.stat().st_mtime_ns for path in (finished / "units").iterdir() if path.stem != "overlays"}
    config = small(arms=("fixed", "stochastic", "film", "sshn", "width"))
    hl.run(config, finished)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    with pytest.raises(HyperlabError, match="margin"):
        hl.run(small(arms=config.arms, margin=0.02), finished)


@pytest.mark.slow
def test_the_default_is_neither_solved_nor_hopeless(tmp_path):
    config = launch.load_study("rescaling").get_config()
    changes = {
        "arms": ("fixed",),
        "contrasts": (),
        "factors": (0.3,),
        "front": (0.3,),
        "outside": (),
        "rates": (0.01,),
    }
    for key, value in {**changes, "tuning_seeds": 1, "report_seeds": 2, "curve_points": 1}.items():
        launch.override(config, key, str(value))
    results = pd.read_csv(hl.run(config, tmp_path / "run") / "results.csv")
    assert 0.6 <= results[results["class"] == "mean"]["dice"].mean() <= 0.85


@pytest.mark.slow
def test_killed_and_started_again_it_gives_the_numbers_of_an_uninterrupted_run(tmp_path):
    arguments = [f"--config.{key}={value}" for key, value in {**SMALL, "train_length": "40 steps"}.items()]
    arguments.append("--config.arms=('stochastic',)")
    arguments.append("--config.contrasts=()")

    def start(workdir):
        command = [sys.executable, "-m", "experiments.rescaling", *arguments, f"--workdir={workdir}"]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                env={**os.environ, "JAX_PLATFORMS": "cpu"})  # fmt: skip

    assert start(tmp_path / "straight").wait(timeout=300) == 0
    child = start(tmp_path / "killed")
    end = time.monotonic() + 240
    while not list((tmp_path / "killed" / "units").glob("stochastic*tune*.npz")) and time.monotonic() < end:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "killed" / "report.html").exists()
    assert start(tmp_path / "killed").wait(timeout=300) == 0
    straight, killed = (pd.read_csv(tmp_path / name / "results.csv") for name in ("straight", "killed"))
    columns = [column for column in straight if column != "train_seconds"]  # a measured time
    pd.testing.assert_frame_equal(straight[columns], killed[columns])


@pytest.mark.slow
def test_with_rescaled_images_the_front_is_wide_and_has_the_widths_of_one_slimmable_network(tmp_path):
    changes = {"arms": ("fixed", "sshn", "width", "slimmable"), "factors": (0.1, 0.5), "front": (0.1, 0.3, 0.5)}
    changes |= {"contrasts": ("sshn - fixed",)}
    folder = hl.run(small(rescale_input=True, **{"prior.low": 0.08, **changes}), tmp_path / "run")
    front = pd.read_csv(folder / "front.csv")
    one = front[front["arm"] == "sshn"].set_index("rescaling_factor")
    assert one.loc[0.5, "macs"] > 10 * one.loc[0.1, "macs"]
    slimmable = front[front["arm"] == "slimmable"].set_index("width")
    assert sorted(slimmable.index) == [0.5, 1.0] and set(slimmable["rescaling_factor"]) == {0.5}
    narrower = front[front["arm"] == "width"].set_index("width")
    assert slimmable.loc[0.5, "macs"] == narrower.loc[0.5, "macs"] < slimmable.loc[1.0, "macs"] == one.loc[0.5, "macs"]
    cases = pd.read_csv(folder / "per_case.csv")["run"]
    assert {run.split("/")[1] for run in cases if run.startswith("slimmable")} == {"0.5", "0.5_width_0.5"}
    exported = pareto.load(folder / "network")
    factor = exported.card["rescaling_factor"]
    sizes = Pyramid((16, 16), 3, full_at=0.5).sizes(factor)
    assert exported.card["sizes"] == [list(size) for size in sizes]
    assert exported.call(np.zeros((3, 16, 16, 1), np.float32)).shape == (3, 16, 16, 4)
    report = (folder / "report.html").read_text()
    assert "Slimmable" in report and "the images are resized too" in report


@pytest.mark.slow
def test_volumes_are_rescaled_along_each_axis_by_itself(tmp_path):
    pytest.importorskip("nibabel", reason="the extra 'medical' is not installed")
    segmentation_files.hippocampi(tmp_path / "data")
    changes = {"data.name": "msd_hippocampus_3d", "data.root": tmp_path / "data", "data.size": (12, 16, 9)}
    changes |= {"rescale_input": True, "axes": (1, 1, 0), "prior.low": 0.2, "outside": (), "report_seeds": 1}
    changes |= {"primary.widths": (2, 2), "arms": ("fixed", "sshn"), "contrasts": ()}
    folder = hl.run(small(**changes), tmp_path / "run")
    results = pd.read_csv(folder / "results.csv")
    assert results["dice"].dropna().between(0, 1).all()
    card = pareto.load(folder / "network").card
    assert card["sizes"][0] == [12, 16, 9] and all(size[2] == 9 for size in card["sizes"])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"rescale_input": True, "prior.low": 0.2, "factors": (0.3,), "data.size": (16, 4)}, ConfigError, "is 0.251"),
        ({"rescale_input": True}, ConfigError, "prior.low is 0: .*the smallest factor that will do is 0.063"),
        ({"axes": (1, 1, 0)}, ConfigError, "axes is .1, 1, 0.: one power for each axis of images of .16, 16."),
        ({"axes": (1, -1)}, ConfigError, "axes"),
        ({"axes": (0, 0)}, ConfigError, "no axis is resized"),
        (
            {"arms": ("slimmable",), "contrasts": (), "primary.normalization": "batch"},
            ConfigError,
            "running statistics",
        ),
        ({"arms": ("slimmable",), "contrasts": (), "widths": (0.5, 2.0)}, ConfigError, "at most 1"),
        ({"arms": ("slimmable", "sshn"), "contrasts": ("sshn - slimmable",)}, ConfigError, "runs at one factor"),
        ({"arms": ("sshnn",)}, ConfigError, "unknown arm 'sshnn'.*'sshn'"),
        ({"contrasts": ("sshn - film_x",)}, ConfigError, "'film'"),
        ({"factors": (0.7,)}, ConfigError, "outside the prior"),
        ({"outside": (1.2,)}, ConfigError, "1.2"),
        ({"prior.kind": "gamma"}, ConfigError, "prior.kind"),
        ({"prior.high": 0.0}, ConfigError, "low below high"),
        ({"data.name": "digits", "data.size": ()}, ConfigError, "one class an image"),
        ({"data.name": "wbc"}, DataError, "--config.data.root=DIR"),
        ({"data.name": "shape"}, DataError, "'shapes'"),
        ({"data.size": (8, 8)}, DataError, "16"),
    ],
)
def test_bad_input_is_one_error_before_anything_is_compiled(tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        hl.run(small(**changes), tmp_path / "run")
    assert not list(tmp_path.glob("run/units/*"))
