"""The uncertainty study: shrunk, it runs to a report; every config is whole; what cannot be is one error before all."""

import json

import jax
import numpy as np
import pandas as pd
import pytest
import segmentation_files

import hyperlab as hl
from experiments import uncertainty
from hyperlab import launch
from hyperlab.cli import main, segment_uncertain
from hyperlab.data import load
from hyperlab.data.readers.images import read_image
from hyperlab.errors import ConfigError
from hyperlab.exports import export
from hyperlab.inference import standalone

SMALL = {
    "data.count": 40,
    "data.size": (24, 24),
    "data.shifts": ("blur",),
    "data.severities": (5,),
    "network.widths": (4, 4),
    "network.convs_per_block": 1,
    "dropout_rates": (0.2,),
    "draws": (2, 4),
    "tuning_draws": 2,
    "train_length": "6 steps",
    "tuning_length": "2 steps",
    "report_seeds": 2,
    "members": 2,
    "widenings": 0,
    "rates": (0.01, 0.03),
    "judging.shown": 2,
    "bayesian.latent": 2,
    "bayesian.hidden": (4,),
    "tyche.widths": (4, 4),
    "tyche.support": 2,
    "tyche.candidates": 2,
}
NAMES = ("compared", "epistemic", "instrument", "membrane", "nuclei", "places", "wbc")


def small(**changes):
    config = uncertainty.get_config()
    for key, value in {**SMALL, **changes}.items():
        launch.override(config, key, str(value))
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return hl.run(small(train_shares=(0.5, 1.0), **{"data.borders": (0, 2)}), tmp_path_factory.mktemp("run") / "run")


@pytest.mark.slow
def test_it_runs_to_a_report(finished):
    results = pd.read_csv(finished / "results.csv")
    assert set(results["arm"]) == {"none", "element", "spatial", "ensemble", "otsu", "logistic"}
    assert set(results["part"]) == {"validation", "test", "blur/5", "border/0", "border/2", "probe"}
    spatial = results[(results["arm"] == "spatial") & (results["part"] == "test") & (results["metric"] == "nll")]
    assert set(spatial["answer"].astype(str)) == {"pass", "2", "4"}
    assert set(spatial["train_share"]) == {0.5, 1.0}
    trials = {arm: sum(r["trials"] for r in c["rates"].values()) for arm, c in _choices(finished).items()}
    assert len(set(trials.values())) == 1  # as many for every arm
    page = (finished / "report.html").read_text()
    assert "accepts" in page
    assert "are not known, and nothing here reproduces them" in page
    contrasts = pd.read_csv(finished / "contrasts.csv")
    assert list(contrasts["of"]) == ["dice", "error_detection", "independence"]
    for name in ("gains", "acceptance", "shifts"):
        assert len(pd.read_csv(finished / f"{name}.csv"))


@pytest.mark.slow
def test_the_kept_network_predicts_what_was_measured_of_one_pass(finished, tmp_path, capsys):
    network = hl.load_network(finished)
    assert (network.card.arm, network.card.seed, network.card.over) == ("spatial", 100, "images")
    for given in ({"arm": "none"}, {"seed": 101}):
        with pytest.raises(ConfigError, match="the run kept one network, of arm 'spatial' and seed 100"):
            hl.load_network(finished, **given)
    test = load("parasites", count=40, size=(24, 24), difficulty=small().data.difficulty).test
    for name, image, label in zip(test.names, test.images, test.labels, strict=True):
        for folder, values in (("images", np.round(255 * image[..., 0])), ("labels", label)):
            segmentation_files.picture(tmp_path / folder / f"{name}.png", values.astype(np.uint8))
    words = [str(finished), *("--images", str(tmp_path / "images"), "--labels", str(tmp_path / "labels"))]
    assert (
        main(["predict", *words, "--out", str(tmp_path / "out")]) == 0 and str(network.card) in capsys.readouterr().out
    )
    found = pd.read_csv(tmp_path / "out" / "per_case.csv").set_index("case")["value"]
    (unit,) = [path for path in (finished / "units").glob("judged--spatial--0.2--1--*--100.npz")]
    measured = np.load(unit)["test/pass/dice"]
    np.testing.assert_allclose(found[list(map(str, test.names))], measured, atol=1e-6)
    assert network.card.test_dice["estimate"] == pytest.approx(np.nanmean(measured))
    out = export(finished, tmp_path / "exported")
    with jax.numpy_rank_promotion("allow"):
        labels, _ = standalone.Network(out).predict(test.images[0])
    np.testing.assert_array_equal(labels, network.predict(test.images[0]))


@pytest.mark.slow
def test_a_finished_study_is_not_computed_again(finished, monkeypatch):
    monkeypatch.setattr("hyperlab.train.loop.fit", lambda *a, **k: pytest.fail("trained again"))
    before = pd.read_csv(finished / "results.csv")
    hl.run(small(train_shares=(0.5, 1.0), **{"data.borders": (0, 2)}), finished)
    pd.testing.assert_frame_equal(before, pd.read_csv(finished / "results.csv"))


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    contrasts = ("error_detection: tyche - noise", "likelihood: bayesian - none")
    fewer = {"data.shifts": (), "draws": (2,), "network.widths": (4,), "tyche.widths": (4,), "rates": (0.01,)}
    config = small(arms=("none", "bayesian", "tyche", "noise"), contrasts=contrasts, **fewer)
    return hl.run(config, tmp_path_factory.mktemp("compared") / "run")


@pytest.mark.slow
def test_sources_of_uncertainty_are_compared_on_the_same_images(compared):
    table = pd.read_csv(compared / "sources.csv").set_index("arm")
    assert list(table.index) == ["none", "bayesian", "tyche", "noise"]
    assert list(table["draws"]) == [1, 2, 2, 2]
    own = table.loc["none", "parameters"]
    assert table.loc["noise", "parameters"] == own < table.loc["bayesian", "parameters"]
    assert table.loc["noise", "macs"] == table.loc["none", "macs"] < table.loc["bayesian", "macs"]
    assert table.loc["tyche", "macs"] > 2 * table.loc["none", "macs"]  # of a whole pass
    assert (table[["step_seconds", "draw_seconds"]] > 0).all(axis=None)
    trials = {arm: sum(r["trials"] for r in c["rates"].values()) for arm, c in _choices(compared).items()}
    assert len(set(trials.values())) == 1
    trained = {path.name.split("--")[1] for path in (compared / "units").glob("network--*")}
    assert trained == {"none", "bayesian", "tyche"}  # the uninformative baseline trains nothing
    page = (compared / "report.html").read_text()
    for words in (
        "Which source of uncertainty finds errors best",
        "no posterior is claimed",
        "one draw where a network",
    ):
        assert words in page


@pytest.mark.slow
def test_the_uninformative_baseline_is_as_diverse_as_tyche_and_the_spread_over_the_latent_is_kept(compared):
    results = pd.read_csv(compared / "results.csv")
    spread = results[(results["arm"] == "bayesian") & (results["part"] == "probe")].groupby("metric")["value"].mean()
    assert spread["theta_spread"] > 0 and spread["logit_spread"] > 0
    assert 0 <= spread["base_dice"] <= 1
    for seed in (100, 101):
        with np.load(compared / "units" / f"scale--noise--0--1--{seed}.npz") as scale:
            assert 0 <= scale["diversity"] <= 1
            assert scale["scale"] > 0


@pytest.mark.slow
def test_its_network_segments_a_users_images(finished, tmp_path):
    from PIL import Image

    (tmp_path / "images").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 24), np.uint8)).save(tmp_path / "images" / "a.png")
    arguments = ["--model", str(finished), "--images", str(tmp_path / "images"), "--out", str(tmp_path / "out")]
    assert segment_uncertain.main([*arguments, "--samples", "2"]) == 0
    assert len(pd.read_csv(tmp_path / "out" / "images.csv")) == 1
    assert read_image(tmp_path / "out" / "epistemic" / "a.tif").dtype == np.float32


def _choices(folder):
    return json.loads((folder / "choices.json").read_text())


@pytest.mark.fast
@pytest.mark.parametrize("name", NAMES)
def test_configs_are_whole(name):
    config = launch.config_module(f"configs/uncertainty/{name}.py").get_config()
    uncertainty.check(config)
    assert config.study == "uncertainty"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": ("none", "spatail")}, "spatial"),
        ({"arms": ("spatial", "ensemble"), "contrasts": ()}, "'none'"),
        ({"arms": ("none", "noise"), "contrasts": ()}, "add 'tyche'"),
        ({"arms": ("none", "tyche"), "contrasts": ("independence: tyche - none",)}, "not those of a U-Net"),
        ({"contrasts": ("dise: spatial - none",)}, "dice"),
        ({"contrasts": ("dice: spatial - places",)}, "places"),
        ({"dropout_rates": (0.0,)}, "above 0"),
        ({"draws": (1, 5)}, "at least 2"),
        ({"data.shifts": ("blurr",)}, "blur"),
        ({"data.severities": (6,)}, "1 to 5"),
        ({"train_shares": (0.5,)}, "1 among them"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(changes, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        hl.run(small(**changes), tmp_path / "run")
    assert not (tmp_path / "run" / "units").exists()


def test_more_examples_than_other_images_are_refused(tmp_path):
    config = small(arms=("none", "tyche"), contrasts=(), **{"tyche.support": 24})
    with pytest.raises(ConfigError, match="fewer than the 24 training images"):
        hl.run(config, tmp_path / "run")
