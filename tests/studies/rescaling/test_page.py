"""What the page of the rescaling study says: tables, fronts, pictures, and what it says of the exported network."""

import types

import ml_collections
import numpy as np
import pytest
import scipy.stats
from rescaled_studies import FACTORS, MACS, NOISE, study

from hyperlab.studies.rescaling import deploy, findings, fronts, overlays, results, tables
from hyperlab.studies.rescaling.arms import Cell

pytestmark = pytest.mark.fast

SEEDS = 0.8 + np.array([0.01, -0.02, 0.0, 0.02, -0.01])
RISING = SEEDS[:, None] + np.array([-0.2, -0.05, 0.0])
ARMS = {"fixed": RISING, "stochastic": RISING - 0.1, "sshn": RISING - 0.3 + NOISE[:5, None]}


# -- what can be ---------------------------------------------------------------------------------------------------


def test_intervals_are_within_what_a_dice_can_be_and_the_page_says_that_they_were_cut():
    wild = study({"fixed": [0.9, 0.8, 0.85], "sshn": [0.0, 0.9, 0.1]}, contrasts=("sshn - fixed",))
    (contrast,) = next(iter(results.contrasts(wild).values())).values()
    assert (contrast.low, contrast.clipped) == (-1, True) and contrast.high <= 1
    table = results.by_factor(wild, "sshn", "fixed")
    assert table["low"].min() == -1 and table["high"].max() == 1 and table["clipped"].all()
    assert "3 intervals were cut at -1 or 1" in tables.by_factor_note(wild, "sshn", "fixed")
    assert "1 interval was cut" in " ".join(findings.findings(wild, results.contrasts(wild), None))
    calm = study(ARMS, contrasts=("sshn - fixed",))
    assert "cut" not in tables.by_factor_note(calm, "sshn", "fixed")


@pytest.mark.parametrize(
    ("optimizer", "name", "constant"),
    [
        ("adam", "adam", True),
        ({"name": "sgd", "schedule": "constant", "warmup": 0, "clip": 0.0}, "sgd", True),
        ({"name": "adamw", "schedule": "cosine", "warmup": 10, "clip": 1.0}, "adamw", False),
    ],
)
def test_an_optimizer_is_a_name_or_a_group_with_one(optimizer, name, constant):
    one = study(ARMS, optimizer=optimizer)
    assert results.optimizer_name(one.config) == name and list(results.contrasts(one)) == [f"{name}/Dice"]
    assert results.rate_is_constant(one.config) == constant
    assert ("schedule of its own" in tables.budgets_note(one)) == (not constant)
    assert results.optimizer_name(ml_collections.FrozenConfigDict(one.config)) == name


# -- tables --------------------------------------------------------------------------------------------------------


def test_the_table_of_accuracy_has_a_row_for_each_factor_and_network_and_a_column_for_each_class():
    one = study({**ARMS, "width": SEEDS})
    for cells in one.runs["sshn"].values():
        for seed in cells:
            seed["test/dice"][..., 0] += 0.1
            seed["test/dice"][..., 1] -= 0.1
    table = tables.accuracy(one).set_index(["phi", "arm"])
    assert len(table) == 3 * 3 + 1 and ("0.5", "Fixed, narrower, width 0.5") in table.index
    row = table.loc[("0.5", "SSHN")]
    assert (row["ellipse"], row["rectangle"]) == ("0.600", "0.400") and row["Dice"].startswith("0.500 [0.481, 0.52")
    assert table.loc[("0.5", "Fixed, narrower, width 0.5"), "relative"] == "0.50"


def test_one_class_needs_no_column_and_many_have_none():
    for count, columns in ((1, 0), (6, 6), (7, 0)):
        one = study(ARMS)
        for cells in one.runs.values():
            for seeds in cells.values():
                for seed in seeds:
                    seed["test/dice"] = np.repeat(seed["test/dice"][..., :1], count, -1)
        shown = set(tables.accuracy(one)) - {"phi", "arm", "MACs", "relative", "latency, ms", "Dice"}
        assert len(shown) == columns
    # a run that did not keep names: the rest are numbered
    assert "class 3" in shown or count == 7


@pytest.mark.parametrize(("spread", "shown"), [(0.0001, True), (0.00049, True), (0.00051, False), (0.01, False)])
def test_latencies_are_shown_only_where_they_tell_factors_apart(spread, shown):
    one = study(ARMS, spread=spread)
    table = tables.accuracy(one)
    assert ("latency, ms" in table) == shown
    assert ("No latencies" in tables.accuracy_note(one)) == (not shown)
    if shown:
        low, high = 1 - 1e3 * spread, 1 + 1e3 * spread
        assert table["latency, ms"][0] == f"1.00 [{low:.2f}, {high:.2f}]"


def test_latencies_that_fall_with_the_cost_and_those_of_old_runs_without_quartiles_are_left_out():
    one = study(ARMS)
    one.inference[1.0].loc[0.3, ["latency", "latency_low", "latency_high"]] = [0.0009, 0.00089, 0.00091]
    assert not tables.latency_tells(one) and "0.90 ms at phi 0.3" in tables.accuracy_note(one)
    one.inference[1.0] = study(ARMS).inference[1.0].drop(columns=["latency_low", "latency_high"])
    assert not tables.latency_tells(one)


# -- fronts --------------------------------------------------------------------------------------------------------


def area(points, corner):
    """The share below a staircase, counted on a fine grid."""
    costs = np.linspace(0, corner, 40_001)
    heights = [max([dice for macs, dice in points if macs <= cost], default=0.0) for cost in costs]
    return float(np.mean(heights))


def test_hypervolumes_are_areas_and_each_seed_has_one():
    one = study({"fixed": RISING, "sshn": {0.1: SEEDS - 0.2, 0.2: SEEDS, 0.3: SEEDS, 0.5: SEEDS + 0.02}}, front=(0.2,))
    measured, corner = fronts.shares(one), MACS[0.5] * 1.01
    assert len(measured) == 10
    for seed in range(5):
        own = measured[(measured["arm"] == "sshn") & (measured["seed"] == 100 + seed)].iloc[0]
        dice = {0.1: SEEDS[seed] - 0.2, 0.2: SEEDS[seed], 0.3: SEEDS[seed], 0.5: SEEDS[seed] + 0.02}
        every = [(MACS[factor], value) for factor, value in dice.items()]
        compared = [(MACS[factor], dice[factor]) for factor in FACTORS]
        assert own["all_factors"] == pytest.approx(area(every, corner), abs=1e-4)
        assert own["compared_factors"] == pytest.approx(area(compared, corner), abs=1e-4)
        assert own["all_factors"] > own["compared_factors"]


def test_the_contrast_of_fronts_is_paired_by_seed():
    one = study(ARMS)
    measured = fronts.shares(one)
    arm, c = fronts.contrast(one, measured)
    own, fixed = (measured[measured["arm"] == name]["all_factors"].to_numpy() for name in ("sshn", "fixed"))
    assert arm == "sshn" and c.p == pytest.approx(scipy.stats.ttest_rel(own, fixed).pvalue) and c.verdict == "worse"
    record = fronts.content(one)
    assert record["contrast"]["mean"] == pytest.approx((own - fixed).mean()) and record["contrast"]["first"] == "sshn"
    share = record["arms"]["fixed"]["share"]["all_factors"]
    assert share["seeds"] == fixed.tolist() and share["low"] < share["estimate"] < share["high"]
    assert "worse" in fronts.note(one) and len(fronts.table(one)) == 3
    without = study({"stochastic": RISING, "film": RISING})
    assert fronts.contrast(without, fronts.shares(without)) is None and "contrast" not in fronts.content(without)


def test_shares_of_few_wild_seeds_end_at_nothing():
    one = fronts.content(study({"fixed": [0.9, 0.0, 0.0], "sshn": [0.9, 0.9, 0.9]}))
    assert one["arms"]["fixed"]["share"]["all_factors"]["low"] == 0


# -- what is exported ----------------------------------------------------------------------------------------------

CHOSEN = {"arm": "stochastic", "rescaling_factor": 0.3, "tolerance": 0.01, "seed": 101}


def test_what_is_exported_stands_beside_the_best_at_its_cost():
    said = findings.exported(study(ARMS), CHOSEN)
    assert said.startswith("Exported to network/: Stochastic at phi 0.3, seed 101 (the cheapest factor within 0.01 of")
    assert "47% fewer MACs than phi 0.5): test Dice 0.630 [0.630, 0.630] over 12 subjects." in said
    assert said.endswith("At this cost Fixed (phi 0.3) reaches 0.750: 0.100 more (0.750 against 0.650 of Stochastic, "
                         "means over seeds).")  # fmt: skip
    best = findings.exported(study({**ARMS, "stochastic": RISING + 0.1}), CHOSEN)
    assert "At this cost no other arm reaches more: Fixed (phi 0.3) is next, 0.100 less" in best


def test_dearer_networks_are_not_at_this_cost_and_cheaper_ones_are():
    falling = SEEDS[:, None] + np.array([0.0, -0.3, 0.1])
    said = findings.exported(study({"fixed": falling, "stochastic": RISING - 0.1}), CHOSEN)
    assert "At this cost Fixed (phi 0.1) reaches 0.800" in said
    narrow = findings.exported(study({"width": SEEDS, "stochastic": RISING - 0.1}), CHOSEN)
    assert "Fixed, narrower (phi 0.5, width 0.5) reaches 0.800" in narrow
    assert findings.exported(study({"stochastic": RISING}), CHOSEN).endswith("No other arm was measured at this cost.")


def test_of_an_old_run_the_first_seed_was_exported_and_a_collapsed_one_is_said():
    old = {key: value for key, value in CHOSEN.items() if key != "seed"}
    fallen = study({"fixed": RISING, "stochastic": RISING * np.array([0, 1, 1, 1, 1])[:, None]}, subjects=5)
    said = findings.exported(fallen, old)
    assert "seed 100" in said and "0.000 on 5 subjects (too few for an interval); this seed collapsed" in said


def test_the_best_arm_of_the_prior_is_exported_whatever_it_is_called():
    for scores, best in (
        ({"fixed": SEEDS, "sshn": SEEDS - 0.3, "film": SEEDS - 0.2}, "film"),
        ({"sshn": SEEDS, "stochastic": SEEDS - 0.1}, "sshn"),
        ({"sshn": SEEDS, "stochastic": SEEDS}, "sshn"),  # the first of equals
        ({"fixed": SEEDS}, None),
    ):
        one = study(scores, keep_networks=3)
        runs = types.SimpleNamespace(
            config=one.config,
            report_seeds=range(100, 105),
            train=lambda cell, rate, seed, phase, one=one: one.runs[cell.arm][cell][seed - 100],
        )
        assert deploy.best_of_prior(runs, one.choices) == best
    cell = next(iter(one.runs["fixed"]))
    seed, measured = deploy._best_kept(runs, one.choices, cell, cell.factor)
    assert seed == 100 and measured is one.runs["fixed"][cell][0], "of the first three: SEEDS is highest at 0"


def test_test_dice_of_a_network_is_over_its_subjects():
    values = np.linspace(0.5, 0.9, 12)[:, None] + np.array([-0.1, 0.1])
    values[3] = [np.nan, 0.7]
    found = results.test_dice(Cell("sshn"), {"factors": np.array([0.3]), "test/dice": values[None]}, 0.3, 1.0)
    expected = np.nanmean(values, 1).mean()
    assert found["estimate"] == pytest.approx(expected) and found["low"] < expected < found["high"]
    assert found["subjects"] == 12
    assert results.test_dice(Cell("sshn"), {"factors": np.array([0.3]), "test/dice": values[None]}, 0.4, 1.0) is None
    few = results.test_dice(Cell("sshn"), {"factors": np.array([0.3]), "test/dice": values[None, :5]}, 0.3, 1.0)
    assert few["low"] is None and few["subjects"] == 5


# -- pictures ------------------------------------------------------------------------------------------------------


def strips(cases=2, factors=("0.1", "0.3", "0.4", "0.5")):
    random = np.random.default_rng(0)
    images = random.uniform(size=(cases, 6, 8, 1))
    truth, prediction = random.integers(0, 3, (2, cases, 6, 8))
    made = {
        factor: np.concatenate([overlays.strip(*one) for one in zip(images, truth, prediction, strict=True)])
        for factor in factors
    }
    return made, images, truth, prediction


def test_strips_are_cut_into_the_panels_that_they_were_made_of():
    made, images, truth, prediction = strips()
    for case, shown in enumerate(overlays.cases(made, 2)):
        np.testing.assert_array_equal(shown.image[..., 0], (255 * images[case, ..., 0]).astype(np.uint8))
        np.testing.assert_array_equal(shown.truth, overlays.COLOURS[truth[case]])
        for factor in made:
            np.testing.assert_array_equal(shown.predictions[factor], overlays.COLOURS[prediction[case]])
            wrong = (shown.errors[factor] == overlays.WRONG).all(-1)
            np.testing.assert_array_equal(wrong, truth[case] != prediction[case])


def test_a_case_is_large_and_has_its_name_and_every_panel_a_title():
    made, _, truth, prediction = strips()
    figure = overlays.figure(overlays.cases(made, 2), ("case_a", "case_b"), ("ellipse", "rectangle"))
    figure.canvas.draw()
    drawn = [axes for axes in figure.axes if axes.images]
    assert len(drawn) == 2 * (2 + 2 * 4)
    titles = [axes.get_title() for axes in drawn]
    assert titles[0] == "case_a\nimage" and titles.count("truth") == 2
    assert titles.count("prediction, phi 0.4") == 2
    assert f"errors, {(truth[0] != prediction[0]).mean():.1%} of pixels" in titles
    page = 992  # pixels of a report's widest figure
    widths = [axes.get_window_extent().width * page / figure.bbox.width for axes in drawn]
    assert min(widths) >= 200
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ellipse", "rectangle", "wrong"]
