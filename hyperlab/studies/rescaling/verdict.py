"""What the study came to, in one sentence made of its numbers alone: it can come out against the hypernetwork."""

from typing import NamedTuple

import pandas as pd

from hyperlab.metrics import statistics
from hyperlab.studies.rescaling.arms import ARMS
from hyperlab.studies.rescaling.collapsed import collapsed, seeds_of
from hyperlab.studies.rescaling.results import DIFFERENCES, Study, by_factor, contrasts


class Outcome(NamedTuple):
    """How a first arm stands to a second.

    Attributes:
      kind: `no claim` (too few seeds), `as good` (non-inferior at every factor), `better` or `worse` (on average),
        `mixed` (better at a factor, worse at another, or one of these without an average that tells), `not separable`.
      contrast: first less second, mean over the compared factors.
      factors: the same at each of them, see `by_factor`.
    """

    kind: str
    contrast: statistics.Contrast
    factors: pd.DataFrame


def verdict(study: Study) -> str:
    """One sentence: how the hypernetwork stands to a network for each factor, and whether to use it; where its seeds
    collapsed, a sentence before it says so.

    The hypernetwork is the arm SSHN, else the first one that is trained on the prior; it is held against Fixed, else
    against the highest of the other arms. Without a hypernetwork the two highest arms are held against each other.
    """
    arms = ranked(study)
    subject = method(study)
    if len(arms) < 2:
        only = f"Only {study.label(arms[0])} ran" if arms else "No arm ran at the compared factors"
        return f"{_joined(f'{only}: there is nothing to compare it with', _collapse(study, *arms))}."
    if subject is None:
        subject, reference = arms[1], arms[0]
        outcome = compare(study, subject, reference)
        told = "" if outcome.kind in ("worse", "better") else f", {outcome.contrast.verdict}"
        standing = _standing(study, subject, reference, outcome) + told
        words = _joined("No hypernetwork ran", _highest(study), standing, _collapse(study, *arms))
    else:
        reference = reference_of(study, subject)
        outcome = compare(study, subject, reference)
        given = (study, subject, reference, outcome)
        words = _joined(_WORDS[outcome.kind](*given), _advice(*given), _collapse(study, reference))
        words = f"{_warning(study, subject)}{words}"
    look = outcome.contrast.label == "look" and outcome.kind != "not separable"
    return words + (f" (a look: {outcome.contrast.n} seeds)" if look else "") + "."


# -- what is compared ---------------------------------------------------------------------------------------------


def ranked(study: Study) -> list[str]:
    """The arms that are measured at every compared factor, the highest first."""
    arms = [arm for arm in study.config.arms if not ARMS[arm].by_width]
    return sorted(arms, key=lambda arm: -study.compared(arm).mean())


def method(study: Study) -> str | None:
    """The hypernetwork that the study is about."""
    found = [arm for arm in study.config.arms if ARMS[arm].network == "hypernet" and ARMS[arm].trains == "prior"]
    return "sshn" if "sshn" in found else next(iter(found), None)


def reference_of(study: Study, subject: str) -> str:
    """What an arm is held against: Fixed, else the highest of the others."""
    others = [arm for arm in ranked(study) if arm != subject]
    return "fixed" if "fixed" in others else others[0]


def compare(study: Study, first: str, second: str) -> Outcome:
    """First against second, by the intervals of the page: on average, and together over the factors."""
    c, table = _on_average(study, first, second), by_factor(study, first, second)
    above, below = table["superior"].any(), table["inferior"].any()
    if c.n < statistics.FEWEST_SEEDS_OF_A_CLAIM:
        kind = "no claim"
    elif above and below:
        kind = "mixed"
    elif c.low > 0:
        kind = "better"
    elif table["non_inferior"].all():
        kind = "as good"
    elif c.high < 0:
        kind = "worse"
    else:
        kind = "mixed" if above or below else "not separable"
    return Outcome(kind, c, table)


def _on_average(study: Study, first: str, second: str) -> statistics.Contrast:
    """The named contrast where there is one, so that verdict and table say the same; else one of its own."""
    (named,) = contrasts(study).values()
    if (c := named.get(f"{first} - {second}")) is not None:
        return c
    if (c := named.get(f"{second} - {first}")) is not None:
        turned = {"better": "worse", "worse": "better"}.get(c.verdict, c.verdict)
        return c._replace(differences=-c.differences, mean=-c.mean, low=-c.high, high=-c.low, verdict=turned)
    return statistics.paired_contrast(study.compared(first), study.compared(second), bounds=DIFFERENCES)


# -- words --------------------------------------------------------------------------------------------------------


def _better(study: Study, first: str, second: str, outcome: Outcome) -> str:
    table = outcome.factors
    return (
        f"{study.label(first)} is better than {_role(study, second)}: {_average(outcome.contrast)}, shown to be above "
        f"it at {int(table['superior'].sum())} of {len(table)} factors,{_cost(study, first, second)}"
        f"{_simpler(study, first, second)}"
    )


def _as_good(study: Study, first: str, second: str, outcome: Outcome) -> str:
    return (
        f"{study.label(first)} is as good as {_role(study, second)}: at most {study.config.margin:g} Dice below at all "
        f"of {len(outcome.factors)} factors, {_average(outcome.contrast)},{_cost(study, first, second)}"
        f"{_simpler(study, first, second)}"
    )


def _worse(study: Study, first: str, second: str, outcome: Outcome) -> str:
    return _joined(_highest(study), _standing(study, first, second, outcome))


def _mixed(study: Study, first: str, second: str, outcome: Outcome) -> str:
    table = outcome.factors
    parts = []
    for column, word in (("superior", "better"), ("inferior", "worse")):
        where = table.loc[table[column], "rescaling_factor"]
        if len(where):
            parts.append(f"{word} at phi {', '.join(f'{factor:g}' for factor in where)}")
    rest = int((~(table["superior"] | table["inferior"])).sum())
    parts += [f"not separable at {rest} of {len(table)} factors"] if rest else []
    return f"Against {study.label(second)}, {study.label(first)} is {', '.join(parts)}; {_average(outcome.contrast)}"


def _not_separable(study: Study, first: str, second: str, outcome: Outcome) -> str:
    few = f"{study.label(first)} and {study.label(second)} cannot be told apart with {outcome.contrast.n} seeds"
    return _joined(f"{few}: {_standing(study, first, second, outcome)}", _highest(study))


def _no_claim(study: Study, first: str, second: str, outcome: Outcome) -> str:
    n = outcome.contrast.n
    few = f"No claim with {n} seed{'s' * (n > 1)}"
    return _joined(f"{few}: {_standing(study, first, second, outcome)}", _highest(study))


_WORDS = {
    "better": _better,
    "as good": _as_good,
    "worse": _worse,
    "mixed": _mixed,
    "not separable": _not_separable,
    "no claim": _no_claim,
}


def _advice(study: Study, subject: str, reference: str, outcome: Outcome) -> str:
    """Whether to use the hypernetwork, where the numbers say it."""
    name, length = study.label(subject), f"at this length ({study.config.train_length})"
    below = outcome.contrast.mean < -study.config.margin
    if _warning(study, subject):
        return ""  # is said before all else
    if outcome.kind == "worse":
        return f"do not use {name} {length}" if below else "a small loss"
    if outcome.kind in ("not separable", "no claim") and below:
        return f"no ground to use {name} {length}"
    return ""


def _warning(study: Study, subject: str) -> str:
    """That it collapsed, to stand before all else."""
    fallen = _collapse(study, subject).replace(study.label(subject), "which", 1)
    return f"Do not rely on {study.label(subject)}, {fallen}. " if fallen else ""


def _collapse(study: Study, *arms: str) -> str:
    """Which of some arms collapsed, with how many of their seeds."""
    fallen = collapsed(study)
    counts = {arm: len(seeds_of(fallen, arm)) for arm in arms}
    shown = [
        f"{study.label(arm)} collapsed with {count} of {study.config.report_seeds} seeds"
        for arm, count in counts.items()
        if count
    ]
    return " and ".join(shown)


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def _highest(study: Study) -> str:
    """Which arm is highest at every compared factor; empty where none is."""
    arms = ranked(study)
    best = {max(arms, key=lambda arm: study.scores(arm, factor).mean()) for factor in study.config.factors}
    if len(best) > 1:
        return ""
    return f"{study.label(best.pop())} is highest at every compared factor"


def _average(c: statistics.Contrast) -> str:
    return f"{c.mean:+.3f} Dice on average [{c.low:+.3f}, {c.high:+.3f}]"


def _standing(study: Study, first: str, second: str, outcome: Outcome) -> str:
    c = outcome.contrast
    side = "above" if c.mean > 0 else "below"
    return (
        f"{study.label(first)} stands {abs(c.mean):.3f} Dice {side} {study.label(second)} on average "
        f"[{c.low:+.3f}, {c.high:+.3f}]"
    )


def _role(study: Study, arm: str) -> str:
    return f"a network for each factor ({study.label(arm)})" if arm == "fixed" else study.label(arm)


def _cost(study: Study, first: str, second: str) -> str:
    """Seconds of all trainings of the first, to those of the second."""
    totals = [sum(cost["train_seconds"] for cost in study.training[arm].values()) for arm in (first, second)]
    networks = len(study.training[second])
    whose = f"{study.label(second)}'s {networks} networks" if networks > 1 else study.label(second)
    return f" at {totals[0] / totals[1]:.2f} of the training time of {whose}"


def _simpler(study: Study, subject: str, reference: str) -> str:
    """How an arm stands that has one network for all factors too, and needs no hypernetwork for it."""
    plain = [
        arm
        for arm in ranked(study)
        if ARMS[arm].trains == "prior" and ARMS[arm].network != "hypernet" and arm not in (subject, reference)
    ]
    if not plain:
        return ""
    c = _on_average(study, subject, plain[0])
    name = f"{study.label(plain[0])}, without a hypernetwork,"
    if c.low > 0:
        return f"; {name} stands {c.mean:.3f} below it"
    if c.high < 0:
        return f"; but {name} stands {-c.mean:.3f} above it"
    return f"; {name} cannot be told apart from it"
