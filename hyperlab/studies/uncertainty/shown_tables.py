"""The tables of the uncertainty study's page, as text, with what their columns are."""

import numpy as np
import pandas as pd

from hyperlab.studies.uncertainty import cells
from hyperlab.studies.uncertainty.arms import cells_of, find
from hyperlab.studies.uncertainty.cells import BASELINES, TEST
from hyperlab.studies.uncertainty.choosing import at
from hyperlab.studies.uncertainty.results import Study
from hyperlab.studies.uncertainty.texts import formatted, interval, mean, number, spread

_QUALITY = {
    "Dice": "dice",
    "IoU": "iou",
    "precision": "precision",
    "recall": "recall",
    "NLL": "nll",
    "Brier": "brier",
    "ECE top": "ece_top_label",
    "adaptive ECE top": "adaptive_top_label",
    "ECE top, foreground": "ece_top_label_foreground",
    "ECE marginal": "ece_marginal",
    "ECE top, tempered": "tempered/ece_top_label",
    "temperature": "temperature",
}


def quality(study: Study) -> tuple[pd.DataFrame, str]:
    """Masks and probabilities, of baselines too."""
    rows = []
    for baseline, label in BASELINES.items():
        row = {"arm": label}
        for name, measure in _QUALITY.items():
            values = study.baselines.get(f"{baseline}/{TEST}/pass/{measure}")
            row[name] = "-" if values is None else number(mean(values))
        rows.append(row)
    for arm in study.arms:
        cell = study.chosen(arm)
        name = study.label(arm) + (f", rate {cell.dropout_rate:g}" if cell.dropout_rate else "")
        rows.append({"arm": name} | {n: spread(study.value(cell, TEST, m)) for n, m in _QUALITY.items()})
    return pd.DataFrame(rows), (
        "Test split, means over seeds +- sample standard deviation. Arms that draw answer with the mean of "
        f"{max(study.config.draws)} draws, an ensemble with that of {study.config.members} networks. Brier over "
        "classes (binary: twice the one-channel form). ECE: expected calibration error, equal width; adaptive: equal "
        "mass; top: of the largest probability; marginal: of each foreground class; foreground: only pixels that are "
        "foreground in truth or prediction. The temperature of the mean probability was fitted to the validation split."
    )


def gains(study: Study, table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """What maps add to scores that need no sampling."""
    words = {"one_pass": "entropy of one pass", "distance": "minus the distance to the boundary"}
    shown = pd.DataFrame(
        {
            "arm": study.label(row.arm),
            "where": row.where,
            f"AUROC of {study.config.judging['map']}": number(row.auroc),
            "of": words[row.over],
            "AUROC of that": number(row.auroc_of_trivial),
            "gain": interval(row.mean, row.low, row.high) if np.isfinite(row.mean) else "-",
            "verdict": row.verdict if isinstance(row.verdict, str) else "-",
        }
        for row in table.itertuples()
    )
    return shown, (
        f"Errors of pixels over the image and in a band of {study.config.judging['band']:g} pixels, and of predicted "
        "objects (no true object with an IoU above one half). t intervals over seeds, described and not corrected for "
        "their number."
    )


def detection(study: Study) -> tuple[pd.DataFrame, str]:
    """How well maps order pixels, objects and images by their errors."""
    rows = []
    for arm in study.arms:
        cell, own = study.chosen(arm), study.map(arm)
        measures = {f"AUPR, {where}": f"aupr/{where}/{own}" for where in ("image", "band")}
        measures |= {f"excess AURC, {unit}s": f"excess_aurc/{unit}/{own}" for unit in ("pixel", "object", "image")}
        measures |= {"Spearman": f"spearman/{own}", "partial": f"partial_spearman/{own}"}
        row = {"arm": study.label(arm), "map": own}
        rows.append(row | {name: spread(study.value(cell, TEST, measure)) for name, measure in measures.items()})
    return pd.DataFrame(rows), (
        "Areas under risk-coverage curves above those of the best order, over other units each: not comparable "
        "between columns. Spearman: image score and Dice; partial: with the logarithm of the true area held fixed."
    )


def acceptance(study: Study, table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Images that could be accepted unseen."""
    shown = pd.DataFrame(
        {
            "arm": study.label(row.arm),
            "accepted": f"{row.coverage:.0%} +- {formatted(row.coverage_sd_over_seeds, '.0%')}",
            "over images, first seed": f"{formatted(row.coverage_low, '.0%')} to {formatted(row.coverage_high, '.0%')}",
            "their mean Dice": number(row.mean_dice),
            "of them below": formatted(row.below, ".0%"),
            "best order accepts": f"{row.oracle_coverage:.0%}",
            "mean Dice at random": number(row.lot_mean_dice),
            "below at random": formatted(row.lot_below, ".0%"),
        }
        for row in table.itertuples()
    )
    return shown, (
        f"The threshold is the largest score up to which the mean Dice of the validation images is "
        f"{study.config.judging['target']:g}, for every network by itself; test images were seen with it once. A mean "
        "of the accepted says nothing of each: so many are below."
    )


def matched(study: Study) -> tuple[pd.DataFrame, str]:
    """Arms at equal accuracy."""
    rows = []
    for arm in study.arms:
        cell = study.chosen(arm)
        cell = cell._replace(dropout_rate=study.choices[arm].get("matched_rate", cell.dropout_rate))
        row = {"arm": study.label(arm), "dropout rate": f"{cell.dropout_rate:g}"}
        names = {"dice": "Dice", "likelihood": "log likelihood", "error_detection": "AUROC in the band"}
        row |= {words: spread(study.metric(cell, name)) for name, words in names.items()}
        rows.append(row | {"mean |correlation|": spread(study.correlation(cell))})
    return pd.DataFrame(rows), "The same arms where their validation Dice is nearest to that of spatial dropout."


def arms(study: Study) -> tuple[pd.DataFrame, str]:
    """What the arms are, and what was tried."""
    rows = []
    for arm in study.arms:
        choice, learner = study.choices[arm], find(arm).learner
        for cell in cells_of(arm, study.config):
            one = at(study.choices, cell)
            rows.append(
                {
                    "arm": choice["label"],
                    "dropout rate": cell.rate_key,
                    "learning rate": f"{one['learning_rate']:.3g}{' (edge of its grid)' if one['at_edge'] else ''}",
                    "trials": f"as {study.label(learner)}" if learner else str(one["trials"]),
                    "validation NLL": number(one["nll"]),
                    "validation Dice": number(one["dice"]),
                    "chosen": "yes" if cell == study.chosen(arm) else "",
                    "definition": choice["definition"],
                    "source": choice["source"],
                }
            )
    return pd.DataFrame(rows), (
        "Dropout and learning rates were chosen by the likelihood of the validation split on tuning seeds."
    )


def data_notes(study: Study) -> list[str]:
    """What was done to the data, and what of them is empty or of another kind."""
    sentences = list(study.data["notes"])
    counts = {name: count for name, count in study.data["empty"].items() if count}
    if counts:
        listed = ", ".join(f"{count} of {study.data['parts'][name]} in {name}" for name, count in counts.items())
        sentences.append(
            f"Images without any object: {listed}. Their Dice is undefined where nothing was predicted, and 0 "
            "otherwise."
        )
    for part, kind in cells.others(study.config.data):
        values = ", ".join(
            f"{study.label(arm)} {mean(study.value(study.chosen(arm), part, 'dice')):.2f}" for arm in study.arms
        )
        sentences.append(
            f"Images of the kind {kind!r} are another world than those that were trained on, and are shown, not "
            f"scored: Dice {values}. Their mean intensity alone tells them apart."
        )
    return sentences
