import numpy as np
import pandas as pd
import pytest

from hyperlab.errors import DataError
from hyperlab.metrics import statistics
from hyperlab.studies.pruning.rank_changes import orders, rank_change, rank_changes

pytestmark = pytest.mark.fast

POINTS = (2, 4, 8, 16, 32)


def study(gaps, seeds=5, noise=0.002, points=POINTS, seed=0):
    """Two methods; `gaps` is how far A is above B at each compression, seeds share most of their variation."""
    rng = np.random.default_rng(seed)
    rows = []
    for compression, gap in zip(points, gaps, strict=True):
        shared = 0.8 + 0.05 * rng.standard_normal(seeds)
        for method, offset in (("A", gap), ("B", 0.0)):
            values = shared + offset + noise * rng.standard_normal(seeds)
            rows += [(method, compression, s, v) for s, v in enumerate(values)]
    return pd.DataFrame(rows, columns=["method", "compression", "seed", "value"])


def test_a_planted_reversal_is_found_and_said():
    change = rank_change(study([0.1, 0.1, 0.1, 0.0, -0.1]), "A", "B")
    assert change.sentence == "A above B up to 8x, not separable at 16x, below from 32x"
    assert change.reverses
    assert change.points["outcome"].tolist() == ["above"] * 3 + ["not separable", "below"]


@pytest.mark.parametrize(
    "gaps, sentence",
    [
        ([0.1] * 5, "A above B throughout (2x to 32x)"),
        ([-0.1] * 5, "A below B throughout (2x to 32x)"),
        ([0.0, 0.0, 0.1, 0.1, 0.0], "A and B not separable up to 4x, above from 8x to 16x, not separable from 32x"),
    ],
)
def test_sentences(gaps, sentence):
    change = rank_change(study(gaps), "A", "B")
    assert change.sentence == sentence and not change.reverses


def test_two_copies_of_a_method_are_not_separable():
    frame = study([0.0] * 5)
    copy = frame[frame["method"] == "A"].assign(method="A again")
    assert (
        rank_change(pd.concat([frame, copy]), "A", "A again").sentence
        == "A and A again not separable throughout (2x to 32x)"
    )


@pytest.mark.slow
def test_noise_alone_rarely_separates_any_point_of_a_curve():
    """The intervals hold together: at 95 %, about 1 curve in 20 has any point that separates; 100 curves."""
    false = sum(
        set(rank_change(study([0.0] * 5, seed=seed), "A", "B").points["outcome"]) != {"not separable"}
        for seed in range(100)
    )
    assert false <= 12


def test_intervals_are_those_of_the_statistics_module_at_the_shared_level():
    frame = study([0.1, 0.02, 0.0, -0.02, 0.01], seeds=4)
    points = rank_change(frame, "A", "B").points
    for row in points.itertuples():
        a, b = (frame[(frame["method"] == m) & (frame["compression"] == row.compression)]["value"] for m in "AB")
        expected = statistics.paired_contrast(a, b, confidence=1 - 0.05 / 5)
        np.testing.assert_allclose([row.difference, row.low, row.high], [expected.mean, expected.low, expected.high])


def test_seeds_are_paired_whatever_the_order_of_rows_and_others_left_out():
    frame = study([0.1] * 5)
    shuffled = frame.sample(frac=1, random_state=0)
    extra = pd.DataFrame([("A", 64, 0, 0.1), ("B", 2, 99, 0.1)], columns=frame.columns)
    pd.testing.assert_frame_equal(
        rank_change(pd.concat([shuffled, extra]), "A", "B").points, rank_change(frame, "A", "B").points
    )


def test_two_seeds_claim_nothing_and_losses_turn_the_order():
    assert rank_change(study([0.1] * 5, seeds=2), "A", "B").sentence == "A and B no claim throughout (2x to 32x)"
    assert rank_change(study([0.1] * 5), "A", "B", better="lower").sentence == "A below B throughout (2x to 32x)"


def test_pairs_orders_and_errors():
    frame = study([0.1, 0.1, 0.1, 0.1, -0.1])
    assert [(c.first, c.second) for c in rank_changes(frame)] == [("A", "B")]
    assert orders(frame)["changed"].tolist() == ["-", "no", "no", "no", "yes"]
    assert orders(frame, better="lower")["order"].iloc[0] == "B > A"
    with pytest.raises(DataError, match="no results of method 'C'"):
        rank_change(frame, "A", "C")
    with pytest.raises(DataError, match="several values at compression 2 and seed 0"):
        rank_change(pd.concat([frame, frame]), "A", "B")
    with pytest.raises(DataError, match="no compression and seed in common"):
        rank_change(frame[(frame["method"] == "A") | (frame["compression"] > 99)].replace({"seed": 0}, 7).assign(
            method=lambda f: np.where(f["compression"] > 2, "B", "A")), "A", "B")  # fmt: skip
    with pytest.raises(DataError, match="no column 'accuracy'"):
        rank_change(frame, "A", "B", value="accuracy")
