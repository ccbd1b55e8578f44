import configparser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import survey_sheets

from hyperlab.data import published
from hyperlab.data.published import imputation
from hyperlab.errors import ConfigError, DataError

pytestmark = pytest.mark.fast

HEADER = "source,method,dataset,architecture,parent,metric,compression,speedup,mean,sd,seeds,note\n"


def written(tmp_path, *rows, header=HEADER):
    path = tmp_path / "table.csv"
    path.write_text(header + "".join(row + "\n" for row in rows))
    return path


# -- the simple table -----------------------------------------------------------------------------------------------


def test_change_is_from_the_same_sources_unpruned_network(tmp_path):
    frame = published.read_table(written(
        tmp_path,
        "Ash 2031,unpruned,d,n,,top1,1,1,0.9,,3,", "Ash 2031,A,d,n,,top1,4,2,0.85,0.01,3,",
        "Birch 2032,unpruned,d,n,,top1,1,1,0.8,,3,", "Birch 2032,B,d,n,,top1,4,,0.85,,3,",
        "Cedar 2033,C,d,n,,top1,4,,0.85,,3,",
    ))  # fmt: skip
    np.testing.assert_allclose(frame["change"], [0, -0.05, 0, 0.05, np.nan])
    ash, birch = published.curves(frame, "d", "n")  # Cedar has nothing to be compared with
    assert (ash.label, birch.label) == ("Ash 2031, A", "Birch 2032, B")
    np.testing.assert_allclose([*ash.x, *ash.change, ash.sd[1]], [1, 4, 0, -0.05, 0.01])


def test_two_parents_of_one_source_have_references_of_their_own(tmp_path):
    rows = ["Ash,unpruned,d,n,{0},top1,1,,{1},,,", "Ash,A,d,n,{0},top1,2,,{2},,,"]
    both = [row.format(*values) for values in (("P", 0.9, 0.8), ("Q", 0.5, 0.45)) for row in rows]
    found = published.curves(published.read_table(written(tmp_path, *both)), "d", "n")
    assert [curve.label for curve in found] == ["Ash, A, parent P", "Ash, A, parent Q"]
    np.testing.assert_allclose([curve.change[1] for curve in found], [-0.1, -0.05])
    unnamed = [row.replace(",P,", ",,").replace(",Q,", ",,") for row in both]
    with pytest.raises(DataError, match="several values at compression 1"):
        published.read_table(written(tmp_path, *unnamed))


def test_rows_at_one_x_are_one_point_with_their_sample_standard_deviation(tmp_path):
    rows = [f"Ash,A,d,n,,top1,{c},,{mean},{sd},," for c, mean, sd in
            [(2, 0.7, 0.2), (4.0000000001, 0.5, ""), (4, 0.7, ""), (8, 0.4, "")]]  # fmt: skip
    frame = published.read_table(written(tmp_path, "Ash,unpruned,d,n,,top1,1,,0.8,,,", *rows))
    (curve,) = published.curves(frame, "d", "n")
    np.testing.assert_allclose(curve.x, [1, 2, 4, 8])
    np.testing.assert_allclose(curve.change, [0, -0.1, -0.2, -0.4])
    np.testing.assert_allclose(curve.sd, [np.nan, 0.2, np.std([0.5, 0.7], ddof=1), np.nan])
    assert curve.rows.tolist() == [1, 1, 2, 1]


def test_interpolation_stays_inside_the_measured_range():
    ones = np.ones(3)
    curve = published.Curve("", "", "", 0.0, np.array([2, 4, 16.0]), -np.arange(3.0), ones, ones, "compression", "")
    np.testing.assert_allclose(published.at(curve, [1.9, 2, 8, 16, 16.1]), [np.nan, 0, -1.5, -2, np.nan])


@pytest.mark.parametrize(
    "row, message",
    [
        (",A,d,n,,top1,4,,0.8,,,", "row 2: no source"),
        ("Ash,A,d,n,,top1,4,,80,,,", "fraction in 0..1"),
        ("Ash,A,d,n,,top1,0,,0.8,,,", "compression must be above 0"),
        ("Ash,A,d,n,,top1,,,0.8,,,", "no operating point"),
        ("Ash,A,d,n,,top1,4,,,,,", "no note that says why"),
        ("Ash,A,d,n,,top1,four,,0.8,,,", "compression is no number"),
    ],
)
def test_bad_rows_are_refused(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        published.read_table(written(tmp_path, row))


def test_bad_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="did you mean 'speedup'"):
        published.read_table(written(tmp_path, header=HEADER.replace("speedup", "spedup")))
    with pytest.raises(DataError, match="no column 'source'"):
        published.read_table(written(tmp_path, header=HEADER.replace("source,", "")))
    with pytest.raises(DataError, match="does not exist"):
        published.read_table(tmp_path / "nothing.csv")


# -- what comes with the library ------------------------------------------------------------------------------------


def test_packaged_numbers_carry_their_source_and_say_what_could_not_be_read():
    table = published.packaged()
    for column in ("source", "citation", "figure", "reading_error", "accuracy_factor"):
        assert table[column].notna().all() and (table[column] != "").all()
    assert table["citation"].str.contains("2003.03033").all()
    unread = table[table["mean"].isna()]
    assert len(unread) == 4 and unread["note"].str.startswith("the line leaves the visible range").all()


def test_the_pitfall_of_relative_results_shows_in_the_packaged_curves():
    """Layerwise pruning of parent B loses less than global pruning of A, but more than global pruning of B."""
    curves = {c.label.split(", ", 1)[1]: c for c in published.curves(published.packaged(), "CIFAR-10", "ResNet-56")}
    losses = {name: float(published.at(curve, [32])[0]) for name, curve in curves.items()}
    layer_b = losses["layerwise magnitude, parent B (Adam 1e-4)"]
    assert losses["global magnitude, parent A (Adam 1e-3)"] < layer_b < losses["global magnitude, parent B (Adam 1e-4)"]
    np.testing.assert_allclose(layer_b, -0.244, atol=5e-4)


def test_the_accuracy_factor_turns_published_into_true_changes():
    table = published.packaged()
    plain, true = (published.curves(table, "ImageNet", "ResNet-18", corrected=c)[0] for c in (False, True))
    np.testing.assert_allclose(true.change, plain.change * 1.00352)


def test_setup_packages_the_tables():
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[2] / "setup.cfg")
    assert setup["options.package_data"]["hyperlab.data.published"].split() == ["*.csv"]


def test_unknown_networks_metrics_and_axes_are_named():
    table = published.packaged()
    with pytest.raises(DataError, match="did you mean 'CIFAR-10 / ResNet-56'"):
        published.curves(table, "CIFAR-10", "ResNet-55")
    with pytest.raises(DataError, match="no 'top5'"):
        published.curves(table, "CIFAR-10", "ResNet-56", metric="top5")
    with pytest.raises(ConfigError, match="did you mean 'speedup'"):
        published.curves(table, "CIFAR-10", "ResNet-56", against="speed")


# -- the survey's sheets --------------------------------------------------------------------------------------------


@pytest.fixture
def survey(tmp_path):
    return published.read_survey(survey_sheets.write(tmp_path / "sheets"))


def test_points_follow_the_steps_of_imputation(survey):
    points = published.operating_points(survey).set_index("row")
    columns = ["change", "compression", "speedup", "mean"]
    expected = {
        "100": (-0.02, 2, np.nan, 0.70),  # new over original parameters
        "101": (-0.03, 4, np.nan, 0.69),  # accuracies from errors, stated share
        "102": (-0.01, 2, 4, np.nan),  # stated change, shares from what is saved
        "103": (-0.02, 4, np.nan, np.nan),  # stated ratio
        "105": (0.005, np.nan, 3, np.nan),  # Top-5
        "106": (-0.05, 4, np.nan, np.nan),
    }
    assert list(points.index) == ["100", "101", "102", "103", "106", "105"]
    for row, values in expected.items():
        np.testing.assert_allclose(points.loc[row, columns].astype(float), values)
    assert points.loc["102", ["source", "method", "year", "paper"]].tolist() == [
        "Birch 2032", "Birch 2032, B1", 2032, "birch",
    ]  # fmt: skip
    assert points.loc["105", "metric"] == "top5" and points["citation"].str.contains("survey").all()
    assert points["seeds"].isna().all()  # none of these rows states a number of trials, and none is assumed


def test_original_accuracy_is_accuracy_less_its_change():
    row = pd.DataFrame([dict.fromkeys((*imputation.PERCENT, *imputation.PLAIN), np.nan)])
    done = imputation.with_changes(row.assign(Top1=0.7, dTop1=-0.02, OrigTop5=0.9, dTop5=-0.01))
    np.testing.assert_allclose(done[["OrigTop1", "Top5"]].to_numpy(), [[0.72, 0.89]])


def test_a_measured_share_goes_before_a_stated_one_and_nothing_kept_has_no_ratio():
    row = pd.DataFrame([dict.fromkeys((*imputation.PERCENT, *imputation.PLAIN), np.nan)] * 2)
    done = imputation.with_ratios(row.assign(MParams=[5, np.nan], OrigMParams=[20, 20], savedParams=[0.5, 1.0]))
    np.testing.assert_allclose(done["Compression"], [4, np.nan])


def test_the_sheets_stay_as_they_are(survey):
    before = survey.results.copy()
    published.operating_points(survey, pool_alexnet=True)
    pd.testing.assert_frame_equal(survey.results, before)


def test_exclusions_and_the_pooled_architecture(survey):
    everything = published.operating_points(survey, proposals_only=False, pool_alexnet=True)
    assert set(everything["architecture"]) == {"VGG-16", "CaffeNet", "Alex/CaffeNet"}
    assert "lempitsky-fast-convnets" in set(everything["paper"])
    assert "lempitsky-fast-convnets" not in set(published.operating_points(survey)["paper"])


def test_curves_come_out_of_the_survey_as_out_of_a_table(survey):
    both = pd.concat([published.operating_points(survey), published.packaged()])
    found = published.curves(both, "ImageNet", "VGG-16")
    assert [curve.label for curve in found] == ["Ash 2031", "Birch 2032, B1", "Cedar 2033"]
    np.testing.assert_allclose(found[0].change, [-0.02, -0.03])


def test_a_checkout_is_found_and_a_wrong_folder_says_where_the_sheets_come_from(tmp_path):
    survey_sheets.write(tmp_path / "analysis/assets/existing-results")
    assert len(published.read_survey(tmp_path).results) == len(survey_sheets.RESULTS)
    with pytest.raises(DataError, match=r"'Results-Grid view.csv' and 'Papers-Grid view.csv'.*JJGO/shrinkbench.*MIT"):
        published.read_survey(tmp_path / "analysis" / "python")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"results": [{"Paper": "asch", **survey_sheets.VGG}]}, "'asch' is not in.*did you mean 'ash'"),
        ({"papers": [survey_sheets.PAPERS[0]] * 2, "results": []}, "'ash' is there twice"),
        ({"drop": ("dTop1",)}, "no column 'dTop1'"),
    ],
)
def test_broken_sheets_are_refused(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        published.read_survey(survey_sheets.write(tmp_path, **change))


@pytest.mark.parametrize("cells", [{"Top1": "70.0"}, {"MParams": "10%"}, {"dTop1": "about 1%"}])
def test_cells_that_cannot_be_read_are_named(tmp_path, cells):
    survey = published.read_survey(survey_sheets.write(tmp_path, [{"Paper": "ash", **survey_sheets.VGG, **cells}]))
    with pytest.raises(DataError, match=f"results row '100', column '{next(iter(cells))}'"):
        published.operating_points(survey)
