"""The published numbers about the survey of pruning papers, recomputed from its sheets.

`PUBLISHED` holds what the survey states or what was counted on its sheets before; `recompute` counts anew. Where the
two disagree, the page says so: neither is adjusted to the other.

(Blalock, Gonzalez Ortiz, Frankle, Guttag, 2020, "What is the state of neural network pruning?", arXiv 2003.03033.)
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from hyperlab.data.published import Survey, imputation, operating_points
from hyperlab.data.published.survey import SHEETS, UNKNOWN
from hyperlab.studies.pruning_survey.dominance import comparisons

# The seven networks on which enough papers report to compare them.
STANDARD = (
    ("ImageNet", "VGG-16"), ("ImageNet", "CaffeNet"), ("ImageNet", "AlexNet"), ("ImageNet", "ResNet-18"),
    ("ImageNet", "ResNet-34"), ("ImageNet", "ResNet-50"), ("CIFAR-10", "ResNet-56"),
)  # fmt: skip
# For dominance, AlexNet and CaffeNet are one.
COMPARED = (*(pair for pair in STANDARD if pair[1] not in ("AlexNet", "CaffeNet")), ("ImageNet", imputation.POOLED))
NOT_REVIEWED = ("arXiv", "OpenReview", "CVPR Workshops")
NO_PROPOSAL = ("lottery-ticket-followup",)
LEAST_ACCURACY = 0.5
FEW_PAPERS, FEW_POINTS = 4, 3
PAPER, SHEET, PROGRAM = "the paper", "counted on the sheets", "the survey's program on the sheets"
_ACCURACY = ("Err1", "Err5", "Top1", "dTop1", "Top5", "dTop5")
_SIZE = ("MParams", "savedParams", "keptParams", "GFLOPS", "savedFLOPS", "keptFLOPS", "old/new Nparam", "old/new FLOPS")

# quantity -> (value, where it comes from)
PUBLISHED: dict[str, tuple[float | str, str]] = {
    "rows of results": (551, SHEET),
    "papers": (81, PAPER),
    "data sets": (49, PAPER),
    "architectures": (132, PAPER),
    "(data set, architecture) pairs": (195, PAPER),
    "pairs used by one paper": (152, PROGRAM),
    "pairs used by more": (43, PROGRAM),
    "pairs before exclusions": (196, SHEET),
    "papers with the most frequent pair": (22, SHEET),
    "median number of pairs a paper, without MNIST": (3, SHEET),
    "papers with a pair beside MNIST": (78, SHEET),
    "papers that compare to no other": (21, SHEET),
    "papers that compare to at most one": (43, SHEET),
    "papers that compare to at most three": (64, SHEET),
    "papers that no other compares to": (33, SHEET),
    "curves on standard pairs": (82, SHEET),
    "of these with at most three points": (64, SHEET),
    "first paper": ("1990-12", SHEET),
    "last paper": ("2019-6", SHEET),
    "peer-reviewed papers": (57, SHEET),
    "rows with a standard deviation of Top-1": (16, SHEET),
    "papers with a standard deviation of Top-1": (1, SHEET),
    "rows that state a number of trials": (40, SHEET),
    "rows with an accuracy": (273, SHEET),
    "rows with a size or a speed": (272, SHEET),
    "rows with both": (269, SHEET),
    "papers with both": (42, SHEET),
    "rows that can be drawn": (228, PROGRAM),
    "papers that can be drawn": (40, PROGRAM),
    "comparisons that papers claim": (139, PROGRAM),
    "comparisons with a dominating point": (71, PROGRAM),
    "comparisons with a dominated point": (22, PROGRAM),
    "comparisons with a point above the curve": (8, PROGRAM),
    "comparisons with a point below the curve": (3, PROGRAM),
}
# Why a correct count of these differs from the published one: with the fault put back, both agree.
HULL_COUNTS = ("comparisons with a dominated point", "comparisons with a point below the curve")
HULL_FAULT = (
    "The survey's program takes slopes of the hull between points that it has removed already, and so ends with other "
    "vertices. With that fault put back, the counts of dominated points and of points below the curve are the "
    "published 22 and 3; slopes of the hull here fall from left to right."
)
VENUES = {"arXiv": 22, "NIPS": 16, "ICLR": 11, "CVPR": 9, "ICML": 4, "ECCV": 4, "BMVC": 3}
FREQUENT_PAIRS = {
    ("ImageNet", "VGG-16"): 22, ("ImageNet", "ResNet-50"): 15, ("CIFAR-10", "ResNet-56"): 14,
    ("MNIST", "LeNet-5-Caffe"): 14, ("MNIST", "LeNet-300-100"): 12, ("MNIST", "LeNet-5"): 12,
    ("ImageNet", "CaffeNet"): 11, ("ImageNet", "AlexNet"): 8, ("CIFAR-10", "VGG-Torch-CIFAR10"): 8,
    ("ImageNet", "ResNet-18"): 6, ("ImageNet", "ResNet-34"): 6, ("CIFAR-10", "ResNet-110"): 5,
    ("CIFAR-10", "ResNet-32"): 4, ("CIFAR-10", "PreResNet-164"): 4,
}  # fmt: skip
CURVE_ROWS = {  # rows (papers)
    ("ImageNet", "VGG-16"): (57, 19), ("ImageNet", "CaffeNet"): (40, 9), ("ImageNet", "AlexNet"): (17, 6),
    ("ImageNet", "ResNet-18"): (10, 5), ("ImageNet", "ResNet-34"): (13, 6), ("ImageNet", "ResNet-50"): (42, 15),
    ("CIFAR-10", "ResNet-56"): (30, 13),
}  # fmt: skip
SHEET_SIZES = {
    "results": (551, 29), "papers": (81, 11), "models": (153, 10), "datasets": (52, 5), "venues": (19, 4),
}  # fmt: skip


def recompute(survey: Survey) -> dict[str, float | str]:
    """Every quantity of `PUBLISHED`, counted on the sheets."""
    results, papers = survey.results, survey.papers
    kept = imputation.proposals(imputation.with_labels(results, papers))
    used = known_pairs(kept)
    by_paper = papers_by_pair(kept)
    beside_mnist = results[results["Dataset"] != "MNIST"]
    pairs_a_paper = beside_mnist.groupby("Paper")[["Dataset", "Model"]].apply(lambda own: len(own.drop_duplicates()))
    degrees = pd.Series({paper: len(others) for paper, others in compares_to(papers).items()})
    compared = set().union(*compares_to(papers).values())
    points_a_curve = curve_lengths(results)
    accuracy, size = filled(results, _ACCURACY), filled(results, _SIZE)
    drawn = operating_points(survey)
    claimed = claimed_comparisons(survey)
    dates = papers["Date"].map(month)
    return {
        "rows of results": len(results),
        "papers": len(papers),
        "data sets": used["Dataset"].nunique(),
        "architectures": used["Model"].nunique(),
        "(data set, architecture) pairs": len(by_paper),
        "pairs used by one paper": int((by_paper == 1).sum()),
        "pairs used by more": int((by_paper > 1).sum()),
        "pairs before exclusions": len(papers_by_pair(results)),
        "papers with the most frequent pair": int(papers_by_pair(results).max()),
        "median number of pairs a paper, without MNIST": float(pairs_a_paper.median()),
        "papers with a pair beside MNIST": len(pairs_a_paper),
        "papers that compare to no other": int((degrees == 0).sum()),
        "papers that compare to at most one": int((degrees <= 1).sum()),
        "papers that compare to at most three": int((degrees <= 3).sum()),
        "papers that no other compares to": len(set(papers["Name"]) - compared),
        "curves on standard pairs": len(points_a_curve),
        "of these with at most three points": int((points_a_curve <= FEW_POINTS).sum()),
        "first paper": papers["Date"].loc[dates.idxmin()],
        "last paper": papers["Date"].loc[dates.idxmax()],
        "peer-reviewed papers": int((~papers["Venue"].isin(NOT_REVIEWED)).sum()),
        "rows with a standard deviation of Top-1": int((results["stdTop1"] != "").sum()),
        "papers with a standard deviation of Top-1": results.loc[results["stdTop1"] != "", "Paper"].nunique(),
        "rows that state a number of trials": int((results["NumTrials"] != "").sum()),
        "rows with an accuracy": int(accuracy.sum()),
        "rows with a size or a speed": int(size.sum()),
        "rows with both": int((accuracy & size).sum()),
        "papers with both": results.loc[accuracy & size, "Paper"].nunique(),
        "rows that can be drawn": drawn["row"].nunique(),
        "papers that can be drawn": drawn["paper"].nunique(),
        "comparisons that papers claim": len(claimed),
        "comparisons with a dominating point": int((claimed["dominant"] > 0).sum()),
        "comparisons with a dominated point": int((claimed["dominated"] > 0).sum()),
        "comparisons with a point above the curve": int((claimed["above"] > 0).sum()),
        "comparisons with a point below the curve": int((claimed["below"] > 0).sum()),
    }


def beside_published(found: Mapping[str, float | str]) -> pd.DataFrame:
    """One row a quantity: published, recomputed, and whether they agree.

    >>> table = beside_published({name: value for name, (value, _) in PUBLISHED.items()} | {"papers": 80})
    >>> table[table["agrees"] == "no"][["quantity", "published", "recomputed"]].to_numpy().tolist()
    [['papers', '81', '80']]
    """
    rows = [
        {"quantity": name, "published": _text(value), "recomputed": _text(found[name]),
         "agrees": "yes" if found[name] == value else "no", "published by": origin}
        for name, (value, origin) in PUBLISHED.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def frequent_pairs(survey: Survey) -> pd.DataFrame:
    """Pairs that at least four papers use, with the published counts."""
    counts = papers_by_pair(survey.results)
    names = {*FREQUENT_PAIRS, *counts.index[counts >= FEW_PAPERS]}
    rows = [(*pair, FREQUENT_PAIRS.get(pair), int(counts.get(pair, 0))) for pair in names]
    frame = pd.DataFrame(rows, columns=["data set", "architecture", "published", "recomputed"])
    frame["agrees"] = np.where(frame["published"] == frame["recomputed"], "yes", "no")
    return frame.sort_values(["recomputed", "data set", "architecture"], ascending=[False, True, True])


def venues(survey: Survey) -> pd.DataFrame:
    """Papers a venue, with the published counts where there are any (of venues with three papers and more)."""
    counts = survey.papers["Venue"].value_counts()
    rows = [(venue, VENUES.get(venue), int(counts.get(venue, 0))) for venue in {*VENUES, *counts.index[counts >= 3]}]
    frame = pd.DataFrame(rows, columns=["venue", "published", "recomputed"])
    frame["agrees"] = np.where(frame["published"] == frame["recomputed"], "yes", "no")
    return frame.sort_values(["recomputed", "venue"], ascending=[False, True])


def sheet_sizes(survey: Survey) -> pd.DataFrame:
    """Rows and columns of the five sheets, beside those of the survey."""
    rows = []
    for key, name in SHEETS.items():
        frame, expected = getattr(survey, key), SHEET_SIZES[key]
        found = "not there" if frame is None else "{} x {}".format(*frame.shape)
        same = "-" if frame is None else ("yes" if frame.shape == expected else "no")
        rows.append((name, "{} x {}".format(*expected), found, same))
    return pd.DataFrame(rows, columns=["sheet", "published", "found", "agrees"])


def compares_to(papers: pd.DataFrame) -> dict[str, set[str]]:
    """The papers of the corpus that each paper says to compare to."""
    keys = set(papers["Name"])
    named = papers["Compares To"].map(lambda text: {key.strip() for key in text.split(",")})
    return {paper: (others & keys) - {paper} for paper, others in zip(papers["Name"], named, strict=True)}


def claimed_comparisons(survey: Survey) -> pd.DataFrame:
    """What comes of the comparisons that papers claim, on six networks, by both axes and both metrics.

    As in the survey's program, rows with a Top-1 under one half are left out, and so is a study of lottery tickets that
    proposes no method of its own.
    """
    points = operating_points(survey, pool_alexnet=True)
    poor = points.loc[(points["metric"] == "top1") & (points["mean"] < LEAST_ACCURACY), "row"]
    out = points["row"].isin(poor) | points["paper"].isin(NO_PROPOSAL)
    return comparisons(
        points[~out & on_pairs(points["dataset"], points["architecture"], COMPARED)], compares_to(survey.papers)
    )


def curve_rows(survey: Survey) -> pd.DataFrame:
    """Rows and papers of the standard pairs in which both an accuracy and a size or speed are filled in."""
    results = survey.results
    both = results[filled(results, _ACCURACY) & filled(results, _SIZE)]
    counts = both.groupby(["Dataset", "Model"])["Paper"].agg(["size", "nunique"])
    rows = []
    for pair, (published_rows, published_papers) in CURVE_ROWS.items():
        size, papers = map(int, counts.loc[pair]) if pair in counts.index else (0, 0)
        same = (size, papers) == (published_rows, published_papers)
        published, found = f"{published_rows} ({published_papers})", f"{size} ({papers})"
        rows.append((*pair, published, found, "yes" if same else "no"))
    return pd.DataFrame(rows, columns=["data set", "architecture", "published", "recomputed", "agrees"])


def known_pairs(results: pd.DataFrame) -> pd.DataFrame:
    """The rows with a known data set and architecture."""
    return results[(results["Dataset"] != UNKNOWN) & (results["Model"] != UNKNOWN)]


def papers_by_pair(results: pd.DataFrame) -> pd.Series:
    """How many papers use each known (data set, architecture) pair."""
    return known_pairs(results).groupby(["Dataset", "Model"])["Paper"].nunique()


def curve_lengths(results: pd.DataFrame) -> pd.Series:
    """Rows of each paper on each standard pair."""
    standard = results[on_pairs(results["Dataset"], results["Model"], STANDARD)]
    return standard.groupby(["Paper", "Dataset", "Model"]).size()


def on_pairs(datasets: pd.Series, architectures: pd.Series, pairs) -> pd.Series:
    """Which rows are on one of the pairs."""
    return pd.Series([pair in pairs for pair in zip(datasets, architectures, strict=True)], datasets.index, dtype=bool)


def filled(results: pd.DataFrame, columns) -> pd.Series:
    """Rows in which one of the columns is not empty."""
    return (results[list(columns)] != "").any(axis=1)


def month(date: str) -> int:
    """ "2019-6" as months since year 0, for sorting."""
    year, _, of_year = date.partition("-")
    return int(year) * 12 + int(of_year or 1)


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"
