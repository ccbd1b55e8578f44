"""Transfer: what counts as a best rate that stays, what the verdict says, and that a small study runs whole."""

import numpy as np
import pandas as pd
import pytest

import hyperlab as hl
from experiments import stability
from hyperlab import sweep
from hyperlab.errors import ConfigError
from hyperlab.studies.stability import transfer_results
from hyperlab.studies.stability.map import Map
from hyperlab.studies.stability.sizes import cells_of, placed
from hyperlab.studies.stability.study import Stability
from hyperlab.studies.stability.transfer import Transfer
from hyperlab.studies.stability.transfer_results import summarised, verdict

TINY = {
    "transfer.widths": (4, 8),
    "transfer.depths": (1, 2),
    "arms": ("plain", "plain_by_width", "mip_by_width"),
    "contrasts": (),
    "rates.sgd": (0.03, 1e30),
    "report_seeds": 2,
    "train_length": "4 steps",
    "steps_per_call": 4,
    "evaluate_every": 2,
    "batch_size": 8,
    "samples": 2,
    "hypernet.hidden": (4,),
    "runs_per_program": 4,
}


def config(**changes):
    return sweep.apply(stability.get_config(), {**TINY, **changes})


def table(losses, axis="width", sizes=(64, 256, 1024), rates=(0.01, 0.03, 0.1, 0.3)):
    """Runs of one optimizer: `{arm: [[loss at each rate] at each size]}`, the same for two seeds."""
    other = {"width": "depth", "depth": "width"}[axis]
    rows = [
        {axis: size, other: 2, "optimizer": "sgd", "arm": arm, "learning_rate": rate, "seed": seed, "nll": loss}
        for arm, places in losses.items()
        for size, line in zip(sizes, places, strict=True)
        for rate, loss in zip(rates, line, strict=True)
        for seed in (100, 101)
    ]
    return pd.DataFrame(rows)


FALLS = [[3.0, 2.0, 1.0, 2.0], [2.0, 1.0, 2.0, np.inf], [0.5, 2.0, np.inf, np.inf]]
STAYS = [[3.0, 2.0, 1.0, 2.0], [3.0, 0.9, 1.0, 2.0], [3.0, 2.0, 0.8, 2.0]]


def test_best_rates_of_a_table_by_hand():
    falls, stays = summarised(table({"mip": FALLS, "mip_by_width": STAYS}), {"mip": "MIP", "mip_by_width": "by width"})
    assert falls.sizes == (64, 256, 1024) and falls.best.tolist() == [0.1, 0.03, 0.01]
    assert falls.fell == pytest.approx(10) and not falls.stays and falls.at_edge
    assert falls.least.tolist() == [1.0, 1.0, 0.5] and falls.kept.tolist() == [1.0, 2.0, np.inf]
    assert stays.fell == 1 and stays.stays and not stays.at_edge and stays.kept.tolist() == [1.0, 1.0, 0.8]
    np.testing.assert_allclose(falls.by_seed, 10)


def test_a_rate_that_left_and_came_back_did_not_stay():
    (one,) = summarised(table({"mip": [FALLS[0], FALLS[2], FALLS[0]]}), {"mip": "MIP"})
    assert one.fell == 1 and not one.stays


def test_a_best_rate_is_that_of_the_median_of_the_seeds():
    runs = table({"mip": STAYS})
    runs.loc[(runs.seed == 101) & (runs.width == 1024) & (runs.learning_rate == 0.1), "nll"] = np.inf
    (one,) = summarised(pd.concat([runs, runs[runs.seed == 100].assign(seed=102)]), {"mip": "MIP"})
    assert one.best.tolist() == [0.1, 0.03, 0.1]
    assert sorted(one.by_seed) == pytest.approx([1, 1, 10 / 3])


@pytest.mark.parametrize("axis", ["width", "depth"])
def test_the_verdict_can_come_out_either_way(axis):
    labels = {"mip": "MIP", "mip_by_width": "by width"}
    said = verdict(summarised(table({"mip": FALLS, "mip_by_width": STAYS}, axis), labels))
    assert said.startswith(f"From {axis} 64 to 1,024 the best rate falls")
    assert "MIP, by 10 (sgd): it does not stay" in said and "by width, by 1 (sgd): it stays" in said
    said = verdict(summarised(table({"mip": STAYS, "mip_by_width": FALLS}, axis), labels))
    assert "MIP, by 1 (sgd): it stays" in said and "by width, by 10 (sgd): it does not stay" in said


def test_cells_and_their_configs():
    made = config()
    cells = cells_of(made)
    assert len(cells) == len({cell.key for cell in cells}) == 3 * 3
    assert placed(made, 8, 2).primary.widths == (8, 8) and made.primary.widths == (64, 64)


def test_arms_by_width_are_refused_elsewhere_and_a_map_beside_it():
    with pytest.raises(ConfigError, match="plain_by_width, mip_by_width: a map has one width"):
        Map.load(config(**{"map.laws": ("uniform",)}))
    with pytest.raises(ConfigError, match="'plain_by_width' is of a study of transfer"):
        Stability.load(config(**{"transfer.widths": ()}))
    with pytest.raises(ConfigError, match="a study is of one of them"):
        Transfer.load(config(**{"map.laws": ("uniform",)}))


def test_a_small_study_runs_to_its_page(tmp_path):
    folder = hl.run(config(), tmp_path / "run")
    _, _, runs, labels, definitions = transfer_results.read(folder)
    assert len(runs) == 3 * 3 * 2 * 2 and set(runs.arm) == set(labels)
    assert "by width and depth" in definitions["plain_by_width"]
    # at the width and depth of the base the rule changes nothing
    base, fine = (runs.width == 4) & (runs.depth == 1), runs.learning_rate < 1
    by_arm = {arm: runs[base & fine & (runs.arm == arm)].nll.to_numpy() for arm in ("plain", "plain_by_width")}
    np.testing.assert_array_equal(by_arm["plain"], by_arm["plain_by_width"])
    wide = {arm: runs[(runs.width == 8) & fine & (runs.arm == arm)].nll.to_numpy() for arm in by_arm}
    assert (wide["plain"] != wide["plain_by_width"]).all()
    page = (folder / "report.html").read_text()
    assert page.index("the best rate falls") < page.index("<table")
    assert (folder / "figures/width.png").exists() and (folder / "figures/depth.png").exists()
