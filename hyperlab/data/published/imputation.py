"""How the survey's sheet of results becomes numbers that can be drawn: small steps on a table, in a fixed order.

The order is that of the survey's authors (Blalock et al., 2020, arXiv 2003.03033). Differences to their program:
an original accuracy is the accuracy *less* its change, the number of trials stays unknown where a paper does not state
it, and a stated ratio old over new is used where nothing else gives the share that is kept.
"""

from typing import Any

import numpy as np
import pandas as pd

from hyperlab.errors import DataError

PERCENT = (
    "Err1", "Err5", "Top1", "stdTop1", "dTop1", "Top5", "dTop5", "savedParams", "keptParams", "savedFLOPS", "keptFLOPS",
    "OrigTop1", "stdOrigTop1", "OrigTop5", "OrigErr1", "OrigErr5",
)  # fmt: skip
PLAIN = ("MParams", "GFLOPS", "OrigMParams", "OrigGFLOPS", "old/new Nparam", "old/new FLOPS")
# Baselines that a paper ran again for comparison, by label.
REPRODUCED = ("Gale 2019, Magnitude", "Gale 2019, SparseVD", "Gale 2019, HardConcrete", "Liu 2019, Magnitude")
# Its densities and speedups weigh layers by measured time: they compare with nobody else's.
INCOMPARABLE_PAPERS = ("lempitsky-fast-convnets",)
# Of one paper: variants that change the architecture, and one that stands at another paper's very size.
INCOMPARABLE_METHODS = ("Spec-GAP", "Spec-GAP2", "Spec-GAPe", "Spec-Tiny", "Spec-Conv2")
POOLED = "Alex/CaffeNet"


def impute(results: pd.DataFrame, papers: pd.DataFrame) -> pd.DataFrame:
    """All steps but the exclusions, on the sheets as text.

    Args:
      results: the sheet of results.
      papers: the sheet of papers.

    Returns:
      The results with numbers for text, and the columns `Compression`, `Speedup`, `PrettyName`, `Label`, `Year`.
    """
    return with_labels(with_ratios(with_changes(with_accuracies(to_numbers(results)))), papers)


def to_numbers(results: pd.DataFrame) -> pd.DataFrame:
    """Step 1: per cent to fractions, and numbers for text; empty cells are NaN.

    Raises:
      DataError: a cell is no number, or one of per cent has no per cent sign.

    >>> cells = {name: [""] for name in (*PERCENT, *PLAIN, "NumTrials", "Name")}
    >>> table = to_numbers(pd.DataFrame({**cells, "Top1": ["93.5%"], "MParams": ["0.85"]}))
    >>> float(table["Top1"].iloc[0]), float(table["MParams"].iloc[0])
    (0.935, 0.85)
    """
    numbers = {}
    for name in (*PERCENT, *PLAIN, "NumTrials"):
        text = results[name].astype(str).str.strip()
        per_cent = name in PERCENT
        value = pd.to_numeric(text.str.removesuffix("%").replace("", np.nan), errors="coerce")
        wrong = (text != "") & (value.isna() | (text.str.endswith("%") != per_cent))
        if wrong.any():
            where = int(np.flatnonzero(wrong)[0])
            given = f"results row {results['Name'].iloc[where]!r}, column {name!r}: {text.iloc[where]!r}"
            raise DataError(f"{given}, expected a number {'with' if per_cent else 'without'} a per cent sign")
        numbers[name] = value / 100 if per_cent else value.astype(float)
    return results.assign(**numbers)


def with_accuracies(results: pd.DataFrame) -> pd.DataFrame:
    """Step 2: an accuracy that is missing is 1 less the error, of the pruned and of the original network."""
    names = {"Top1": "Err1", "Top5": "Err5", "OrigTop1": "OrigErr1", "OrigTop5": "OrigErr5"}
    return results.assign(**{top: results[top].fillna(1 - results[error]) for top, error in names.items()})


def with_changes(results: pd.DataFrame) -> pd.DataFrame:
    """Step 3: change = accuracy - original accuracy where both are known, else as stated; negative is a loss.

    What is still missing of the two accuracies then follows from the change.

    >>> table = pd.DataFrame({"Top1": [0.70, 0.70], "OrigTop1": [0.72, np.nan], "dTop1": [np.nan, -0.01],
    ...                       "Top5": [np.nan] * 2, "OrigTop5": [np.nan] * 2, "dTop5": [np.nan] * 2})
    >>> with_changes(table)[["dTop1", "OrigTop1"]].round(3).to_numpy().tolist()
    [[-0.02, 0.72], [-0.01, 0.71]]
    """
    columns: dict[str, Any] = {}
    for top in ("Top1", "Top5"):
        accuracy, original = results[top], results[f"Orig{top}"]
        change = (accuracy - original).fillna(results[f"d{top}"])
        columns |= {top: accuracy.fillna(original + change), f"Orig{top}": original.fillna(accuracy - change)}
        columns[f"d{top}"] = change
    return results.assign(**columns)


def with_ratios(results: pd.DataFrame) -> pd.DataFrame:
    """Step 4: shares of parameters and of multiply-adds kept, and from them compression and theoretical speedup.

    The share is new over original where both are known, else as stated, else 1 less what is saved, else 1 over the
    stated ratio. A share of 0 or below has no ratio.
    """
    columns: dict[str, Any] = {}
    for size, suffix, stated, ratio in (
        ("MParams", "Params", "old/new Nparam", "Compression"),
        ("GFLOPS", "FLOPS", "old/new FLOPS", "Speedup"),
    ):
        kept = results[size] / results[f"Orig{size}"]
        for other in (results[f"kept{suffix}"], 1 - results[f"saved{suffix}"], 1 / results[stated]):
            kept = kept.fillna(other)
        kept = kept.where(kept > 0)
        columns |= {f"kept{suffix}": kept, ratio: 1 / kept}
    return results.assign(**columns)


def with_labels(results: pd.DataFrame, papers: pd.DataFrame) -> pd.DataFrame:
    """Step 5: `PrettyName` is "Author Year", `Label` the same with the variant where a paper has several.

    >>> papers = pd.DataFrame({"Name": ["p"], "Date": ["2031-7"], "AuthorName": ["Doe"]})
    >>> with_labels(pd.DataFrame({"Paper": ["p", "p"], "Method": ["", "B"]}), papers)["Label"].tolist()
    ['Doe 2031', 'Doe 2031, B']
    """
    by_key = papers.set_index("Name")
    year = by_key["Date"].str.split("-").str[0]
    pretty = results["Paper"].map(by_key["AuthorName"] + " " + year)
    label = pretty.where(results["Method"] == "", pretty + ", " + results["Method"])
    return results.assign(PrettyName=pretty, Label=label, Year=pd.to_numeric(results["Paper"].map(year)))


def proposals(results: pd.DataFrame) -> pd.DataFrame:
    """Step 6: leaves out reproduced baselines and what the survey's authors found not to be comparable."""
    out = results["Label"].isin(REPRODUCED) | results["Paper"].isin(INCOMPARABLE_PAPERS)
    return results[~(out | results["Method"].isin(INCOMPARABLE_METHODS))]


def with_pooled_alexnet(results: pd.DataFrame) -> pd.DataFrame:
    """Step 7: rows of AlexNet and CaffeNet, which papers rarely tell apart, once more under a name for both."""
    alike = results[results["Model"].isin(("AlexNet", "CaffeNet"))]
    return pd.concat([results, alike.assign(Model=POOLED)], ignore_index=True)
