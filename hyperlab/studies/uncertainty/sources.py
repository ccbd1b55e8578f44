"""Sources of doubt side by side in the uncertainty study: who finds errors, whose probabilities are best, at what cost.

For studies of more than one kind of network: dropout, an ensemble, a hypernetwork over a latent, candidates of Tyche.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from hyperlab.metrics import statistics
from hyperlab.report import figures
from hyperlab.studies.uncertainty import find
from hyperlab.studies.uncertainty import results as measured

OTHERS = ("bayesian", "tyche")  # networks beside the U-Net


def sources(study: measured.Study) -> list[str]:
    """Arms that answer with several networks or draws; none in a study of U-Nets alone, whose questions are others."""
    if not any(find(arm).network in OTHERS for arm in study.arms):
        return []
    return [arm for arm in study.arms if find(arm).answers != "pass"]


def table(study: measured.Study) -> pd.DataFrame:
    """One row for each arm, means over seeds, on the test split.

    Columns: `arm`; `draws`, whose mean is the answer; `dice`, `nll`, `ece` (top label); `map`, `one_pass`, `distance`:
    AUROC of pixel errors in the band; `diversity`, 1 - the mean Dice of two draws; of one network `parameters`, `macs`
    of a draw of one image, `step_seconds` and `draw_seconds`.
    """
    rows = []
    for arm in study.arms:
        point, own, one = study.chosen(arm), study.map(arm), find(arm)
        row = {"arm": arm, "draws": 1 if one.answers == "pass" else int(study.final(arm))}
        parts = {"dice": "dice", "nll": "nll", "ece": "ece_top_label"}
        parts |= {"map": f"auroc/band/{own}", "one_pass": "auroc/band/one_pass", "distance": "auroc/band/distance"}
        row |= {name: _mean(study.value(point, "test", measure)) for name, measure in parts.items()}
        several = one.answers != "pass"
        row["diversity"] = 1 - _mean(study.value(point, "test", "structure/pairwise_dice")) if several else np.nan
        rows.append(row | {name: float(value) for name, value in study.costs.get(arm, {}).items()})
    return pd.DataFrame(rows)


def shown(study: measured.Study) -> pd.DataFrame:
    """The table as text."""
    rows = []
    for row in table(study).to_dict("records"):
        point = study.chosen(row["arm"])
        own = study.map(row["arm"])
        cells = {"arm": study.label(row["arm"]), "draws": str(row["draws"])}
        cells["NLL"] = _spread(study.value(point, "test", "nll"), 4)
        cells["AUROC, map"] = _spread(study.value(point, "test", f"auroc/band/{own}"), 3)
        cells["AUROC, one pass"] = _number(row["one_pass"], ".3f")
        cells["AUROC, distance"] = _number(row["distance"], ".3f")
        cells["diversity"] = _number(row["diversity"], ".3f")
        cells["parameters"] = _number(row.get("parameters"), ",.0f")
        cells["million MACs a draw"] = _number(row.get("macs"), ",.2f", 1e-6)
        cells["ms a training step"] = _number(row.get("step_seconds"), ",.1f", 1e3)
        cells["ms a draw of an image"] = _number(row.get("draw_seconds"), ",.2f", 1e3)
        rows.append(cells)
    return pd.DataFrame(rows)


def note(study: measured.Study) -> str:
    """What the columns are."""
    sentences = [
        "Test split, means over seeds +- sample standard deviation. AUROC: of wrong pixels in a band of "
        f"{study.config.judging['band']:g} pixels round the predicted boundary, each arm on the errors of its own "
        "mask; one pass: the entropy of one pass (of one draw where a network always draws). Diversity: 1 - the mean "
        "Dice of two draws. Costs are of one network; multiply-accumulates by an exact rule, milliseconds of this "
        "machine and beside whatever else it did."
    ]
    if "tyche" in study.arms:
        sentences.append(
            f"A draw of Tyche is one of {study.config.tyche['candidates']} candidates of a pass with "
            f"{study.config.tyche['support']} examples, at the cost of all of it; in training it sees as many images "
            "to segment a step as the others, and these examples beside each."
        )
    if "noise" in study.arms:
        sentences.append(
            "Smooth noise is the control for Tyche: the network without dropout, whose logits get noise of the scale "
            "at which two draws differ on the validation split as much as two candidates of Tyche of the same seed."
        )
    return " ".join(sentences)


def figure(path: Path, study: measured.Study) -> tuple[Path, str]:
    """Draws the map of every source on the same images, each beside its own errors."""
    arms, images, labels = sources(study), study.images["shown/images"], study.images["shown/labels"]
    count, columns = len(images), 2 + 2 * len(arms)
    drawn, axes = figures.grid(count, columns, width=1.25, height=1.4)
    for axis in axes:
        axis.set_axis_off()
    axes = axes.reshape(count, columns)
    for row in range(count):
        axes[row, 0].imshow(images[row] if images.shape[-1] == 3 else images[row, ..., 0], cmap="gray")
        axes[row, 1].imshow(labels[row], cmap="gray", vmin=0)
    axes[0, 0].set_title("image", fontsize=7)
    axes[0, 1].set_title("truth", fontsize=7)
    tops = []
    for place, arm in enumerate(arms):
        run = study.runs[study.chosen(arm)][0]
        values, predicted = run[f"shown/{study.map(arm)}"], run["shown/predicted"]
        tops.append(max(float(values.max()), 1e-6))
        for row in range(count):
            axes[row, 2 + 2 * place].imshow(values[row], cmap="magma", vmin=0, vmax=tops[-1])
            axes[row, 3 + 2 * place].imshow(predicted[row] != labels[row], cmap="gray", vmin=0, vmax=1)
        axes[0, 2 + 2 * place].set_title(study.label(arm), fontsize=7)
        axes[0, 3 + 2 * place].set_title("its errors", fontsize=7)
    scales = ", ".join(f"{study.label(arm)} {top:.2f}" for arm, top in zip(arms, tops, strict=True))
    return figures.save(drawn, path), (
        f"The {study.config.judging['map']} map of every source of doubt on the same test images, first seed, black 0, "
        f"each to its own largest value in nats ({scales}); beside it white where its mask is wrong."
    )


def findings(study: measured.Study) -> list[str]:
    """Who finds errors best, whose probabilities are best, and whether a hypernetwork uses its latent."""
    arms = sources(study)
    if not arms:
        return []
    sentences = [_errors(study, arms), _likelihood(study, arms)]
    return sentences + [collapse(study, arm) for arm in arms if find(arm).network == "bayesian"]


def collapse(study: measured.Study, arm: str) -> str:
    """Whether all latents give the same network."""
    point = study.chosen(arm)
    theta, logits, base = (
        _mean(np.array([float(one[f"probe/{name}"]) for one in study.runs[point]]))
        for name in ("theta_spread", "logit_spread", "base_dice")
    )
    one, mean = (_mean(study.value(point, "test", "dice", answer)) for answer in ("pass", study.final(arm)))
    return (
        f"Does the {study.label(arm)} use its latent? Over z the generated parameters vary by {theta:.3f} of their "
        f"size and the logits by {logits:.3f} of theirs (0: it collapsed). Dice {base:.3f} with delta = 0, {one:.3f} "
        f"with one z, {mean:.3f} with the mean over z. Nothing but the loss keeps z in use: an implicit ensemble over "
        "z, and no posterior is claimed."
    )


def _errors(study: measured.Study, arms: list[str]) -> str:
    def auroc(arm: str) -> np.ndarray:
        return study.metric(study.chosen(arm), "error_detection")

    order, listed = _ordered(study, arms, auroc)
    best, beside = order[0], []
    for name, words in (("one_pass", "the entropy of one pass"), ("distance", "the distance to the boundary")):
        trivial = np.nan_to_num(study.value(study.chosen(best), "test", f"auroc/band/{name}"), nan=0.5)
        gain = statistics.paired_contrast(auroc(best), trivial)
        beside.append(f"{words} has {_mean(trivial):.3f} (gain {gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}])")
    plain = [
        f"; the entropy of one pass of {study.label(arm)}, on its own errors, {_mean(auroc(arm)):.3f}"
        for arm in study.arms
        if arm not in arms
    ]
    return (
        "Which source of doubt finds errors best in the band round the predicted boundary? By mean AUROC: "
        f"{listed}{_lead(order, auroc)}{''.join(plain)}. On the errors of the {study.label(best)}, "
        f"{' and '.join(beside)}."
    )


def _likelihood(study: measured.Study, arms: list[str]) -> str:
    def likelihood(arm: str) -> np.ndarray:
        return study.metric(study.chosen(arm), "likelihood")

    order, listed = _ordered(study, arms, likelihood)
    plain = [f"; one pass of {study.label(a)} {_mean(likelihood(a)):.3f}" for a in study.arms if a not in arms]
    return (
        "Which has the best probabilities? By mean log likelihood of a pixel, in nats: "
        f"{listed}{_lead(order, likelihood)}{''.join(plain)}."
    )


def _ordered(study: measured.Study, arms: list[str], of: Callable[[str], np.ndarray]) -> tuple[list[str], str]:
    """Arms, the best first, and these in words with their means."""
    order = sorted(arms, key=lambda arm: _mean(of(arm)), reverse=True)
    return order, ", ".join(f"{study.label(arm)} {_mean(of(arm)):.3f}" for arm in order)


def _lead(order: list[str], of: Callable[[str], np.ndarray]) -> str:
    """How far the first is before the second; which two these are was seen first, so nothing is claimed by it."""
    if len(order) < 2:
        return ""
    c = statistics.paired_contrast(of(order[0]), of(order[1]))
    return f" (the first before the second by {c.mean:+.3f} [{c.low:+.3f}, {c.high:+.3f}], described after the fact)"


def _mean(values: np.ndarray) -> float:
    return float(measured.means(np.ravel(values)[None])[0])


def _spread(values: np.ndarray, digits: int) -> str:
    known = values[~np.isnan(values)]
    if not known.size:
        return "-"
    spread = f" +- {known.std(ddof=1):.{digits}f}" if known.size > 1 else ""
    return f"{known.mean():.{digits}f}{spread}"


def _number(value: float | None, form: str, factor: float = 1.0) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{value * factor:{form}}"
