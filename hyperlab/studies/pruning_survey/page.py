"""The page about the survey of pruning papers: published statistics, recomputed from its sheets."""

from pathlib import Path

import pandas as pd

from hyperlab.data.published import Survey
from hyperlab.report.page import Page
from hyperlab.report.tables import write_table
from hyperlab.studies.pruning_survey import figures, results


def write(survey: Survey, out: Path) -> Path:
    """Recomputes the statistics and writes `report.html`, `statistics.csv`, `comparisons.csv` and the figures.

    Args:
      survey: of `read_survey`.
      out: the folder, made where it is missing.

    Returns:
      The path of the page.
    """
    out.mkdir(parents=True, exist_ok=True)
    found = results.recompute(survey)
    table = results.beside_published(found)
    claimed = results.claimed_comparisons(survey)
    write_table(out / "statistics.csv", table)
    write_table(out / "comparisons.csv", claimed)
    others = [results.frequent_pairs(survey), results.venues(survey), results.curve_rows(survey)]
    page = Page("What is the state of neural network pruning? The survey's numbers, recomputed")
    page.paragraph(_lead(table, others), "lead")
    page.findings(_findings(found))
    page.figure(
        figures.comparisons(survey, out / "comparisons.png"),
        "Left: to how many other papers of the corpus a paper compares. Right: rows that a paper reports on one of the "
        "seven standard networks.",
    )
    page.heading("Counts")
    page.table(table, "Published numbers are what the paper states, or what was counted on the same sheets before.")
    differ = set(table.loc[table["agrees"] == "no", "quantity"])
    if differ & set(results.HULL_COUNTS):
        page.paragraph(results.HULL_FAULT, "note")
    page.heading("Networks that at least four papers use")
    page.table(others[0], "Papers a (data set, architecture) pair.")
    page.heading("Venues with at least three papers")
    page.table(others[1])
    page.heading("Rows that could be points of a curve")
    page.table(others[2], "Rows with an accuracy and a size or speed; in brackets how many papers.")
    page.heading("Does a paper beat what it says to compare to?")
    page.paragraph(
        "For each claimed comparison on one network, axis (compression or theoretical speedup) and metric (Top-1 or "
        "Top-5): the Pareto front of the paper's points against the concave hull of the other's. Points outside the "
        "other's range are incomparable, unless one dominates the other."
    )
    page.table(_dominance(claimed))
    drawn = figures.trade_offs(survey, out / "trade_offs.png")
    if drawn:
        page.heading("What was published")
        page.figure(drawn, "Change of Top-1 from the same paper's unpruned network; one line a paper and variant.")
    page.heading("The sheets")
    page.table(results.sheet_sizes(survey), f"Read from {survey.folder.name}/.")
    page.paragraph(
        "Data: Blalock, Gonzalez Ortiz, Frankle and Guttag (2020), arXiv 2003.03033; sheets of JJGO/shrinkbench, MIT "
        "licence, copyright 2019 Jose Javier Gonzalez Ortiz.",
        "note",
    )
    return page.write(out / "report.html")


def _lead(table: pd.DataFrame, others: list[pd.DataFrame]) -> str:
    everything = pd.concat([table["agrees"], *(frame["agrees"] for frame in others)])
    agree, differ = int((everything == "yes").sum()), list(table.loc[table["agrees"] == "no", "quantity"])
    text = f"{agree} of {len(everything)} published numbers come out again."
    return text + (f" These do not: {'; '.join(differ)}." if differ else "")


def _findings(found: dict) -> list[str]:
    papers, curves = found["papers"], found["curves on standard pairs"]
    few = found["of these with at most three points"]
    lonely = found["papers that compare to at most one"]
    return [
        f"{lonely} of {papers} papers ({_share(lonely, papers)}) compare to at most one other paper, and "
        f"{found['papers that no other compares to']} are never compared to.",
        f"{few} of {curves} curves ({_share(few, curves)}) on standard networks have at most three points.",
        f"{found['pairs used by one paper']} of {found['(data set, architecture) pairs']} networks are used by one "
        "paper alone.",
        f"In {found['comparisons with a dominating point']} of {found['comparisons that papers claim']} claimed "
        "comparisons, at least one point dominates the other paper.",
    ]


def _dominance(claimed: pd.DataFrame) -> pd.DataFrame:
    """Claimed comparisons a network, and in how many each outcome occurs."""
    network = claimed["dataset"] + " / " + claimed["architecture"]
    outcomes = ["dominant", "above", "incomparable", "below", "dominated"]
    counts = (claimed[outcomes] > 0).groupby(network).sum()
    counts.loc["all"] = (claimed[outcomes] > 0).sum()
    counts.insert(0, "comparisons", [*network.groupby(network).size(), len(claimed)])
    return counts.rename_axis("with at least one point that is").reset_index()


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "-"
