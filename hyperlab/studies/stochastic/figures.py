"""The figures of the stochastic study."""

from pathlib import Path

import numpy as np

from hyperlab.report import figures
from hyperlab.studies.stochastic.arms import ARMS
from hyperlab.studies.stochastic.results import Study
from hyperlab.studies.stochastic.scoring import LABELS

_BINS = 5


def all_figures(folder: Path, study: Study) -> dict[str, tuple[Path, str]]:
    """Draws everything: `{name: (path, caption)}`, in the order of the report."""
    drawn = {"candidates": (_candidates(study), _CANDIDATES)}
    if any(map(study.known, study.tasks)):
        drawn["calibration"] = _calibration(study), _CALIBRATION
    for number, task in enumerate(study.tasks):
        drawn[f"gallery_{number}"] = _gallery(study, task), f"{task}: {_GALLERY}"
    drawn["learning"] = _learning(study), _LEARNING
    return figures.save_all(((name, *one) for name, one in drawn.items()), folder)


def _colours(study):
    return dict(zip(study.config.arms, np.resize(figures.COLOURS, len(study.config.arms)), strict=True))


def _candidates(study):
    """Measures against the number of candidates, a panel for each task and measure."""
    panels = [(task, measure) for task in study.tasks for measure in study.measures(task)]
    columns = min(4, len(panels))
    figure, axes = figures.grid(-(-len(panels) // columns), columns, width=2.7, height=2.5)
    for one, (task, measure) in zip(axes, panels, strict=False):
        for arm, colour in _colours(study).items():
            runs = np.nanmean(_kept(study.subjects(arm, measure, task)), -1)
            figures.band(one, np.array(study.counts), runs, colour, ARMS[arm].label, marker="o", markersize=3)
        if study.known(task):
            possible = study.best_possible(measure, task)
            one.plot(study.counts, possible, "k--", linewidth=1, label="draws from the truth")
        one.set_xscale("log", base=2)
        one.set(xticks=study.counts, xticklabels=list(map(str, study.counts)))
        one.set_title(f"{LABELS[measure]}\n{task}", fontsize=8)
        one.set_xlabel("candidates", fontsize=8)
        one.tick_params(labelsize=7)
    for one in axes[len(panels) :]:
        one.set_visible(False)
    # tasks differ in whether the truth is known: the fullest panel names everything
    figures.legend_below(figure, max(axes, key=lambda one: len(one.get_legend_handles_labels()[1])))
    return figure


def _kept(values: np.ndarray) -> np.ndarray:
    """Where nothing is defined (one candidate has no diversity): infinity, which a band leaves out."""
    return np.where(np.isnan(values).all(-1, keepdims=True), np.inf, values)


def _calibration(study):
    """Frequency of each mode against its probability, a panel for each arm."""
    tasks = [task for task in study.tasks if study.known(task)]
    arms = study.config.arms
    columns = min(4, len(arms))
    figure, axes = figures.grid(-(-len(arms) // columns), columns, width=2.4, height=2.5, sharex=True, sharey=True)
    for one, arm in zip(axes, arms, strict=False):
        probabilities = np.concatenate([study.cases[f"probabilities/{task}"].ravel() for task in tasks])
        drawn = np.concatenate([study.queries(arm, "frequencies", task).mean(0).ravel() for task in tasks])
        one.plot([0, 1], [0, 1], "k--", linewidth=1)
        one.plot(probabilities, drawn, "o", color=_colours(study)[arm], alpha=0.25, markersize=3, markeredgewidth=0)
        edges = np.quantile(probabilities, np.linspace(0, 1, _BINS + 1))
        bins = np.clip(np.searchsorted(edges, probabilities, side="right") - 1, 0, _BINS - 1)
        filled = np.unique(bins)
        middles, heights = ([values[bins == place].mean() for place in filled] for values in (probabilities, drawn))
        one.plot(middles, heights, "-s", color="black", markersize=4, linewidth=1)
        one.set_title(ARMS[arm].label, fontsize=8)
        one.set(xlim=(0, 1), ylim=(-0.02, 1.02))
    for one in axes[len(arms) :]:
        one.set_visible(False)
    figure.supxlabel("probability of the mode", fontsize=9)
    figure.supylabel("its frequency among candidates", fontsize=9)
    return figure


def _gallery(study, task):
    """The first query: image, annotators and support strip, then the candidates of each arm."""
    cases, most = study.cases, study.counts[-1]
    query, annotators = cases[f"query/{task}"][0], cases[f"annotations/{task}"][0]
    top = [("query", query, None)]
    top += [(f"annotator {i + 1}", query, mask[..., None]) for i, mask in enumerate(annotators)]
    support = zip(cases[f"support/{task}"], cases[f"support_labels/{task}"], strict=True)
    top += [(f"support {i + 1}", *pair) for i, pair in enumerate(support)]
    columns, arms = max(most, len(top)), study.config.arms
    figure, axes = figures.grid(1 + len(arms), columns, width=0.95, height=1.1)
    for one in axes:
        one.set_axis_off()
    rows = axes.reshape(1 + len(arms), columns)
    for one, (title, image, mask) in zip(rows[0], top, strict=False):
        _show(one, image, mask)
        one.set_title(title, fontsize=7)
    for row, arm in zip(rows[1:], arms, strict=True):
        for one, mask in zip(row, study.seeds(arm)[0][f"shown/{arm}/{task}"][0], strict=False):
            _show(one, query, mask[..., None])
        row[0].set_title(ARMS[arm].label, fontsize=7, loc="left")
    return figure


def _show(axes, image: np.ndarray, mask: np.ndarray | None) -> None:
    """A grey image, and over it a mask."""
    axes.imshow(image[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    if mask is not None:
        marked = np.zeros((*image.shape[:2], 4))
        marked[mask[..., 0] > 0.5] = (0.84, 0.37, 0.0, 0.55)
        axes.imshow(marked, interpolation="nearest")


def _learning(study):
    names = [name for name, runs in study.runs.items() if "curve/step" in runs[0]]
    if not names:
        return None
    kinds = [kind for kind in ("ged", "dice") if any(study.choices[name]["scored"] == kind for name in names)]
    figure, axes = figures.grid(1, len(kinds), width=4.2)
    for one, kind in zip(axes, kinds, strict=True):
        scored = [name for name in names if study.choices[name]["scored"] == kind]
        for name, colour in zip(scored, figures.COLOURS, strict=False):
            curve = np.stack([run["curve/score"] for run in study.runs[name]])
            sign = -1 if kind == "ged" else 1
            figures.band(one, study.runs[name][0]["curve/step"], sign * curve, colour, name)
        one.set(xlabel="training steps", ylabel={"ged": "unbiased GED", "dice": "Dice of one answer"}[kind])
        one.legend(frameon=False, fontsize=8)
    return figure


_CANDIDATES = (
    "Held-out tasks, against the number of candidates: median over seeds, band from the lowest to the highest seed. "
    "Dashed: what independent draws from the known distribution of masks have on average. The usual GED and the best "
    "candidate get better with the number of candidates whatever they are; of independent candidates, the unbiased GED "
    "and the mean candidate do not. At one candidate UniverSeg with support draws is the deterministic network."
)
_CALIBRATION = (
    "How often each mode is drawn against its probability, for every query and mode (mean over seeds and support "
    "draws); black: means of five groups. On the diagonal a mode is drawn as often as annotators choose it. A "
    "candidate near no mode counts for none."
)
_GALLERY = (
    "the first query, its annotators, part of the support set (each image with one annotator's label), and below the "
    "candidates of each arm, first seed."
)
_LEARNING = "What learning rates were chosen by, on development tasks along training; median and range over seeds."
