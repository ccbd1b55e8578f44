"""The report of the uncertainty study, made from its run folder alone: tables, figures, `report.html`."""

from pathlib import Path

import numpy as np
import pandas as pd

from hyperlab.metrics import statistics
from hyperlab.report import sections
from hyperlab.report.page import Page
from hyperlab.report.tables import write_table
from hyperlab.studies.uncertainty import figures as draw
from hyperlab.studies.uncertainty import find
from hyperlab.studies.uncertainty import results as measured
from hyperlab.studies.uncertainty import sources as doubt
from hyperlab.studies.uncertainty.baselines import FLOORS

number = sections.number


def write(folder: Path) -> Path:
    """Writes `report.html`, figures, and tables as CSV.

    Tables are `results`, `contrasts`, `gains`, `acceptance`, `shifts`, `kinds`, `sources`.
    """
    folder = Path(folder)
    study = measured.read(folder)
    write_table(folder / "results.csv", measured.results(study))
    compared = measured.contrasts(study)
    write_table(folder / "contrasts.csv", sections.contrast_rows(compared, "of"))
    tables = {name: getattr(measured, name)(study) for name in ("gains", "acceptance", "shifts", "kinds")}
    for name, table in tables.items():
        write_table(folder / f"{name}.csv", table)
    write_table(folder / "sources.csv", doubt.table(study))
    figures = draw.all_figures(folder / "figures", study, compared)
    return _page(folder, study, compared, tables, figures).write(folder / "report.html")


def _page(folder: Path, study: measured.Study, compared, tables, figures) -> Page:
    config, data = study.config, study.data
    asked = "which source of doubt knows best" if doubt.sources(study) else "does dropping whole channels help it know"
    page = Page(f"Does a segmentation network know where it is wrong, and {asked}?")
    page.paragraph(
        f"{data['name']}, images of {' x '.join(map(str, data['shape']))}, {data['sizes']['train']} to train on, "
        f"{data['sizes']['validation']} to choose on, {data['sizes']['test']} to report; a U-Net of "
        f"{data['parameters']:,} parameters, {data['steps']} steps; {config.report_seeds} fresh seeds"
        f"{sections.look(config.report_seeds)}. Results of this library; the malaria paper's "
        "numbers (Soleimany et al., 2019, arXiv 1912.00262) are not known, and nothing here reproduces them.",
        "lead",
    )
    page.findings(_findings(study, compared, tables))
    for name in ("sources", "maps"):
        if name in figures:
            page.figure(*figures[name])
    page.heading("Every arm side by side, and what it costs")
    page.table(doubt.shown(study), doubt.note(study))
    page.heading("Segmentation and probabilities")
    page.table(_quality(study), _quality_note(study))
    page.figure(*figures["calibration"])
    if compared:
        page.heading("Contrasts, named before the study ran")
        page.figure(*figures["contrasts"])
        page.table(
            sections.contrast_table(compared, "of"),
            "Higher is better. error_detection: AUROC of pixel errors inside the band round the predicted boundary; "
            "independence: 1 - mean |correlation| between feature maps. Each arm at the dropout rate that the "
            "likelihood of the validation split chose.",
        )
    page.heading("Does the map find errors?")
    if len(tables["gains"]):
        page.table(_gains(study, tables["gains"]), _gains_note(study))
    page.table(
        _detection(study),
        "Areas under risk-coverage curves above those of the best order, over other units each: not comparable "
        "between columns. Spearman: image score and Dice; partial: with the logarithm of the true area held fixed.",
    )
    page.figure(*figures["score"])
    page.heading("Accepting images unseen")
    page.table(_acceptance(study, tables["acceptance"]), _acceptance_note(study))
    page.figure(*figures["coverage"])
    if "shifts" in figures:
        page.heading("Shifts away from the domain")
        page.figure(*figures["shifts"])
        page.paragraph(
            "Where the mean intensity or the predicted area tells shifted images as well as the map does, the map was "
            "not needed for it.",
            "note",
        )
    page.heading("Dropout rates, draws, feature maps")
    for name in ("rates", "draws", "features", "kinds"):
        if name in figures:
            page.figure(*figures[name])
    page.table(_matched(study), "The same arms where their validation Dice is nearest to that of spatial dropout.")
    page.heading("What the arms are, and what was tried")
    page.table(
        _arms(study),
        "Dropout and learning rates were chosen by the likelihood of the validation split on tuning seeds.",
    )
    page.heading("Data")
    for sentence in (*data["notes"], *_empty(study), *_other(study)):
        page.paragraph(sentence, "note")
    page.heading("How to reproduce this")
    page.code(sections.reproduce(folder))
    return page


# -- the first screen ---------------------------------------------------------------------------------------------


def _findings(study: measured.Study, compared, tables) -> list[str]:
    sentences = doubt.findings(study)
    for family, named in compared.items():
        metric = family.split("/")[0]
        for pair, one in named.items():
            first, second = (study.label(arm) for arm in pair.split(" - "))
            sentences.append(
                f"{_QUESTIONS[metric].format(first=first, second=second)} {_verdict(one)}: "
                f"{one.mean:+.3g} [{one.low:+.3g}, {one.high:+.3g}] ({measured.NAMES[metric]})."
            )
    if len(tables["gains"]) and not doubt.sources(study):
        sentences.append(_adds(study, tables["gains"]))
    if len(tables["kinds"]):
        sentences.append(_kinds(study, tables["kinds"]))
    best = "spatial" if "spatial" in study.arms else study.arms[0]
    row = tables["acceptance"].set_index("arm").loc[best]
    sentences.append(
        f"With {study.label(best)}, a threshold from validation accepts {row['coverage']:.0%} of the test images "
        "unseen "
        f"({row['coverage_low']:.0%} to {row['coverage_high']:.0%} over images for the first seed); their mean Dice is "
        f"{number(row['mean_dice'])} where {row['target']:g} was asked for, and {_percent(row['below'])} of them are "
        "below it. "
        f"The best order there is could accept {row['oracle_coverage']:.0%}; accepted by lot, the mean Dice would be "
        f"{number(row['lot_mean_dice'])}."
    )
    return sentences


_QUESTIONS = {
    "dice": "Does {first} give better masks than {second}?",
    "error_detection": "Does the map of {first} find errors better than that of {second}?",
    "independence": "Are feature maps more independent with {first} than with {second}?",
    "likelihood": "Are probabilities better with {first} than with {second}?",
}


def _verdict(one: statistics.Contrast) -> str:
    words = {"better": "Yes", "worse": "No, the opposite"}
    return words.get(one.verdict, one.verdict.capitalize()) + (f" ({one.label})" if one.label else "")


def _adds(study: measured.Study, gains: pd.DataFrame) -> str:
    arm = "spatial" if "spatial" in set(gains["arm"]) else gains["arm"].iloc[0]
    rows = gains[(gains["arm"] == arm) & (gains["where"] == "band")].set_index("over")
    words = {"one_pass": "the entropy of one pass without dropout", "distance": "the distance to the boundary"}
    parts = []
    for over, trivial in words.items():
        row = rows.loc[over]
        adds = {"better": "adds to", "worse": "is worse than"}.get(row.verdict, "does not separably add to")
        parts.append(f"{adds} {trivial} ({row['mean']:+.3f} [{row.low:+.3f}, {row.high:+.3f}])")
    return (
        f"In the band round the predicted boundary the {study.map(arm)} map of {study.label(arm)} "
        f"{' and '.join(parts)} in AUROC."
    )


def _kinds(study: measured.Study, kinds: pd.DataFrame) -> str:
    arm = "spatial" if "spatial" in set(kinds["arm"]) else kinds["arm"].iloc[0]
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
            f"the {name} map by {row['mean']:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
            for name, row in rows.loc[change].iterrows()
        ]
        parts.append(f"{words} changes {' and '.join(moved)} nats")
    return (
        f"Are maps of the kind that they are called? With {study.label(arm)}, {'; '.join(parts)}. An epistemic map "
        "should fall with data and stay where borders are blurred, an aleatoric one the opposite."
    )


# -- tables -------------------------------------------------------------------------------------------------------


def _quality(study: measured.Study) -> pd.DataFrame:
    columns = {
        "Dice": "dice",
        "IoU": "iou",
        "precision": "precision",
        "recall": "recall",
        "NLL": "nll",
        "Brier": "brier",
    }
    columns |= {"ECE top": "ece_top_label", "adaptive ECE top": "adaptive_top_label"}
    columns |= {"ECE top, foreground": "ece_top_label_foreground", "ECE marginal": "ece_marginal"}
    columns |= {"ECE top, tempered": "tempered/ece_top_label", "temperature": "temperature"}
    rows = []
    for floor in FLOORS:
        row = {"arm": FLOORS[floor]}
        for name, measure in columns.items():
            values = study.floors.get(f"{floor}/test/pass/{measure}")
            row[name] = "-" if values is None else number(float(np.nanmean(values)))
        rows.append(row)
    for arm in study.arms:
        point = study.chosen(arm)
        name = study.label(arm) + (f", rate {point.dropout_rate:g}" if point.dropout_rate else "")
        rows.append({"arm": name} | {n: _spread(study.value(point, "test", m)) for n, m in columns.items()})
    return pd.DataFrame(rows)


def _quality_note(study: measured.Study) -> str:
    return (
        f"Test split, means over seeds +- sample standard deviation. {_counted(study)} Brier over classes (binary: "
        "twice the one-channel form). ECE: expected calibration error, equal width; adaptive: equal mass; top: of the "
        "largest "
        "probability; marginal: of each foreground class; foreground: only pixels that are foreground in truth or "
        "prediction. The temperature of the mean probability was fitted to the validation split."
    )


def _counted(study: measured.Study) -> str:
    return (
        f"Arms that draw answer with the mean of {max(study.config.draws)} draws, an ensemble with that of "
        f"{study.config.members} networks."
    )


def _gains(study: measured.Study, gains: pd.DataFrame) -> pd.DataFrame:
    words = {"one_pass": "entropy of one pass", "distance": "minus the distance to the boundary"}
    return pd.DataFrame(
        {
            "arm": study.label(row.arm),
            "where": row.where,
            f"AUROC of {study.config.judging['map']}": number(row.auroc),
            "of": words[row.over],
            "AUROC of that": number(row.auroc_of_trivial),
            "gain": f"{row.mean:+.3f} [{row.low:+.3f}, {row.high:+.3f}]" if np.isfinite(row.mean) else "-",
            "verdict": row.verdict if isinstance(row.verdict, str) else "-",
        }
        for row in gains.itertuples()
    )


def _gains_note(study: measured.Study) -> str:
    return (
        f"Errors of pixels over the image and in a band of {study.config.judging['band']:g} pixels, and of predicted "
        "objects (no true object with an IoU above one half). t intervals over seeds, described and not corrected for "
        "their number."
    )


def _detection(study: measured.Study) -> pd.DataFrame:
    rows = []
    for arm in study.arms:
        point, own = study.chosen(arm), study.map(arm)
        row = {"arm": study.label(arm), "map": own}
        row |= {
            f"AUPR, {where}": _spread(study.value(point, "test", f"aupr/{where}/{own}")) for where in ("image", "band")
        }
        for unit in ("pixel", "object", "image"):
            row[f"excess AURC, {unit}s"] = _spread(study.value(point, "test", f"excess_aurc/{unit}/{own}"))
        row["Spearman"] = _spread(study.value(point, "test", f"spearman/{own}"))
        row["partial"] = _spread(study.value(point, "test", f"partial_spearman/{own}"))
        rows.append(row)
    return pd.DataFrame(rows)


def _acceptance(study: measured.Study, table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "arm": study.label(row.arm),
            "accepted": f"{row.coverage:.0%} +- {_percent(row.coverage_sd_over_seeds)}",
            "over images, first seed": f"{row.coverage_low:.0%} to {row.coverage_high:.0%}",
            "their mean Dice": number(row.mean_dice),
            "of them below": _percent(row.below),
            "best order accepts": f"{row.oracle_coverage:.0%}",
            "mean Dice by lot": number(row.lot_mean_dice),
            "below by lot": _percent(row.lot_below),
        }
        for row in table.itertuples()
    )


def _acceptance_note(study: measured.Study) -> str:
    return (
        f"The threshold is the largest score up to which the mean Dice of the validation images is "
        f"{study.config.judging['target']:g}, for every network by itself; test images were seen with it once. A mean "
        "of the accepted says nothing of each: so many are below."
    )


def _matched(study: measured.Study) -> pd.DataFrame:
    rows = []
    for arm in study.arms:
        rate = study.choices[arm].get("matched_rate")
        point = study.chosen(arm) if rate is None else study.chosen(arm)._replace(dropout_rate=rate)
        row = {"arm": study.label(arm), "dropout rate": f"{point.dropout_rate:g}"}
        names = {"dice": "Dice", "likelihood": "log likelihood", "error_detection": "AUROC in the band"}
        row |= {words: _spread(study.metric(point, name)) for name, words in names.items()}
        rows.append(row | {"mean |correlation|": _spread(study.correlation(point))})
    return pd.DataFrame(rows)


def _arms(study: measured.Study) -> pd.DataFrame:
    rows = []
    for arm in study.arms:
        choice = study.choices[arm]
        for rate, one in choice["rates"].items():
            learner = find(arm).learner
            trials = f"as {study.label(learner)}" if learner else str(one["trials"])
            edge = " (edge of its grid)" if one["at_edge"] else ""
            rows.append(
                {
                    "arm": choice["label"],
                    "dropout rate": rate,
                    "learning rate": f"{one['learning_rate']:.3g}{edge}",
                    "trials": trials,
                    "validation NLL": number(one["nll"]),
                    "validation Dice": number(one["dice"]),
                    "chosen": "yes" if float(rate) == choice["dropout_rate"] else "",
                    "definition": choice["definition"],
                    "source": choice["source"],
                }
            )
    return pd.DataFrame(rows)


def _empty(study: measured.Study) -> list[str]:
    counts = {name: count for name, count in study.data["empty"].items() if count}
    if not counts:
        return []
    listed = ", ".join(f"{count} of {study.data['parts'][name]} in {name}" for name, count in counts.items())
    return [
        f"Images without any object: {listed}. Their Dice is undefined where nothing was predicted, and 0 otherwise."
    ]


def _other(study: measured.Study) -> list[str]:
    sentences = []
    for part in study.data["parts"]:
        kind, _, name = part.partition("/")
        if kind == "other":
            values = ", ".join(
                f"{study.label(arm)} {np.nanmean(study.value(study.chosen(arm), part, 'dice')):.2f}"
                for arm in study.arms
            )
            sentences.append(
                f"Images of the kind {name!r} are another world than those that were trained on, and are shown, not "
                f"scored: Dice {values}. Their mean intensity alone tells them apart."
            )
    return sentences


def _spread(values: np.ndarray) -> str:
    known = values[~np.isnan(values)]
    if not known.size:
        return "-"
    return number(known.mean()) + (f" +- {number(known.std(ddof=1))}" if known.size > 1 else "")


def _percent(value: float) -> str:
    return f"{value:.0%}" if np.isfinite(value) else "-"
