"""The in-context study: shrunk, the study runs to a report."""

import numpy as np
import pandas as pd
import pytest
import segmentation_files

import hyperlab as hl
from hyperlab import launch
from hyperlab.errors import ConfigError, HyperlabError
from hyperlab.in_context import embedded

SMALL = {
    "data.size": (32, 32),
    "data.queries": 4,
    "network.widths": (2, 2),
    "network.rival_widths": (2, 2),
    "network.unet_widths": (2, 2),
    "support_sizes": (1, 2),
    "train_support": 2,
    "ensembles": (1, 2),
    "draws": 2,
    "rates": (0.01,),
    "report_seeds": 2,
    "train_length": "2 steps",
    "task_length": "2 steps",
    "batch_size": 2,
    "curve_points": 1,
    "curve_queries": 2,
    "evaluation_batch": 4,
}


@pytest.fixture(scope="module", autouse=True)
def few_tasks():
    """The embedded store with few tasks."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"_TEMPLATES": 2, "_FURTHER": 1, "_HELD_OUT": 1, "_SUBJECTS": 6, "_BODIES": 6}.items():
            patch.setattr(embedded, name, value)
        yield


def small(**changes):
    config = launch.load_study("in_context").get_config()
    for key, value in {**SMALL, **changes}.items():
        launch.override(config, key, str(value))
    return config


ALL = ("universeg", "squeeze", "prototypes", "unet_support", "unet_task")


@pytest.fixture(scope="module")
def finished(few_tasks, tmp_path_factory):
    """A whole study of every kind of arm, tiny."""
    return hl.run(small(arms=ALL), tmp_path_factory.mktemp("run") / "run")


@pytest.mark.slow
def test_it_runs_to_a_report_with_every_arm_task_and_support_size(finished):
    results = pd.read_csv(finished / "results.csv")
    assert set(results["arm"]) == {*ALL, "nearest support", "mean mask", "Otsu"}
    tasks = set(results["task"])
    assert {"shapes grey ellipse", "shapes grey rectangle", "shapes grey star"} < tasks and len(tasks) == 4
    counts = results.groupby("arm").size().to_dict()
    assert counts == {**dict.fromkeys(ALL[:3], 16), "unet_support": 8, "unet_task": 8,
                      **dict.fromkeys(("nearest support", "mean mask", "Otsu"), 8)}  # fmt: skip
    assert results["dice"].between(0, 1).all()
    report = (finished / "report.html").read_text()
    for said in ("Highest:", "UniverSeg against squeeze-guided", "less nearest support", "Trained anew for each task"):
        assert said in report
    assert (finished / "figures" / "gallery.png").stat().st_size > 10_000
    curve = np.load(next((finished / "units").glob("universeg--report*100.npz")))["curve/step"]
    assert curve.tolist() == [0, 2]


@pytest.mark.slow
def test_a_kept_network_predicts_with_examples(finished, tmp_path):
    for i in range(4):
        image, mask = segmentation_files.blob(i, (20, 24), labels=2)
        segmentation_files.picture(tmp_path / "images" / f"a{i}.png", image)
        segmentation_files.picture(tmp_path / "labels" / f"a{i}.png", mask * 7)
    network = hl.load_network(finished, arm="squeeze", support=tmp_path)
    assert network.card.arm == "squeeze" and network.card.over == "held-out tasks" and network.card.seed == 100
    values = segmentation_files.blob(9, (11, 13))[0]
    found = network.predict(values)
    assert found.shape == (11, 13) and set(np.unique(found)) <= {0, 7}
    ((placement, *_, probabilities),) = network.answers(values)
    np.testing.assert_array_equal(found, np.where(probabilities[..., 1] > 0.5, 7, 0))
    for given, said in (
        ({"arm": "squeeze"}, "give support, a folder of images with masks"),
        ({"support": tmp_path}, "several arms; say which: universeg, squeeze, prototypes"),
        ({"arm": "unet_task", "support": tmp_path}, "kept no network of 'unet_task'"),
        ({"arm": "squeeze", "seed": 7, "support": tmp_path}, "kept no network of seed 7; it kept 100"),
    ):
        with pytest.raises(ConfigError, match=said):
            hl.load_network(finished, **given)


@pytest.mark.slow
def test_a_second_start_trains_nothing_and_a_changed_config_is_refused(finished):
    before = {path: path.stat().st_mtime_ns for path in (finished / "units").iterdir()}
    hl.run(small(arms=ALL), finished)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    with pytest.raises(HyperlabError, match="draws"):
        hl.run(small(arms=ALL, draws=1), finished)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"arms": ("universegg",)}, ConfigError, "unknown arm 'universegg'.*'universeg'"),
        ({"contrasts": ("universeg - unet_task",)}, ConfigError, "'unet_support'"),
        ({"augmentation": "none"}, ConfigError, "'documented'"),
        ({"support_sizes": (0, 2)}, ConfigError, "at least 1"),
        ({"data.held_out": ("shape",)}, ConfigError, "'shapes'"),
        ({"data.development": ("shapes",)}, ConfigError, "must not see the test"),
        ({"support_sizes": (1, 500)}, HyperlabError, "smaller support_sizes"),
    ],
)
def test_bad_input_is_one_error_before_anything_is_compiled(tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        hl.run(small(**changes), tmp_path / "run")
    assert not list(tmp_path.glob("run/units/*.npz"))
