"""Questions that the uncertainty study answers, as tables of numbers: gains, accepted images, shifts, kinds of map."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from hyperlab.metrics import statistics
from hyperlab.metrics.defined import mean_defined
from hyperlab.studies.uncertainty import cells
from hyperlab.studies.uncertainty.cells import TEST, VALIDATION
from hyperlab.studies.uncertainty.results import Study
from hyperlab.uncertainty import detection, selective


def gains(study: Study) -> pd.DataFrame:
    """What the map of an arm that samples adds to scores that need no sampling, as differences of AUROC over seeds.

    Columns `arm`, `where` (image, band, object), `over` (the entropy of one pass, the distance to the boundary), and
    `mean`, `low`, `high`, `verdict` of a t interval, not corrected for how many there are.
    """
    rows = []
    for arm in study.several:
        cell, own = study.chosen(arm), study.map(arm)
        for where in ("image", "band", "object"):
            for over in ("one_pass", "distance") if where != "object" else ("one_pass",):
                first, second = (study.value(cell, TEST, f"auroc/{where}/{name}") for name in (own, over))
                known = ~np.isnan(first) & ~np.isnan(second)
                row: dict[str, Any] = {"arm": arm, "where": where, "over": over, "seeds": int(known.sum())}
                row |= {"auroc": float(mean_defined(first)), "auroc_of_trivial": float(mean_defined(second))}
                if known.any():
                    c = statistics.paired_contrast(first[known], second[known])
                    row |= {"mean": c.mean, "low": c.low, "high": c.high, "verdict": c.verdict}
                rows.append(row)
    return pd.DataFrame(rows)


def acceptance(study: Study) -> pd.DataFrame:
    """How many test images could be accepted unseen: a threshold from validation for every network, tried on test.

    Means over seeds; `coverage_low` and `coverage_high` are the 95 % interval over the images for the first seed.
    """
    rows, target = [], study.config.judging["target"]
    for arm in study.arms:
        cell, score = study.chosen(arm), f"score/{study.map(arm)}"
        validation, test = (
            list(zip(study.each(cell, part, score), study.each(cell, part, "dice"), strict=True))
            for part in (VALIDATION, TEST)
        )
        found = [
            selective.accept(*unseen, selective.choose_threshold(*seen, target))
            for seen, unseen in zip(validation, test, strict=True)
        ]
        first, coverage = found[0].coverage, [one.coverage.estimate for one in found]
        rows.append(
            {
                "arm": arm,
                "target": target,
                "coverage": float(np.mean(coverage)),
                "coverage_low": first.low,
                "coverage_high": first.high,
                "coverage_sd_over_seeds": float(np.std(coverage, ddof=1)) if len(found) > 1 else np.nan,
                "mean_dice": _mean([one.mean_dice.estimate for one in found]),
                "below": _mean([one.below.estimate for one in found]),
                "oracle_coverage": float(np.mean([one.oracle_coverage for one in found])),
                "lot_mean_dice": float(np.mean([one.random_mean_dice for one in found])),
                "lot_below": float(np.mean([one.random_below for one in found])),
                "without_dice": found[0].excluded,
            }
        )
    return pd.DataFrame(rows)


def shifts(study: Study) -> pd.DataFrame:
    """How well image scores tell shifted test images from those of the domain: AUROC, means over seeds.

    Scores are the arm's map, the entropy of one pass, and, needing no uncertainty, how far the mean intensity and the
    predicted area are from their medians on the validation split.
    """
    rows = []
    for part, shift, severity in cells.shifts(study.config.data):
        for arm in study.arms:
            cell = study.chosen(arm)
            row = {"shift": shift, "severity": severity, "arm": arm}
            row["dice"] = float(mean_defined(study.value(cell, part, "dice")))
            for name, measure in (("map", study.map(arm)), ("one_pass", "one_pass")):
                row[name] = _shift(*(study.each(cell, where, f"score/{measure}") for where in (TEST, part)))
            for name in ("intensity", "predicted_area"):
                middle = np.median(study.each(cell, VALIDATION, name), 1, keepdims=True)
                row[name] = _shift(*(np.abs(study.each(cell, where, name) - middle) for where in (TEST, part)))
            rows.append(row)
    return pd.DataFrame(rows)


def kinds(study: Study) -> pd.DataFrame:
    """Whether maps are of the kind that they are called: how they change with more data, and with blurred borders.

    Columns `arm`, `map`, `change` (`share`: all training images less the smallest share, on the test split; `border`:
    the widest border less the sharpest), and `mean`, `low`, `high` of a t interval over seeds of the mean image score,
    in nats; not corrected for how many there are.
    """
    shares, borders = sorted(study.config.train_shares), sorted(study.config.data.borders)
    rows = []
    for arm in study.several:
        changes = {}
        if len(shares) > 1:
            changes["share"] = [(study.chosen(arm, share), TEST) for share in (shares[-1], shares[0])]
        if len(borders) > 1:
            changes["border"] = [(study.chosen(arm), cells.border_name(width)) for width in (borders[-1], borders[0])]
        for change, (first, second) in changes.items():
            for name in ("epistemic", "aleatoric"):
                c = statistics.paired_contrast(*(study.value(*one, f"score/{name}") for one in (first, second)))
                rows.append({"arm": arm, "map": name, "change": change, "mean": c.mean, "low": c.low, "high": c.high})
    return pd.DataFrame(rows)


def _shift(inside: np.ndarray, outside: np.ndarray) -> float:
    return float(np.mean([detection.shift_detection(*pair).auroc for pair in zip(inside, outside, strict=True)]))


def _mean(values: Sequence[float]) -> float:
    return float(mean_defined(np.array(values)))
