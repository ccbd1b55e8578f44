"""The tables of the rescaling study's page, as text, each with what it means."""

from typing import Any

import numpy as np
import pandas as pd

from hyperlab.metrics.defined import mean_dice
from hyperlab.report import sections
from hyperlab.studies.rescaling import case_tables
from hyperlab.studies.rescaling import results as measured
from hyperlab.train.units import Measurements

MOST_CLASSES = 6  # with a column of their own

# -- accuracy -----------------------------------------------------------------------------------------------------


def accuracy(study: measured.Study) -> pd.DataFrame:
    """A row for each compared factor and network: cost, test Dice over seeds, and that of each class."""
    rows, timed = [], latency_tells(study)
    for factor in study.config.factors:
        for arm, cells in study.runs.items():
            for cell, seeds in cells.items():
                for place, (at, width) in enumerate(measured.points_of(cell, seeds[0])):
                    if at != factor:
                        continue
                    macs, narrower = study.macs(factor, width), f", width {width:g}" if width != 1 else ""
                    row = {"phi": f"{factor:g}", "arm": study.label(arm) + narrower, "MACs": f"{macs:,.0f}"}
                    row["relative"] = f"{macs / study.macs(study.reference):.2f}"
                    if timed:
                        row["latency, ms"] = _milliseconds(study.inference[width].loc[factor])
                    rows.append(row | _dice(study, seeds, place))
    return pd.DataFrame(rows)


def _dice(study: measured.Study, seeds: list[Measurements], place: int) -> dict[str, str]:
    found = [one["test/dice"][place] for one in seeds]
    scores = np.array([mean_dice(dice) for dice in found])
    cells = {"Dice": f"{scores.mean():.3f} [{scores.min():.3f}, {scores.max():.3f}]"}
    count = found[0].shape[-1]
    if 1 < count <= MOST_CLASSES:
        for k in range(count):
            name = study.classes[k] if k < len(study.classes) else f"class {k + 1}"
            score = np.mean([mean_dice(dice[:, k : k + 1]) for dice in found])
            cells[name] = "-" if np.isnan(score) else f"{score:.3f}"
    return cells


def accuracy_note(study: measured.Study) -> str:
    """What the columns mean, and why there is none of latencies."""
    said = (
        "Test Dice, mean over subjects, then classes; mean over seeds [lowest, highest seed], and of each class the "
        "mean over seeds. MACs: multiply-accumulates of the network on one image, relative to phi = "
        f"{study.reference:g}; every arm runs the same primary in the end, so at one phi all cost the same to run. "
    )
    if latency_tells(study):
        return said + "Latency of one image: median [quartiles] of the calls."
    medians = ", ".join(
        f"{1e3 * study.inference[1.0].loc[factor, 'latency']:.2f} ms at phi {factor:g}"
        for factor in study.config.factors
    )
    return (
        f"{said}No latencies: between calls they vary by more than between factors on this machine (quartiles of "
        f"neighbouring factors overlap; medians {medians}), so they rank nothing."
    )


def latency_tells(study: measured.Study) -> bool:
    """Whether three quarters of the calls at a factor are slower than three quarters of those at the next cheaper."""
    table = study.inference[1.0].loc[list(study.config.factors)].sort_values("macs")
    if not {"latency_low", "latency_high"} <= set(table.columns):
        return False
    low, high = table["latency_low"].to_numpy(float), table["latency_high"].to_numpy(float)
    return bool(np.isfinite(low).all() and np.isfinite(high).all() and (low[1:] > high[:-1]).all())


def _milliseconds(row: pd.Series) -> str:
    return f"{1e3 * row['latency']:.2f} [{1e3 * row['latency_low']:.2f}, {1e3 * row['latency_high']:.2f}]"


def distances(study: measured.Study) -> pd.DataFrame:
    """Distances between surfaces, as text."""
    table = case_tables.distances(study)
    for name in case_tables.DISTANCES:
        table[name] = table[name].map("{:.3f}".format)
    table["undefined"] = table["undefined"].map("{:.1%}".format)
    return table


def distances_note(study: measured.Study) -> str:
    """What the distances are, and over what."""
    return (
        "Distances between the surfaces of prediction and truth on the test split, over the compared factors: mean "
        "over images where both masks hold the class, then classes, factors and seeds; in mm where the spacing is "
        "known, else in pixels. hd95_pooled: 95th percentile of both directions together; hd95_max: the larger of the "
        f"two directions' percentiles; nsd: share of the surfaces within {study.config.surface_tolerance:g} of the "
        "other. Undefined: image and class pairs left out of the distances. Every case is in per_case.csv; "
        "summary.json has the exported network's cases in the field names of nnU-Net."
    )


# -- training, contrasts, tuning ----------------------------------------------------------------------------------


def training(study: measured.Study) -> pd.DataFrame:
    """What each arm's training cost."""
    rows, one = [], study.train_seconds("fixed") if "fixed" in study.runs else None
    for arm, jobs in study.training.items():
        costliest = max(jobs.values(), key=lambda cost: cost["train_seconds"])
        total = sum(cost["train_seconds"] for cost in jobs.values())
        rows.append(
            {
                "arm": study.label(arm),
                "networks": str(len(jobs)),
                "trained parameters": f"{int(costliest['parameters']):,}",
                "programs": f"{int(costliest['programs'])}",
                "compiling, s": f"{costliest['compile_seconds']:.1f}",
                "step, ms": f"{1e3 * costliest['step_seconds']:.1f}",
                "one network, s": f"{costliest['train_seconds']:.1f}",
                "all of them, s": f"{total:.1f}",
                "to one Fixed": "-" if one is None else f"{costliest['train_seconds'] / one:.2f}",
            }
        )
    return pd.DataFrame(rows)


def training_note(study: measured.Study) -> str:
    """How that was measured."""
    return (
        "Seconds of tracing and compiling the training programs, beside other trainings, plus the steps at the median "
        "time of a step, alone on the machine in the end (over the prior: the mean over buckets, each at its largest "
        f"factor). Of several networks, the most expensive one. {study.config.programs} programs for the prior at most."
    )


def budgets(study: measured.Study) -> pd.DataFrame:
    """Validation Dice at equal steps and at equal seconds."""
    table = measured.equal_seconds(study)
    for column in ("Dice at equal steps", "Dice at equal seconds"):
        table[column] = table[column].map("{:.3f}".format)
    return table.assign(seconds=table["seconds"].map("{:.1f}".format))


def budgets_note(study: measured.Study) -> str:
    """Of which split, and what a point along a curve is."""
    said = "Validation split. Seconds: until the cheapest arm has trained one network to the end."
    if measured.rate_is_constant(study.config):
        return said
    return (
        f"{said} The learning rate changes along a training, so a point before its end may be lower than a shorter "
        "training with a schedule of its own."
    )


def by_factor(study: measured.Study, first: str, second: str) -> pd.DataFrame:
    """First less second at every compared factor."""
    table = measured.by_factor(study, first, second)
    return pd.DataFrame(
        {
            "phi": table["rescaling_factor"].map("{:g}".format),
            study.label(first): table["first"].map("{:.4f}".format),
            study.label(second): table["second"].map("{:.4f}".format),
            "difference": table["difference"].map("{:+.4f}".format),
            "interval, together": [f"[{a:+.4f}, {b:+.4f}]" for a, b in zip(table["low"], table["high"], strict=True)],
            "non-inferior": table["non_inferior"].map({True: "yes", False: "not shown"}),
            "superior": table["superior"].map({True: "yes", False: "not shown"}),
            "inferior": table["inferior"].map({True: "yes", False: "not shown"}),
        }
    )


def by_factor_note(study: measured.Study, first: str, second: str) -> str:
    """What the words mean."""
    return (
        f"{study.label(first)} less {study.label(second)} on the test split, paired by seed; t intervals at 95 % "
        f"together over the factors (Bonferroni). Non-inferior: the interval is above -{study.config.margin:g}; "
        "superior: above 0; inferior: below it. Not shown does not say that it is otherwise."
        + sections.cut_note(measured.by_factor(study, first, second)["clipped"].sum(), measured.DIFFERENCES)
    )


def tuning_row(choice: dict[str, Any]) -> dict[str, str]:
    """An arm, its definition, and the rates that were tried."""
    named = {"arm": choice["label"], "definition": choice["definition"]}
    return named | sections.tuned(choice, "validation Dice of each")


def tuning_note(config: Any) -> str:
    """How rates were chosen."""
    return (
        "The same grid of learning rates for every arm, chosen by validation Dice at the end of a run, mean over the "
        f"compared factors, on {config.tuning_seeds} tuning seed{'s' * (config.tuning_seeds > 1)} that are not among "
        "the reported ones. A trial of an arm with a network for each factor trains all of them."
    )
