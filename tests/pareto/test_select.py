import numpy as np
import pandas as pd
import pytest

from hyperlab import pareto
from hyperlab.errors import ConfigError, DataError

FACTORS = {0.1: (20.0, 0.70), 0.2: (30.0, 0.78), 0.31: (53.0, 0.796), 0.5: (100.0, 0.80)}


def results(seeds=5, cases=30, shift=None):
    """A tidy frame; `shift` moves the test split of one factor alone."""
    rng, rows = np.random.default_rng(0), []
    hardness = 0.05 * rng.normal(size=(2, cases))
    for factor, (macs, dice) in FACTORS.items():
        for s, split in enumerate(("validation", "test")):
            for seed in range(seeds):
                noise = 0.002 * rng.normal(size=cases)
                move = (shift or {}).get(factor, 0.0) if split == "test" else 0.0
                rows += [
                    {"rescaling_factor": factor, "split": split, "seed": seed, "case": f"c{case}", "macs": macs,
                     "latency": macs / 1e4 * (1 + 0.1 * seed), "dice": dice + move + hardness[s, case] + noise[case]}
                    for case in range(cases)
                ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("options", "factor"),
    [
        ({"tolerance": 0.0}, 0.5),
        ({"tolerance": 0.01}, 0.31),
        ({"tolerance": 0.05}, 0.2),
        ({"tolerance": 1.0}, 0.1),
        ({"budget": 60.0}, 0.31),
        ({"budget": 53.0}, 0.31),
        ({"budget": 1e9}, 0.5),
        ({"budget": 60.0, "tolerance": 0.05}, 0.2),
        ({"budget": 0.4, "cost": "relative_macs"}, 0.2),
        ({"budget": 20.0 / 1e4 * 1.3, "cost": "latency"}, 0.1),
        ({"budget": 1.0, "cost": "relative_latency"}, 0.5),
    ],
)
def test_the_choice(options, factor):
    assert pareto.select(results(), **options).rescaling_factor == factor


def test_the_choice_reads_validation_and_the_accuracy_is_that_of_the_test_split():
    frame = results(shift={0.31: -0.2})
    chosen = pareto.select(frame, tolerance=0.01)
    assert chosen.rescaling_factor == 0.31 and chosen.validation > 0.78
    rows = frame[(frame.rescaling_factor == 0.31) & (frame.split == "test")]
    assert chosen.test.estimate == pytest.approx(rows.dice.mean())
    assert chosen.test.low < chosen.test.estimate < chosen.test.high and chosen.test.n == 30
    assert chosen.test_seeds.n == 5
    assert chosen.difference.high < -0.19


def test_cost_difference_and_sentence():
    chosen = pareto.select(results(), tolerance=0.01)
    assert (chosen.cost, chosen.relative_cost, chosen.reference) == (53.0, 0.53, 0.5)
    table = {
        f: t.pivot(index="seed", columns="case", values="dice").to_numpy()
        for f, t in results().query("split == 'test'").groupby("rescaling_factor")
    }
    difference = pareto.over_cases(table[0.31] - table[0.5])
    np.testing.assert_allclose(chosen.difference, difference)
    low, mean, high = (f"{x:.3f}" for x in (difference.low, difference.estimate, difference.high))
    assert chosen.sentence == (
        f"phi 0.31: 47 % fewer MACs than phi 0.5, Dice {mean} [{low}, {high}] on 30 test cases, 5 seeds"
    )
    # paired: the cases' hardness, which is twenty times the noise, is not in the interval of the difference
    assert chosen.difference.high - chosen.difference.low < 0.1 * (chosen.test.high - chosen.test.low)


def test_sentences_of_the_reference_itself_of_more_cost_and_of_few_cases():
    same = pareto.select(results(), tolerance=0.0)
    assert same.sentence.startswith("phi 0.5, the reference: Dice 0.8") and "0 %" not in same.sentence
    assert (same.difference.estimate, same.relative_cost) == (0.0, 1.0)
    dearer = pareto.select(results(), budget=60.0, reference=0.2, cost="macs")
    assert dearer.sentence.startswith("phi 0.31: 77 % more MACs than phi 0.2, Dice +0.01")
    slower = pareto.select(results(), tolerance=0.01, cost="latency")
    assert "47 % lower latency than phi 0.5" in slower.sentence
    few = pareto.select(results(seeds=1, cases=4), tolerance=0.03)
    assert few.sentence.endswith("(no interval under 10 cases) on 4 test cases, 1 seed")


def test_the_order_of_rows_does_not_matter():
    shuffled = results().sample(frac=1.0, random_state=0)
    assert pareto.select(shuffled, tolerance=0.01) == pareto.select(results(), tolerance=0.01)


def test_equal_accuracy_goes_to_the_cheaper_factor():
    frame = results()
    frame["dice"] = 0.5
    assert pareto.select(frame, budget=1e9).rescaling_factor == 0.1


def test_a_metric_of_which_less_is_better():
    frame = results()
    frame["hd95_pooled"] = 10 * (1 - frame["dice"])
    chosen = pareto.select(frame, tolerance=0.1, metric="hd95_pooled", better="lower")
    assert chosen.rescaling_factor == 0.31 and "hd95_pooled +0.0" in chosen.sentence


def test_undefined_cases_are_left_out_on_both_sides_and_counted():
    frame = results()
    frame.loc[(frame.case == "c3") & (frame.split == "test") & (frame.rescaling_factor == 0.31), "dice"] = np.nan
    chosen = pareto.select(frame, tolerance=0.01)
    assert chosen.undefined == 1 and chosen.difference.n == 29 and "on 29 test cases" in chosen.sentence


@pytest.mark.parametrize(
    ("options", "change", "error", "message"),
    [
        ({}, None, ConfigError, "neither a budget nor a tolerance"),
        ({"budget": 10}, None, ConfigError, "below the cheapest factor: 0.1 costs 20"),
        ({"budget": 0.1, "cost": "relative_macs"}, None, ConfigError, "0.1 relative_macs.* 0.1 costs 0.2"),
        ({"tolerance": -0.1}, None, ConfigError, "tolerance is -0.1"),
        ({"tolerance": 0.1, "cost": "mac"}, None, ConfigError, "did you mean 'macs'"),
        ({"tolerance": 0.1, "metric": "dize"}, None, ConfigError, "did you mean 'dice'"),
        ({"tolerance": 0.1, "better": "high"}, None, ConfigError, "higher"),
        ({"tolerance": 0.1, "reference": 0.4}, None, ConfigError, "reference factor 0.4; factors are \\[0.1"),
        ({"tolerance": 0.1}, lambda f: f[f.split == "test"], DataError, "no rows of the validation split"),
        ({"tolerance": 0.1}, lambda f: pd.concat([f, f]), DataError, "several rows for .*one arm"),
        ({"tolerance": 0.1}, lambda f: f.iloc[1:], DataError, "149 rows for factor 0.1, expected 5 seeds x 30"),
        ({"tolerance": 0.1}, lambda f: f[(f.rescaling_factor != 0.2) | (f.split == "test")], DataError, "0 rows"),
        ({"tolerance": 0.1}, lambda f: f.assign(macs=np.nan), DataError, "macs is not known for factors \\[0.1"),
    ],
)
def test_mistakes_are_named(options, change, error, message):
    frame = results()
    with pytest.raises(error, match=message):
        pareto.select(change(frame) if change else frame, **options)


def test_bounds_cut_the_intervals_over_seeds_alone():
    frame = results(seeds=2).assign(dice=lambda rows: rows.dice.clip(0, 1) * np.where(rows.seed == 0, 0.05, 1))
    free, cut = (pareto.select(frame, tolerance=0.01, bounds=bounds) for bounds in (None, (0.0, 1.0)))
    assert free.test_seeds.low < 0 and free.test_seeds.high > 1
    assert (cut.test_seeds.low, cut.test_seeds.high) == (0, 1)
    assert cut.difference_seeds.low >= -1 and cut.difference_seeds.high <= 1
    assert (cut.test, cut.difference, cut.sentence) == (free.test, free.difference, free.sentence)
