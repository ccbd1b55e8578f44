"""The fourteen rules of standardised evaluation of pruning, decided from the record of a study.

The rules follow Blalock, Gonzalez Ortiz, Frankle and Guttag (2020), "What is the state of neural network pruning?",
arXiv 2003.03033, and the slides of Gonzalez Ortiz, Blalock and Guttag (2019). Thresholds that they leave open are set
here: three seeds, and Top-5 from a hundred classes on. A rule speaks about what a study recorded
(`record.StudyRecord`): what was not recorded is "not met".
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import pandas as pd

from hyperlab.studies.pruning.record import (
    PRUNED_CONTROLS,
    SAMPLE_SD,
    UNPRUNED_CONTROLS,
    StudyRecord,
    grouped,
    is_toy,
    network,
    networks,
    serious_networks,
    track,
)

MET, NOT_MET, NOT_APPLICABLE = "met", "not met", "not applicable"
STANDARD_PAIRS, FEWEST_POINTS, FEWEST_SEEDS, MANY_CLASSES = 3, 5, 3, 100
PANELS = ("compression", "speedup")
# Column names from which nobody can tell kept from removed, or old over new from new over old.
AMBIGUOUS = ("ratio", "pruned", "fraction", "fraction_pruned", "pruning_ratio", "rate", "pruning_rate", "flops")


class Verdict(NamedTuple):
    """A rule, whether it is met, and why, in a sentence."""

    rule: str
    requirement: str
    outcome: str
    reason: str


def check(record: StudyRecord) -> list[Verdict]:
    """Decides every rule.

    >>> from hyperlab.studies.pruning.record import DataSet, PrunedCurve
    >>> curve = PrunedCurve("digits", "MLP", "random", "trained", "s", ("p",), "r", (2.0, 4.0), (0,))
    >>> verdicts = check(StudyRecord((DataSet("digits", "v1", "0", 10),), (curve,)))
    >>> [v.reason for v in verdicts if v.rule == "E2"]
    ['0 of the 3 networks that are needed, toys left out (digits)']
    """
    return [Verdict(rule, requirement, *decide(record)) for rule, (requirement, decide) in RULES.items()]


def table(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """The checklist as a table for a page."""
    return pd.DataFrame(verdicts, columns=Verdict._fields)


def standard_suite(record: StudyRecord) -> bool:
    """Whether a report may say "standard suite": three (data set, architecture) pairs that are no toys."""
    return len(serious_networks(record)) >= STANDARD_PAIRS


def suite_label(record: StudyRecord) -> str:
    """What a report calls its networks.

    >>> suite_label(StudyRecord((), ()))
    'no standard suite: 0 of 3 networks that are no toys'
    """
    if standard_suite(record):
        return "standard suite"
    return f"no standard suite: {len(serious_networks(record))} of {STANDARD_PAIRS} networks that are no toys"


# -- the rules ------------------------------------------------------------------------------------------------------


def _named(record: StudyRecord) -> tuple[str, str]:
    unnamed = [d.name for d in record.datasets if not (d.version and d.split)]
    unknown = sorted({c.dataset for c in record.curves} - {d.name for d in record.datasets})
    unshaped = [network(c) for c in record.curves if not c.shapes]
    lacking = [
        *(f"version or split of {name}" for name in unnamed),
        *(f"any description of {name}" for name in unknown),
        *(f"shapes of {name}" for name in dict.fromkeys(unshaped)),
        *([] if record.metrics_version else ["the version of the metrics"]),
        *([] if record.curves else ["a network"]),
    ]
    if lacking:
        return NOT_MET, f"not recorded: {_listed(lacking)}"
    return (
        MET,
        f"{_listed(networks(record))}; data version, split, shapes and metrics {record.metrics_version} recorded",
    )


def _three_pairs(record: StudyRecord) -> tuple[str, str]:
    serious, toys = serious_networks(record), sorted({c.dataset for c in record.curves if is_toy(c.dataset)})
    without = f", toys left out ({_listed(toys)})" if toys else ""
    if len(serious) >= STANDARD_PAIRS:
        return MET, f"{len(serious)} networks{without}: {_listed(serious)}"
    return NOT_MET, f"{len(serious)} of the {STANDARD_PAIRS} networks that are needed{without}"


def _both_ratios(record: StudyRecord) -> tuple[str, str]:
    missing = [panel for panel in PANELS if panel not in record.panels]
    columns = [panel for panel in PANELS if not any(panel in column for column in record.columns)]
    if missing or columns:
        parts = [f"no panel against {p}" for p in missing] + [f"no column of {c}" for c in columns]
        return NOT_MET, _listed(parts)
    return MET, "compression and theoretical speedup, old over new, are columns and panels"


def _vocabulary(record: StudyRecord) -> tuple[str, str]:
    vague = [column for column in record.columns if column.lower() in AMBIGUOUS]
    parts = [f"column {column!r} says neither kept nor removed, nor what over what" for column in vague]
    parts += [] if record.mac_convention else ["no convention of multiply-adds is recorded"]
    parts += [] if record.macs_counted else ["multiply-adds are not recorded as counted by the library"]
    parts += [] if record.columns else ["no columns are recorded"]
    return (NOT_MET, _listed(parts)) if parts else (MET, f"{record.mac_convention}, counted from the network")


def _top_k(record: StudyRecord) -> tuple[str, str]:
    many = [d.name for d in record.datasets if d.classes >= MANY_CLASSES]
    if not many:
        most = max((d.classes for d in record.datasets), default=0)
        return NOT_APPLICABLE, f"at most {most} classes; Top-5 is asked for from {MANY_CLASSES} on"
    missing = [f"Top-{k}" for k in (1, 5) if k not in record.top]
    return (NOT_MET, f"{_listed(missing)} missing on {_listed(many)}") if missing else (MET, f"both on {_listed(many)}")


def _controls(record: StudyRecord) -> tuple[str, str]:
    missing = [name for name in UNPRUNED_CONTROLS if name not in record.controls]
    if missing:
        return NOT_MET, f"not run: {_listed(missing)}"
    return MET, "the unpruned network is evaluated as it is, and after the same fine-tuning"


def _operating_points(record: StudyRecord) -> tuple[str, str]:
    if not record.curves:
        return NOT_MET, "no curves"
    short = min(record.curves, key=lambda curve: len(set(curve.compressions)))
    fewest = len(set(short.compressions))
    if fewest < FEWEST_POINTS:
        return NOT_MET, f"{short.method} on {network(short)} has {fewest} points, {FEWEST_POINTS} are needed"
    for name, curves in grouped(record, network).items():
        if len({tuple(sorted(set(curve.compressions))) for curve in curves}) > 1:
            return NOT_MET, f"methods on {name} stand at different compressions"
    return MET, f"{fewest} points or more on every curve, the same for all methods of a network"


def _spread(record: StudyRecord) -> tuple[str, str]:
    fewest = min((len(set(curve.seeds)) for curve in record.curves), default=0)
    if fewest < FEWEST_SEEDS:
        return NOT_MET, f"n={fewest}, {FEWEST_SEEDS} seeds are needed"
    if record.spread != SAMPLE_SD:
        return NOT_MET, f"spread is {record.spread or 'not recorded'}, expected the {SAMPLE_SD}"
    return MET, f"means and sample standard deviations over {fewest} seeds or more"


def _same_parents(record: StudyRecord) -> tuple[str, str]:
    for group, curves in grouped(record, track).items():
        parents = [dict(zip(curve.seeds, curve.parents, strict=False)) for curve in curves]
        for curve, own in zip(curves, parents, strict=True):
            if len(curve.parents) != len(curve.seeds) or not all(curve.parents):
                return NOT_MET, f"parents of {curve.method} on {group} are not recorded for every seed"
            if any(own[seed] != other[seed] for other in parents for seed in own.keys() & other.keys()):
                asked = "; this was asked for, and figures carry a mark" if record.parents_overridden else ""
                return NOT_MET, f"methods on {group} start from different parents{asked}"
    return (MET, "one parent a seed and network for all methods") if record.curves else (NOT_MET, "no curves")


def _same_recipe(record: StudyRecord) -> tuple[str, str]:
    return _one_a_group(record, track, lambda curve: curve.recipe, "recipe")


def _same_shapes(record: StudyRecord) -> tuple[str, str]:
    return _one_a_group(record, network, lambda curve: curve.shapes, "shapes hash")


def _baselines(record: StudyRecord) -> tuple[str, str]:
    missing = [name for name in PRUNED_CONTROLS if name not in record.controls]
    if missing:
        return NOT_MET, f"not run: {_listed(missing)}"
    ran = "random and magnitude ran, each also with a method's own layer fractions"
    if not record.older_work:
        return NOT_MET, f"{ran}; no published results are drawn beside"
    return MET, f"{ran}; beside {_listed(record.older_work)}"


def _proxies(record: StudyRecord) -> tuple[str, str]:
    if not record.labelled_theoretical:
        return NOT_MET, "counted speedups are not labelled as theoretical"
    timed = any("latency" in column for column in record.columns)
    if timed and not record.latency_device:
        return NOT_MET, "a latency is reported without its device"
    measured = f"latency is a column of its own, on {record.latency_device}" if timed else "no latency was measured"
    return MET, f"speedups are labelled theoretical; {measured}"


def _only_pruning_varies(record: StudyRecord) -> tuple[str, str]:
    broken = [rule for rule in ("E9", "E10", "E11") if RULES[rule][1](record)[0] != MET]
    if broken:
        return NOT_MET, f"{_listed(broken)} not met"
    unscored = [name for name in networks(record) if name not in record.parent_scores]
    if unscored:
        return NOT_MET, f"the parent's own score is not recorded on {_listed(unscored)}"
    return MET, "parents, recipes and shapes are shared; whether an architecture suits its task is not decided here"


RULES: dict[str, tuple[str, Callable[[StudyRecord], tuple[str, str]]]] = {
    "E1": ("names exact data sets, architectures and metrics", _named),
    "E2": ("three (data set, architecture) pairs or more, toys not counted", _three_pairs),
    "E3": ("reports compression and theoretical speedup, old over new", _both_ratios),
    "E4": ("uses one vocabulary; multiply-adds are counted by the library", _vocabulary),
    "E5": ("reports Top-1 and Top-5 where there are many classes", _top_k),
    "E6": ("reports the unpruned network, as it is and fine-tuned", _controls),
    "E7": ("five operating points a curve, all methods on the same axes", _operating_points),
    "E8": ("means and sample standard deviations over seeds", _spread),
    "E9": ("the same initial weights for every compared method", _same_parents),
    "E10": ("the same data, optimiser, schedule and budget", _same_recipe),
    "E11": ("identical architecture means identical shapes", _same_shapes),
    "E12": ("strong simple baselines, and older work", _baselines),
    "E13": ("counts are labelled theoretical; latency stands apart", _proxies),
    "E14": ("only the pruning varies; parents are on record", _only_pruning_varies),
}

# -- parts ----------------------------------------------------------------------------------------------------------


def _one_a_group(record: StudyRecord, name: Callable, what: Callable, called: str) -> tuple[str, str]:
    for group, curves in grouped(record, name).items():
        found = {what(curve) for curve in curves}
        if "" in found:
            return NOT_MET, f"no {called} is recorded on {group}"
        if len(found) > 1:
            return NOT_MET, f"methods on {group} have {len(found)} different values of the {called}"
    return (MET, f"one {called} for all methods of a network") if record.curves else (NOT_MET, "no curves")


def _listed(names: Sequence[str], most: int = 4) -> str:
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
