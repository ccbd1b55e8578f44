"""The first screen of the uncertainty study's page: what came out, in sentences."""

from collections.abc import Mapping

import pandas as pd

from hyperlab.metrics import statistics
from hyperlab.report.sections import Contrasts
from hyperlab.studies.uncertainty import side_by_side
from hyperlab.studies.uncertainty.arms import leading
from hyperlab.studies.uncertainty.results import NAMES, Study
from hyperlab.studies.uncertainty.texts import formatted, interval, number

_QUESTIONS = {
    "dice": "Does {first} give better masks than {second}?",
    "error_detection": "Does the map of {first} find errors better than that of {second}?",
    "independence": "Are feature maps more independent with {first} than with {second}?",
    "likelihood": "Are probabilities better with {first} than with {second}?",
}


def findings(study: Study, compared: Contrasts, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """The sentences.

    Args:
      study: a finished study.
      compared: its contrasts.
      tables: `gains`, `acceptance`, `kinds` of `tables.py`.
    """
    sentences = side_by_side.findings(study)
    for family, named in compared.items():
        metric = family.split("/")[0]
        sentences += [_answer(study, metric, pair, one) for pair, one in named.items()]
    if len(tables["gains"]) and not side_by_side.sources(study):
        sentences.append(_gain(study, tables["gains"]))
    if len(tables["kinds"]):
        sentences.append(_kinds(study, tables["kinds"]))
    return [*sentences, _accepted(study, tables["acceptance"])]


def _answer(study: Study, metric: str, pair: str, one: statistics.Contrast) -> str:
    first, second = map(study.label, statistics.names_of(pair))
    words = {"better": "Yes", "worse": "No, the opposite"}
    verdict = words.get(one.verdict, one.verdict.capitalize()) + (f" ({one.label})" if one.label else "")
    return (
        f"{_QUESTIONS[metric].format(first=first, second=second)} {verdict}: "
        f"{interval(one.mean, one.low, one.high, '+.3g')} ({NAMES[metric]})."
    )


def _gain(study: Study, gains: pd.DataFrame) -> str:
    """What the map adds to scores that need no sampling."""
    arm = leading(study.several)
    rows = gains[(gains["arm"] == arm) & (gains["where"] == "band")].set_index("over")
    words = {"one_pass": "the entropy of one pass without dropout", "distance": "the distance to the boundary"}
    parts = []
    for over, trivial in words.items():
        row = rows.loc[over]
        adds = {"better": "adds to", "worse": "is worse than"}.get(row["verdict"], "does not separably add to")
        parts.append(f"{adds} {trivial} ({interval(row['mean'], row['low'], row['high'])})")
    return (
        f"In the band round the predicted boundary the {study.map(arm)} map of {study.label(arm)} "
        f"{' and '.join(parts)} in AUROC."
    )


def _kinds(study: Study, kinds: pd.DataFrame) -> str:
    """Whether maps are of the kind that they are called."""
    arm = leading(study.several)
    rows = kinds[kinds["arm"] == arm].set_index(["change", "map"])
    changes = {
        "share": "all training images in place of the fewest",
        "border": "the widest border in place of the sharpest",
    }
    parts = []
    for change, words in changes.items():
        if change not in rows.index:
            continue
        moved = [
            f"the {name} map by {interval(row['mean'], row['low'], row['high'])}"
            for name, row in rows.loc[change].iterrows()
        ]
        parts.append(f"{words} changes {' and '.join(moved)} nats")
    return (
        f"Are maps of the kind that they are called? With {study.label(arm)}, {'; '.join(parts)}. An epistemic map "
        "should fall with data and stay where borders are blurred, an aleatoric one the opposite."
    )


def _accepted(study: Study, acceptance: pd.DataFrame) -> str:
    """How many images could be accepted unseen."""
    arm = leading(study.arms)
    row = acceptance.set_index("arm").loc[arm]
    low, high, below = (formatted(row[name], ".0%") for name in ("coverage_low", "coverage_high", "below"))
    return (
        f"With {study.label(arm)}, a threshold from validation accepts {row['coverage']:.0%} of the test images unseen "
        f"({low} to {high} over images for the first seed); their mean Dice is {number(row['mean_dice'])} where "
        f"{row['target']:g} was asked for, and {below} of them are below it. The best order there is could accept "
        f"{row['oracle_coverage']:.0%}; accepted at random, the mean Dice would be {number(row['lot_mean_dice'])}."
    )
