"""Made-up sheets in the layout of the survey of pruning papers. No number in here was ever published."""

import csv

from hyperlab.data.published.survey import RESULT_COLUMNS, SHEETS

PAPERS = (
    {"Name": "ash", "Date": "2031-2", "AuthorName": "Ash", "Venue": "arXiv"},
    {"Name": "birch", "Date": "2032-11", "AuthorName": "Birch", "Venue": "ICML", "Compares To": "ash,elsewhere"},
    {"Name": "cedar", "Date": "2033-1", "AuthorName": "Cedar", "Venue": "ICML", "Compares To": "ash, birch"},
    {"Name": "lempitsky-fast-convnets", "Date": "2030-6", "AuthorName": "Oak", "Venue": "CVPR Workshops"},
)
VGG = {"Dataset": "ImageNet", "Model": "VGG-16"}
RESULTS = (
    {"Paper": "ash", **VGG, "Top1": "70.0%", "OrigTop1": "72.0%", "MParams": "10", "OrigMParams": "20"},
    {"Paper": "ash", **VGG, "Err1": "31.0%", "OrigErr1": "28.0%", "keptParams": "25.00%"},
    {"Paper": "birch", **VGG, "Method": "B1", "dTop1": "-1.000%", "savedParams": "50.00%", "savedFLOPS": "75.00%"},
    {"Paper": "birch", **VGG, "Method": "B1", "dTop1": "-2.000%", "old/new Nparam": "4.00"},
    {"Paper": "birch", "Dataset": "MNIST", "Model": "LeNet-5", "NumTrials": "3", "Top1": "99.0%", "stdTop1": "0.10%"},
    {"Paper": "cedar", "Dataset": "ImageNet", "Model": "CaffeNet", "dTop5": "0.500%", "old/new FLOPS": "3.000"},
    {"Paper": "cedar", **VGG, "dTop1": "-5.000%", "savedParams": "75.00%"},
    {"Paper": "cedar", "Dataset": "???", "Model": "CedarNet"},
    {
        "Paper": "lempitsky-fast-convnets",
        "Dataset": "ImageNet",
        "Model": "CaffeNet",
        "dTop1": "-1%",
        "keptParams": "9%",
    },
)
PAPER_COLUMNS = ("Name", "Date", "AuthorName", "Venue", "BibTeX", "Notes", "Compares To", "Models", "Datasets")


def write(folder, results=RESULTS, papers=PAPERS, drop=()):
    """Writes the two required sheets; `drop` names columns to leave out."""
    folder.mkdir(parents=True, exist_ok=True)
    numbered = [{"Name": str(100 + place), **row} for place, row in enumerate(results)]
    for key, rows, columns in (("results", numbered, RESULT_COLUMNS), ("papers", papers, PAPER_COLUMNS)):
        with open(folder / SHEETS[key], "w", newline="") as handle:
            writer = csv.DictWriter(handle, [c for c in columns if c not in drop], restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
    return folder
