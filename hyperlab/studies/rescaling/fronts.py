"""How much the fronts of the arms rule over, seed by seed: `front.json`, and what the page says of it."""

from typing import Any

import numpy as np
import pandas as pd

from hyperlab import pareto
from hyperlab.metrics import statistics
from hyperlab.studies.rescaling.arms import ARMS
from hyperlab.studies.rescaling.results import DIFFERENCES, DIRECTIONS, MEANS, Study, points, results
from hyperlab.studies.rescaling.verdict import method


def shares(study: Study) -> pd.DataFrame:
    """The hypervolume of each arm and seed on the test split, as a share of all that could be had.

    Returns:
      One row for each arm and seed: `all_factors`, and `compared_factors`, where arms have the same factors. 1 is a
      Dice of 1 for nothing; every arm is measured from one point, no Dice at a hundredth more than the highest cost.
    """
    table = results(study)
    table = table[(table["split"] == "test") & (table["class"] == "mean")]
    reference = corner(table)
    rows = []
    for (arm, seed), part in table.groupby(["arm", "seed"], sort=False):
        compared = part[part["rescaling_factor"].isin(list(study.config.factors))]
        row = {"arm": arm, "seed": int(seed)}
        for name, frame in (("all_factors", part), ("compared_factors", compared)):
            row[name] = pareto.hypervolume(frame, DIRECTIONS, reference).value / reference["macs"]
        rows.append(row)
    return pd.DataFrame(rows)


def corner(table: pd.DataFrame) -> dict[str, float]:
    """The point that hypervolumes are measured from: no Dice, at a hundredth more than the highest cost."""
    return {"dice": 0.0, "macs": float(table["macs"].max()) * 1.01}


def over_seeds(values: np.ndarray) -> statistics.Interval:
    """The mean of some seeds' shares with its t interval, within 0 and 1."""
    return pareto.over_seeds(np.asarray(values)[:, None], bounds=MEANS)


def contrast(study: Study, measured: pd.DataFrame) -> tuple[str, statistics.Contrast] | None:
    """The front of an arm of the prior, at all its factors, less that of Fixed at the compared ones; paired by seed.

    It is the hypernetwork's, else that of the first arm of the prior. More factors make a larger front by themselves:
    that is what one network for all of them gives, and why the page shows equal factors beside.

    Returns:
      The arm and the contrast; None where one of the two did not run.
    """
    of_prior = [arm for arm in study.config.arms if ARMS[arm].trains == "prior"]
    if "fixed" not in study.runs or not of_prior:
        return None
    arm = method(study) or of_prior[0]
    own, fixed = (_of(measured, name, "all_factors") for name in (arm, "fixed"))
    return arm, statistics.paired_contrast(own, fixed, bounds=DIFFERENCES)


def content(study: Study) -> dict[str, Any]:
    """`front.json`: of each arm the front of the means over seeds, and its hypervolume with that of every seed."""
    found, measured = points(study), shares(study)
    reference, arms = corner(found), {}
    for arm, part in found.groupby("arm", sort=False):
        own = part[pareto.front(part, DIRECTIONS)]
        arms[arm] = {
            "hypervolume": pareto.hypervolume(part, DIRECTIONS, reference).value,
            "share": {
                name: {**over_seeds(_of(measured, arm, name))._asdict(), "seeds": _of(measured, arm, name).tolist()}
                for name in ("all_factors", "compared_factors")
            },
            "points": own[["rescaling_factor", "width", "macs", "dice"]].to_dict("records"),
        }
    record: dict[str, Any] = {"reference": reference, "arms": arms}
    if (compared := contrast(study, measured)) is not None:
        arm, c = compared
        kept = {"mean": c.mean, "low": c.low, "high": c.high, "n": c.n, "verdict": c.verdict}
        record["contrast"] = {"first": arm, "second": "fixed", **kept}
    return record


def table(study: Study) -> pd.DataFrame:
    """For the page: each arm's share over seeds, at all its factors and at the compared ones."""
    measured, rows = shares(study), []
    for arm in study.config.arms:
        row = {"arm": study.label(arm)}
        for name, head in (("all_factors", "all its factors"), ("compared_factors", "the compared factors")):
            row[f"hypervolume, {head}"] = _text(over_seeds(_of(measured, arm, name)))
        row["factors"] = str(len({float(f) for seeds in study.runs[arm].values() for f in seeds[0]["factors"]}))
        rows.append(row)
    return pd.DataFrame(rows)


def note(study: Study) -> str:
    """What the table means, and the contrast in words."""
    said = (
        "Hypervolume of each seed's front of test Dice and MACs, as a share of what could be had (1: a Dice of 1 for "
        "nothing): mean over seeds with its t interval, which ends at 0 and 1. Networks of the prior are measured at "
        "more factors than Fixed, and a front of more points rules over more; at the compared ones all have as many."
    )
    if (compared := contrast(study, shares(study))) is None:
        return said
    arm, c = compared
    return (
        f"{said} Front of {study.label(arm)} at all its factors less that of Fixed, paired by seed: {c.mean:+.3f} "
        f"[{c.low:+.3f}, {c.high:+.3f}], {c.verdict}."
    )


def _of(measured: pd.DataFrame, arm: str, column: str) -> np.ndarray:
    return measured.loc[measured["arm"] == arm].sort_values("seed")[column].to_numpy(float)


def _text(interval: statistics.Interval) -> str:
    if np.isnan(interval.low):
        return f"{interval.estimate:.3f} (one seed)"
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
