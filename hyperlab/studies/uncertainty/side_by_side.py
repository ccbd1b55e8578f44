"""Sources of uncertainty side by side: which finds errors, whose probabilities are best, at what cost.

For studies of more than one kind of network: dropout, an ensemble, a hypernetwork over a latent, candidates of Tyche.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from hyperlab.metrics import statistics
from hyperlab.studies.uncertainty.arms import find
from hyperlab.studies.uncertainty.cells import TEST
from hyperlab.studies.uncertainty.results import Study
from hyperlab.studies.uncertainty.texts import formatted, interval, mean, spread


def sources(study: Study) -> list[str]:
    """Arms that answer with several networks or draws; none in a study of U-Nets alone, whose questions are others."""
    return [] if all(find(arm).plain_unet for arm in study.arms) else study.several


def table(study: Study) -> pd.DataFrame:
    """One row for each arm, means over seeds, on the test split.

    Columns: `arm`; `draws`, whose mean is the answer; `dice`, `nll`, `ece` (top label); `map`, `one_pass`, `distance`:
    AUROC of pixel errors in the band; `diversity`, 1 - the mean Dice of two draws; of one network `parameters`, `macs`
    of a draw of one image, `step_seconds` and `draw_seconds`.
    """
    rows = []
    for arm in study.arms:
        cell, several = study.chosen(arm), arm in study.several
        row = {"arm": arm, "draws": int(study.final(arm)) if several else 1}
        measures = {"dice": "dice", "nll": "nll", "ece": "ece_top_label", "map": f"auroc/band/{study.map(arm)}"}
        measures |= {"one_pass": "auroc/band/one_pass", "distance": "auroc/band/distance"}
        row |= {name: mean(study.value(cell, TEST, measure)) for name, measure in measures.items()}
        row["diversity"] = 1 - mean(study.value(cell, TEST, "structure/pairwise_dice")) if several else np.nan
        rows.append(row | {name: float(value) for name, value in study.costs.get(arm, {}).items()})
    return pd.DataFrame(rows)


def shown(study: Study) -> pd.DataFrame:
    """The table as text."""
    rows = []
    for row in table(study).to_dict("records"):
        cell, own = study.chosen(row["arm"]), study.map(row["arm"])
        rows.append(
            {
                "arm": study.label(row["arm"]),
                "draws": str(row["draws"]),
                "NLL": spread(study.value(cell, TEST, "nll"), 4),
                "AUROC, map": spread(study.value(cell, TEST, f"auroc/band/{own}"), 3),
                "AUROC, one pass": formatted(row["one_pass"], ".3f"),
                "AUROC, distance": formatted(row["distance"], ".3f"),
                "diversity": formatted(row["diversity"], ".3f"),
                "parameters": formatted(row.get("parameters"), ",.0f"),
                "million MACs a draw": formatted(row.get("macs"), ",.2f", 1e-6),
                "ms a training step": formatted(row.get("step_seconds"), ",.1f", 1e3),
                "ms a draw of an image": formatted(row.get("draw_seconds"), ",.2f", 1e3),
            }
        )
    return pd.DataFrame(rows)


def note(study: Study) -> str:
    """What the columns are."""
    columns = (
        "Test split, means over seeds +- sample standard deviation. AUROC: of wrong pixels in a band of "
        f"{study.config.judging['band']:g} pixels round the predicted boundary, each arm on the errors of its own "
        "mask; one pass: the entropy of one pass (of one draw where a network always draws). Diversity: 1 - the mean "
        "Dice of two draws. Costs are of one network; multiply-accumulates by an exact rule, milliseconds of this "
        "machine and beside whatever else it did."
    )
    remarks = dict.fromkeys(find(arm).remark(study.config) for arm in study.arms)
    return " ".join(filter(None, [columns, *remarks]))


def findings(study: Study) -> list[str]:
    """Who finds errors best, whose probabilities are best, and whether a hypernetwork uses its latent."""
    arms = sources(study)
    if not arms:
        return []
    sentences = [_errors(study, arms), _likelihood(study, arms)]
    return sentences + [_collapse(study, arm) for arm in arms if study.has(arm, "probe/theta_spread")]


def _collapse(study: Study, arm: str) -> str:
    """Whether all latents give the same network."""
    cell = study.chosen(arm)
    theta, logits, base = (
        mean(np.array([float(one[f"probe/{name}"]) for one in study.runs[cell]]))
        for name in ("theta_spread", "logit_spread", "base_dice")
    )
    one, many = (mean(study.value(cell, TEST, "dice", answer)) for answer in ("pass", study.final(arm)))
    return (
        f"Does the {study.label(arm)} use its latent? Over z the generated parameters vary by {theta:.3f} of their "
        f"size and the logits by {logits:.3f} of theirs (0: it collapsed). Dice {base:.3f} with delta = 0, {one:.3f} "
        f"with one z, {many:.3f} with the mean over z. Nothing but the loss keeps z in use: an implicit ensemble over "
        "z, and no posterior is claimed."
    )


def _errors(study: Study, arms: list[str]) -> str:
    def auroc(arm: str) -> np.ndarray:
        return study.metric(study.chosen(arm), "error_detection")

    order, listed = _ordered(study, arms, auroc)
    best, trivial = order[0], []
    for name, words in (("one_pass", "the entropy of one pass"), ("distance", "the distance to the boundary")):
        scores = np.nan_to_num(study.value(study.chosen(best), TEST, f"auroc/band/{name}"), nan=0.5)
        gain = statistics.paired_contrast(auroc(best), scores)
        trivial.append(f"{words} has {mean(scores):.3f} (gain {interval(gain.mean, gain.low, gain.high)})")
    plain = [
        f"; the entropy of one pass of {study.label(arm)}, on its own errors, {mean(auroc(arm)):.3f}"
        for arm in study.arms
        if arm not in arms
    ]
    return (
        "Which source of uncertainty finds errors best in the band round the predicted boundary? By mean AUROC: "
        f"{listed}{_lead(order, auroc)}{''.join(plain)}. On the errors of the {study.label(best)}, "
        f"{' and '.join(trivial)}."
    )


def _likelihood(study: Study, arms: list[str]) -> str:
    def likelihood(arm: str) -> np.ndarray:
        return study.metric(study.chosen(arm), "likelihood")

    order, listed = _ordered(study, arms, likelihood)
    plain = [f"; one pass of {study.label(a)} {mean(likelihood(a)):.3f}" for a in study.arms if a not in arms]
    return (
        "Which has the best probabilities? By mean log likelihood of a pixel, in nats: "
        f"{listed}{_lead(order, likelihood)}{''.join(plain)}."
    )


def _ordered(study: Study, arms: list[str], of: Callable[[str], np.ndarray]) -> tuple[list[str], str]:
    """Arms, the best first, and these in words with their means."""
    order = sorted(arms, key=lambda arm: mean(of(arm)), reverse=True)
    return order, ", ".join(f"{study.label(arm)} {mean(of(arm)):.3f}" for arm in order)


def _lead(order: list[str], of: Callable[[str], np.ndarray]) -> str:
    """How far the first is before the second; which two these are was seen first, so nothing is claimed by it."""
    if len(order) < 2:
        return ""
    c = statistics.paired_contrast(of(order[0]), of(order[1]))
    return f" (the first before the second by {interval(c.mean, c.low, c.high)}, described after the fact)"
