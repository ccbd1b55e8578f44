"""The stochastic study: shrunk, the study runs to a report."""

import numpy as np
import pandas as pd
import pytest

import hyperlab as hl
from hyperlab import launch
from hyperlab.errors import ConfigError, HyperlabError
from hyperlab.in_context import embedded
from hyperlab.studies import episodic
from hyperlab.studies.stochastic import families
from hyperlab.studies.stochastic.scoring import MEASURES, OF_MODES

SMALL = {
    "data.queries": 6,
    "network.widths": (2, 2),
    "network.unet_widths": (2, 2),
    "support_size": 2,
    "train_support": 2,
    "candidates": (1, 2),
    "train_candidates": 2,
    "smoothness": (1.0,),
    "draws": 1,
    "rates": (0.01,),
    "report_seeds": 2,
    "train_length": "2 steps",
    "tuning_length": "",
    "task_length": "2 steps",
    "batch_size": 2,
    "curve_points": 1,
    "curve_queries": 2,
    "evaluation_batch": 6,
}
ARMS = ("tyche", "universeg_noise", "universeg_draws", "dropout_unet", "unet_ensemble")


@pytest.fixture(scope="module", autouse=True)
def few_tasks():
    """The embedded store with few tasks; augmentation takes long to compile, and the in-context study has it too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(families, "_COUNT", 12)
        patch.setattr(families, "_TEMPLATES", 2)
        patch.setattr(embedded, "_SUBJECTS", 6)
        for steps in ("task_steps", "in_task_steps"):
            patch.setattr(episodic, steps, lambda mode: ())
        yield


def small(**changes):
    config = launch.load_study("stochastic").get_config()
    for key, value in {**SMALL, **changes}.items():
        launch.override(config, key, str(value))
    return config


@pytest.fixture(scope="module")
def finished(few_tasks, tmp_path_factory):
    """A whole study, tiny."""
    return hl.run(small(arms=ARMS), tmp_path_factory.mktemp("run") / "run")


@pytest.mark.slow
def test_it_runs_to_a_report_that_answers_for_every_arm_and_number_of_candidates(finished):
    results = pd.read_csv(finished / "results.csv")
    assert results.groupby("arm").size().to_dict() == dict.fromkeys(ARMS, 4)  # seeds times numbers of candidates
    several = results[results["candidates"] == 2]
    assert not several[[*MEASURES, *OF_MODES, "hungarian"]].isna().any(axis=None)
    assert results[results["candidates"] == 1]["ged"].isna().all()
    for bounded in ("best", "mean", "coverage", "frequency_error"):
        assert results[bounded].between(-1e-6, 1 + 1e-6).all()
    assert (several["best"] >= several["mean"] - 1e-6).all()
    report = (finished / "report.html").read_text()
    for said in (
        "does Tyche with 2 candidates beat UniverSeg and noise",
        "draws from the truth",
        "The control&#x27;s noise",
    ):
        assert said in report
    contrasts = pd.read_csv(finished / "contrasts.csv")
    assert len(contrasts) == 3 and (contrasts["contrast"] == "tyche - universeg_noise").all()
    for name in ("candidates", "calibration", "gallery_0", "learning"):
        assert (finished / "figures" / f"{name}.png").stat().st_size > 10_000


@pytest.mark.slow
def test_arms_share_a_network_and_the_control_is_as_diverse_as_tyche_on_development(
    finished,
):
    units = {path.name for path in (finished / "units").glob("*--report--*.npz")}
    assert len(units) == 2 * 4  # seeds times networks, for five arms
    for path in (finished / "units").glob("universeg--report--*.npz"):
        universeg, tyche = np.load(path), np.load(str(path).replace("universeg", "tyche"))
        assert universeg["noise/wanted"] == tyche["development/diversity"]
        # of six images and two candidates, the diversity moves in steps of up to a sixth
        noise_alone = universeg["noise/scale"] >= 1000
        assert noise_alone or abs(universeg["noise/reached"] - universeg["noise/wanted"]) <= 1 / 6
        assert any(key.startswith("best/universeg_draws/") for key in universeg.files)


@pytest.mark.slow
def test_a_second_start_trains_nothing_and_a_changed_config_is_refused(finished):
    before = {path: path.stat().st_mtime_ns for path in (finished / "units").iterdir()}
    hl.run(small(arms=ARMS), finished)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    with pytest.raises(HyperlabError, match="draws"):
        hl.run(small(arms=ARMS, draws=2), finished)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"arms": ("tych",), "contrasts": ()}, ConfigError, "unknown arm 'tych'.*'tyche'"),
        ({"contrasts": ("tyche - tyche_mean",)}, ConfigError, "'tyche_mean'"),
        ({"arms": ("universeg_noise",), "contrasts": ()}, ConfigError, "as diverse as 'tyche'"),
        ({"candidates": (1,)}, ConfigError, "one candidate has no diversity"),
        ({"candidates": (0, 2)}, ConfigError, "at least 1"),
        ({"smoothness": (-1.0,)}, ConfigError, "at least 0"),
        ({"network.dropout": 1.0}, ConfigError, "below 1"),
        ({"augmentation": "none"}, ConfigError, "'documented'"),
        ({"data.size": (16, 16)}, ConfigError, "at least 32"),
        ({"data.held_out": ("ambiguous-tal",)}, ConfigError, "'ambiguous-tall'"),
        ({"data.development": ("ambiguous-tall",)}, ConfigError, "must not see the test"),
        ({"support_size": 500}, HyperlabError, "smaller support_size"),
    ],
)
def test_bad_input_is_one_error_before_anything_is_compiled(tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        hl.run(small(**changes), tmp_path / "run")
    assert not list(tmp_path.glob("run/units/*.npz"))
