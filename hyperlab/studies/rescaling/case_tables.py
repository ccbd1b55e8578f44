"""The rescaling study case by case: distances between surfaces beside Dice, and the table of every test case."""

from pathlib import Path

import numpy as np
import pandas as pd

from hyperlab.metrics import per_case
from hyperlab.metrics.defined import mean_defined
from hyperlab.studies.rescaling.arms import CASES
from hyperlab.studies.rescaling.results import Study, points_of
from hyperlab.train.units import UnitFiles

METRICS = {"dice": "case_dice", "hd95_pooled": "hd95_pooled", "hd95_max": "hd95_max", "assd": "assd", "nsd": "nsd"}
METRICS["dice_on_scan"] = "scan_dice"  # of prepared sets alone
DISTANCES = ("hd95_pooled", "hd95_max", "assd", "nsd")


def table(folder: Path, study: Study) -> pd.DataFrame:
    """One row for each network at a compared factor, test image, class and metric: `per_case.csv`.

    A run is named `arm/what it was trained for/seed/phi`. Distances are in mm where the images' spacing is known,
    else in pixels; they are NaN where a class is absent from one of the two masks.
    """
    _, cases = UnitFiles(Path(folder) / "units").finished(CASES)
    names, classes = cases["names"].tolist(), cases["classes"].tolist()
    parts = []
    for arm, cells in study.runs.items():
        for cell, seeds in cells.items():
            for one in seeds:
                for place, (factor, width) in enumerate(points_of(cell, one)):
                    if factor not in study.config.factors:
                        continue
                    there = {metric: key for metric, key in METRICS.items() if f"test/{key}" in one}
                    values = {metric: one[f"test/{key}"][place] for metric, key in there.items()}
                    run = f"{arm}/{cell._replace(width=width).trained_at}/{int(one['seed'])}/{factor:g}"
                    parts.append(per_case.table(run, names, classes, values))
    return pd.concat(parts, ignore_index=True)


def distances(study: Study) -> pd.DataFrame:
    """Each arm over the compared factors: mean over cases where defined, then classes, factors and seeds."""
    rows = []
    for arm, cells in study.runs.items():
        found: dict[str, list[float]] = {name: [] for name in (*DISTANCES, "undefined")}
        for seeds in cells.values():
            for one in seeds:
                places = [k for k, f in enumerate(one["factors"]) if f in study.config.factors]
                for name in DISTANCES:
                    found[name] += [_mean(one[f"test/{name}"][place]) for place in places]
                found["undefined"] += [float(np.isnan(one["test/assd"][place]).mean()) for place in places]
        if found["assd"]:
            rows.append(
                {"arm": study.label(arm), **{name: float(mean_defined(np.array(x))) for name, x in found.items()}}
            )
    return pd.DataFrame(rows)


def _mean(values: np.ndarray) -> float:
    """Mean over cases, then over classes, of what is defined."""
    frame = pd.DataFrame(values)
    return float(frame.mean().mean())
