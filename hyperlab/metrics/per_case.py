"""Results case by case: a tidy `per_case.csv`, and a `summary.json` in the field names of nnU-Net.

A mean hides which subjects fail. The table has one row for each run, case, class and metric, so that any other table,
test or plot can be made of it later. The summary has what programs around nnU-Net look for: `metric_per_case`,
`mean` for each label, `foreground_mean`, with Dice, IoU, FN, FP, TN, TP, n_pred and n_ref (numbers of pixels).
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from hyperlab.errors import DataError
from hyperlab.files import write_atomically
from hyperlab.metrics.segmentation import Counts, dice_of, iou_of

COLUMNS = ("run", "case", "class", "metric", "value")


def table(run: str, cases: Sequence[str], classes: Sequence[str], metrics: Mapping[str, ArrayLike]) -> pd.DataFrame:
    """One row for each case, foreground class and metric.

    Args:
      run: names the run: arm, seed, rescaling factor.
      cases: names of the n cases.
      classes: names of all classes, the background's first; it has no rows.
      metrics: `name -> [n, classes - 1]`; NaN where undefined, which is kept as a row.

    Returns:
      The columns run, case, class, metric, value.

    Raises:
      DataError: an array does not fit the names, or a case's name comes twice.

    >>> table("sshn-0", ["a", "b"], ["background", "nucleus"], {"dice": [[0.9], [np.nan]]})
          run case    class metric  value
    0  sshn-0    a  nucleus   dice    0.9
    1  sshn-0    b  nucleus   dice    NaN
    """
    cases, foreground = [str(case) for case in cases], [str(name) for name in classes[1:]]
    if len(set(cases)) < len(cases):
        raise DataError(f"cases {sorted({case for case in cases if cases.count(case) > 1})} come more than once")
    parts = []
    for name, values in metrics.items():
        values = _fitting(name, values, cases, foreground)
        index = pd.MultiIndex.from_product([cases, foreground], names=["case", "class"])
        parts.append(pd.Series(values.ravel(), index, name="value").reset_index().assign(run=run, metric=name))
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)] if parts else pd.DataFrame(columns=list(COLUMNS))


def write_table(path: str | os.PathLike[str], frame: pd.DataFrame) -> None:
    """Writes `per_case.csv`, atomically; an undefined value is the word `nan`, so that no cell is empty.

    Args:
      path: the file.
      frame: from `table`; those of several runs are joined with `pandas.concat`.

    Raises:
      DataError: a column is missing.
    """
    if missing := [name for name in COLUMNS if name not in frame.columns]:
        raise DataError(f"the table has no columns {missing}; expected {list(COLUMNS)}")
    write_atomically(path, frame.to_csv(index=False, na_rep="nan"))


def summary(
    cells: Counts,
    cases: Sequence[str],
    classes: Sequence[str],
    *,
    extra: Mapping[str, ArrayLike] | None = None,
    files: Mapping[str, tuple[str, str]] | None = None,
) -> dict[str, Any]:
    """What nnU-Net's evaluation writes, from counts.

    Means are over the cases where a value is defined; the foreground's are means over the labels' means.

    Args:
      cells: `[n, classes - 1]`, from `hyperlab.metrics.segmentation.counts`.
      cases: names of the n cases.
      classes: names of all classes, the background's first; labels are keys "1", "2", ...
      extra: further metrics, `name -> [n, classes - 1]`, for instance `hd95_pooled`.
      files: `case -> (prediction file, reference file)`; by default the case's name stands for both.

    Raises:
      DataError: an array does not fit the names.

    >>> import jax.numpy as jnp
    >>> from hyperlab.metrics.segmentation import counts
    >>> cells = counts(jnp.array([[0, 1, 1, 1]]), jnp.array([[0, 0, 1, 1]]), 2)
    >>> summary(cells, ["a"], ["background", "nucleus"])["mean"]["1"]["n_ref"]
    2.0
    """
    cases, foreground = [str(case) for case in cases], [str(name) for name in classes[1:]]
    true_positive, false_positive, false_negative, true_negative = (np.asarray(part, float) for part in cells)
    columns = {
        "Dice": dice_of(cells),
        "FN": false_negative,
        "FP": false_positive,
        "IoU": iou_of(cells),
        "TN": true_negative,
        "TP": true_positive,
        "n_pred": true_positive + false_positive,
        "n_ref": true_positive + false_negative,
        **(extra or {}),
    }
    columns = {name: _fitting(name, values, cases, foreground) for name, values in columns.items()}
    labels = [str(k) for k in range(1, len(classes))]
    per_case = []
    for row, case in enumerate(cases):
        prediction, reference = (files or {}).get(case, (case, case))
        values = {
            label: {name: float(column[row, k]) for name, column in columns.items()} for k, label in enumerate(labels)
        }
        per_case.append({"metrics": values, "prediction_file": prediction, "reference_file": reference})
    mean = {label: {name: _mean(column[:, k]) for name, column in columns.items()} for k, label in enumerate(labels)}
    overall = {name: _mean([mean[label][name] for label in labels]) for name in columns}
    return {"foreground_mean": overall, "mean": mean, "metric_per_case": per_case}


def write_summary(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Writes `summary.json`, atomically; an undefined value is the word NaN, as nnU-Net and Python write it.

    Args:
      path: the file.
      content: from `summary`.
    """
    write_atomically(path, json.dumps(content, indent=4, sort_keys=True) + "\n")


def _fitting(name: str, values: ArrayLike, cases: list[str], foreground: list[str]) -> np.ndarray:
    values = np.asarray(values, float)
    if values.shape != (len(cases), len(foreground)):
        raise DataError(
            f"{name} has shape {values.shape}, expected ({len(cases)}, {len(foreground)}): "
            f"{len(cases)} cases, and the classes {foreground} without the background"
        )
    return values


def _mean(values: ArrayLike) -> float:
    known = np.asarray(values, float)
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else float("nan")
