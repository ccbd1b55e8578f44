import json

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from hyperlab.errors import DataError
from hyperlab.metrics import per_case, segmentation

pytestmark = pytest.mark.fast

CLASSES = ["background", "cytoplasm", "nucleus"]
PREDICTIONS = jnp.array([[0, 1, 1, 2], [0, 0, 1, 1], [0, 0, 0, 1]])
LABELS = jnp.array([[0, 1, 2, 2], [0, 1, 1, 1], [0, 0, 0, 0]])
COUNTS = segmentation.counts(PREDICTIONS, LABELS, 3)


def test_the_table_is_tidy_and_comes_back_from_the_file(tmp_path):
    metrics = {"dice": segmentation.dice_of(COUNTS), "hd95_pooled": np.arange(6.0).reshape(3, 2)}
    frame = per_case.table("sshn-0", ["a", "b", "c"], CLASSES, metrics)
    assert list(frame.columns) == ["run", "case", "class", "metric", "value"] and len(frame) == 3 * 2 * 2
    wide = frame.pivot(index=["case", "class"], columns="metric", values="value")
    np.testing.assert_allclose(wide["dice"].to_numpy().reshape(3, 2), segmentation.dice_of(COUNTS))
    assert wide.loc[("b", "nucleus"), "hd95_pooled"] == 3.0
    both = pd.concat([frame, frame.assign(run="fixed-0")])
    per_case.write_table(tmp_path / "deep" / "per_case.csv", both)
    back = pd.read_csv(tmp_path / "deep" / "per_case.csv")
    pd.testing.assert_frame_equal(back, both.reset_index(drop=True), check_dtype=False)
    assert ",nan\n" in (tmp_path / "deep" / "per_case.csv").read_text()
    assert list(tmp_path.joinpath("deep").iterdir()) == [tmp_path / "deep" / "per_case.csv"]


def test_no_metrics_are_an_empty_table():
    assert per_case.table("r", ["a"], CLASSES, {}).columns.tolist() == list(per_case.COLUMNS)


def test_the_summary_has_the_names_and_numbers_of_nnunet(tmp_path):
    files = {"a": ("pred/a.nii.gz", "ref/a.nii.gz")}
    content = per_case.summary(COUNTS, ["a", "b", "c"], CLASSES, files=files)
    per_case.write_summary(tmp_path / "summary.json", content)
    back = json.loads((tmp_path / "summary.json").read_text())
    assert set(back) == {"foreground_mean", "mean", "metric_per_case"}
    first = back["metric_per_case"][0]
    assert first["prediction_file"] == "pred/a.nii.gz" and first["reference_file"] == "ref/a.nii.gz"
    assert back["metric_per_case"][1]["prediction_file"] == "b"
    expected = {"Dice": 2 / 3, "IoU": 1 / 2, "FN": 0, "FP": 1, "TN": 2, "TP": 1, "n_pred": 2, "n_ref": 1}
    assert first["metrics"]["1"] == pytest.approx(expected)
    assert first["metrics"]["2"] == pytest.approx(expected | {"FN": 1, "FP": 0, "n_pred": 1, "n_ref": 2})
    # case c: a cytoplasm that is not there scores 0, a nucleus in neither is undefined and in no mean
    assert np.isnan(back["metric_per_case"][2]["metrics"]["2"]["Dice"])
    assert back["mean"]["1"]["Dice"] == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)
    assert back["mean"]["2"]["Dice"] == pytest.approx(2 / 3)
    assert back["mean"]["2"]["n_ref"] == pytest.approx(2 / 3)
    assert back["foreground_mean"]["Dice"] == pytest.approx((back["mean"]["1"]["Dice"] + back["mean"]["2"]["Dice"]) / 2)


def test_a_class_that_is_nowhere_has_a_mean_that_says_so():
    nowhere = segmentation.counts(PREDICTIONS, LABELS, 4)
    content = per_case.summary(nowhere, ["a", "b", "c"], [*CLASSES, "clot"])
    assert np.isnan(content["mean"]["3"]["Dice"]) and content["mean"]["3"]["TN"] == 4
    known = [content["mean"][label]["Dice"] for label in "12"]
    assert content["foreground_mean"]["Dice"] == pytest.approx(np.mean(known))


def test_further_metrics_stand_beside_the_others():
    distances = np.array([[1.0, 2.0], [3.0, np.nan], [np.nan, np.nan]])
    content = per_case.summary(COUNTS, ["a", "b", "c"], CLASSES, extra={"hd95_pooled": distances})
    assert content["mean"]["1"]["hd95_pooled"] == 2.0 and content["mean"]["2"]["hd95_pooled"] == 2.0
    assert content["metric_per_case"][0]["metrics"]["2"]["hd95_pooled"] == 2.0


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "summary.json"
    per_case.write_summary(path, {"mean": 1})
    with pytest.raises(TypeError):
        per_case.write_summary(path, {"mean": object()})
    assert json.loads(path.read_text()) == {"mean": 1} and list(tmp_path.iterdir()) == [path]


def test_mistakes_are_named():
    with pytest.raises(DataError, match="dice has shape \\(3, 3\\), expected \\(3, 2\\).*without the background"):
        per_case.table("r", ["a", "b", "c"], CLASSES, {"dice": np.ones((3, 3))})
    with pytest.raises(DataError, match="\\['a'\\] come more than once"):
        per_case.table("r", ["a", "a", "c"], CLASSES, {"dice": np.ones((3, 2))})
    with pytest.raises(DataError, match="Dice has shape"):
        per_case.summary(COUNTS, ["a", "b"], CLASSES)
    with pytest.raises(DataError, match="no columns \\['run'"):
        per_case.write_table("x.csv", pd.DataFrame({"case": []}))
