"""What came out, in sentences, below the verdict: what collapsed, each factor, costs, contrasts, what was exported."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from hyperlab.metrics import statistics
from hyperlab.report.sections import Contrasts, cut_note
from hyperlab.studies.rescaling import results as measured
from hyperlab.studies.rescaling.arms import ARMS
from hyperlab.studies.rescaling.collapsed import collapsed, seeds_of, sentence
from hyperlab.studies.rescaling.verdict import method
from hyperlab.train.phases import FIRST_REPORT_SEED

PUBLISHED_COST = 1.8  # times the training of one U-Net, as its authors state (arXiv 2304.05448, author discussion)


def findings(study: measured.Study, compared: Contrasts, chosen: Mapping[str, Any] | None) -> list[str]:
    """The sentences that there is something to say in.

    Args:
      study: as it was measured.
      compared: the named contrasts.
      chosen: of `selection.json`; None where nothing was exported.
    """
    said = [sentence(study, collapsed(study)), *_each_factor(study)]
    if (pair := compared_pair(study)) is not None:
        said += [_over_factors(study, *pair), _training(study, *pair)]
    said += [_contrasts(study, compared), exported(study, chosen) if chosen is not None else ""]
    return [one for one in said if one]


def compared_pair(study: measured.Study) -> tuple[str, str] | None:
    """The hypernetwork and Fixed, which are compared factor by factor; None where one did not run."""
    subject = method(study)
    return (subject, "fixed") if subject is not None and "fixed" in study.runs else None


def _each_factor(study: measured.Study) -> list[str]:
    arms = [arm for arm in study.config.arms if not ARMS[arm].by_width]
    said = []
    for factor in study.config.factors if arms else ():
        scores = {arm: study.scores(arm, factor).mean() for arm in arms}
        best = max(scores, key=scores.__getitem__)
        listed = "; ".join(f"{study.label(arm)} {score:.3f}" for arm, score in scores.items())
        relative = study.macs(factor) / study.macs(study.reference)
        said.append(
            f"phi {factor:g} ({relative:.0%} of the MACs of phi {study.reference:g}): test Dice {listed}. Highest: "
            f"{study.label(best)}."
        )
    return said


def _over_factors(study: measured.Study, first: str, second: str) -> str:
    table = measured.by_factor(study, first, second)
    inside, above, below = (int(table[name].sum()) for name in ("non_inferior", "superior", "inferior"))
    look = " (a look: fewer than five seeds)" if study.config.report_seeds < statistics.FEWEST_SEEDS else ""
    return (
        f"{study.label(first)} less {study.label(second)}, together over {len(table)} factors: at most "
        f"{study.config.margin:g} Dice below (non-inferior) at {inside} of {len(table)}, above it (superior) at "
        f"{above}, below it (inferior) at {below}{look}."
    )


def _training(study: measured.Study, first: str, second: str) -> str:
    """Seconds of the hypernetwork's training to those of Fixed."""
    own, all_fixed = (study.training[arm] for arm in (first, second))
    total = sum(cost["train_seconds"] for cost in all_fixed.values())
    step = next(iter(own.values()))["step_seconds"]
    fixed = max(all_fixed.values(), key=lambda cost: cost["train_seconds"])["step_seconds"]
    return (
        f"Training {study.label(first)} took {study.train_seconds(first) / study.train_seconds(second):.2f} times as "
        f"long as one {study.label(second)} network and {study.train_seconds(first) / total:.2f} times as long as the "
        f"{len(all_fixed)} compared ones, compilation counted ({step / fixed:.2f} times for a step alone; the "
        f"published figure is {PUBLISHED_COST} times one U-Net)."
    )


def _contrasts(study: measured.Study, compared: Contrasts) -> str:
    found = {name: c for named in compared.values() for name, c in named.items()}
    if not found:
        return ""
    said = [
        f"{' against '.join(map(study.label, statistics.names_of(name)))}: {c.mean:+.4f} "
        f"[{c.low:+.4f}, {c.high:+.4f}], {c.verdict}"
        for name, c in found.items()
    ]
    cut = cut_note(sum(c.clipped for c in found.values()), measured.DIFFERENCES)
    return f"Mean over the compared factors, paired by seed, 95 % together: {'; '.join(said)}.{cut}"


# -- what was exported --------------------------------------------------------------------------------------------


def exported(study: measured.Study, chosen: Mapping[str, Any]) -> str:
    """What was exported and why, its own test Dice, and how it stands to the best other arm at that cost."""
    arm, factor = chosen["arm"], chosen["rescaling_factor"]
    seed = chosen.get("seed", FIRST_REPORT_SEED)  # older runs exported the first
    label = study.label(arm)
    ((cell, seeds),) = study.runs[arm].items()
    (one,) = (one for one in seeds if int(one["seed"]) == seed)
    dice, saved = measured.test_dice(cell, one, factor, 1.0), 1 - study.macs(factor) / study.macs(study.reference)
    fallen = "; this seed collapsed at a compared factor" if seed in seeds_of(collapsed(study), arm) else ""
    cheaper = f", {saved:.0%} fewer MACs than phi {study.reference:g}" if saved > 0 else ""
    return (
        f"Exported to network/: {label} at phi {factor:g}, seed {seed} (the cheapest factor within "
        f"{chosen['tolerance']:g} of {label}'s best on validation{cheaper}): test Dice {_interval(dice)}{fallen}. "
        f"{_at_this_cost(study, arm, factor)}"
    )


def _interval(dice: Mapping[str, Any] | None) -> str:
    if dice is None:
        return "unknown"
    if dice["low"] is None:
        return f"{dice['estimate']:.3f} on {dice['subjects']} subjects (too few for an interval)"
    return f"{dice['estimate']:.3f} [{dice['low']:.3f}, {dice['high']:.3f}] over {dice['subjects']} subjects"


def _at_this_cost(study: measured.Study, arm: str, factor: float) -> str:
    """The best of the other arms for no more MACs, by the mean over seeds of both."""
    points, limit = measured.points(study), study.macs(factor)
    own = _mean_at(points, arm, factor)
    others = points[(points["arm"] != arm) & (points["macs"] <= limit * (1 + 1e-9))]
    if others.empty:
        return "No other arm was measured at this cost."
    best = others.loc[others["dice"].idxmax()]
    width = f", width {best['width']:g}" if best["width"] != 1 else ""
    which = f"{study.label(best['arm'])} (phi {best['rescaling_factor']:g}{width})"
    more = best["dice"] - own
    means = f"{best['dice']:.3f} against {own:.3f} of {study.label(arm)}, means over seeds"
    if more > 0:
        return f"At this cost {which} reaches {best['dice']:.3f}: {more:.3f} more ({means})."
    return f"At this cost no other arm reaches more: {which} is next, {abs(more):.3f} less ({means})."


def _mean_at(points: pd.DataFrame, arm: str, factor: float) -> float:
    return float(points.loc[(points["arm"] == arm) & (points["rescaling_factor"] == factor), "dice"].iloc[0])
