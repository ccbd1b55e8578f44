"""The figures of the in-context study."""

import textwrap
from pathlib import Path

import numpy as np

from hyperlab.in_context.baselines import BASELINES
from hyperlab.metrics.defined import mean_defined
from hyperlab.report import figures
from hyperlab.studies.in_context import results as measured
from hyperlab.studies.in_context.arms import ARMS


def all_figures(folder: Path, study: measured.Study) -> dict[str, tuple[Path, str]]:
    """Draws everything: `{name: (path, caption)}`, in the order of the report."""
    return figures.save_all(((name, draw(study), caption) for name, (draw, caption) in _FIGURES.items()), folder)


def _colours(study):
    return dict(zip(study.config.arms, figures.COLOURS, strict=False))


def _support(study):
    """Dice against the size of the support set, a panel for each task."""
    tasks, sizes = study.tasks, sorted(study.config.support_sizes)
    columns = min(3, len(tasks))
    figure, axes = figures.grid(-(-len(tasks) // columns), columns, width=3.6, height=3.0, sharey=True)
    for one, task in zip(axes, tasks, strict=False):
        for arm, colour in _colours(study).items():
            known = [size for size in sizes if study.queries(arm, task, size) is not None]
            runs = np.stack([mean_defined(study.subjects(arm, task, size), 1) for size in known], 1)
            if len(known) > 1:
                figures.band(one, np.array(known), runs, colour, study.label(arm))
            else:
                one.plot(known * len(runs), runs[:, 0], "o", color=colour, alpha=0.6, label=study.label(arm))
        for baseline, style in zip(BASELINES, (":", "--", "-."), strict=True):
            values = [mean_defined(study.subjects(baseline, task, size), 1)[0] for size in sizes]
            one.plot(sizes, values, style, color="0.5", linewidth=1, label=baseline)
        one.set_xscale("log", base=2)
        one.set_title(task, fontsize=9)
        one.set(xlabel="support images", xticks=sizes, xticklabels=[str(size) for size in sizes])
    for one in axes[len(tasks) :]:
        one.set_visible(False)
    axes[0].set_ylabel("Dice")
    figures.legend_below(figure, axes[0])
    return figure


def _ensembles(study):
    sizes = np.array(study.config.ensembles)
    found = {arm: measured.ensembles(study, arm) for arm in study.config.arms}
    known = {arm: runs for arm, runs in found.items() if runs is not None}
    if len(sizes) < 2 or not known:
        return None
    figure, (axes,) = figures.grid(width=5.0)
    for arm, runs in known.items():
        figures.band(axes, sizes, runs, _colours(study)[arm], study.label(arm), marker="o")
    axes.set(xlabel=f"support sets of {study.largest} images in an ensemble", ylabel="Dice", xticks=sizes)
    axes.legend(frameon=False, fontsize=8)
    return figure


def _learning(study):
    figure, (axes,) = figures.grid(width=5.0)
    arms = [arm for arm in study.config.arms if ARMS[arm].across_tasks]
    for arm in arms:
        runs = study.runs[arm]
        curve = np.stack([one["curve/dice"] for one in runs])
        figures.band(axes, runs[0]["curve/step"], curve, _colours(study)[arm], study.label(arm))
    axes.set(xlabel="training steps", ylabel="Dice on development tasks")
    axes.legend(frameon=False, fontsize=8)
    return figure if arms else None


def _gallery(study):
    """A query of each task: image, truth, support, and the mask of every arm."""
    arms = [arm for arm in study.config.arms if f"shown/{study.tasks[0]}" in study.runs[arm][0]]
    strip = study.cases[f"support/{study.tasks[0]}"].shape[0]
    titles = ["query", "truth", *[f"support {place + 1}" for place in range(strip)], *map(study.label, arms)]
    figure, axes = figures.grid(len(study.tasks), len(titles), width=1.3, height=1.45)
    rows = axes.reshape(len(study.tasks), len(titles))
    for row, task in zip(rows, study.tasks, strict=True):
        query, truth = study.cases[f"query/{task}"][0], study.cases[f"truth/{task}"][0]
        pictures = [(query, None), (query, truth)]
        pictures += list(zip(study.cases[f"support/{task}"], study.cases[f"support_labels/{task}"], strict=True))
        pictures += [(query, study.runs[arm][0][f"shown/{task}"][0]) for arm in arms]
        for one, (image, mask) in zip(row, pictures, strict=True):
            one.imshow(_overlay(image, mask), interpolation="nearest")
            one.set(xticks=[], yticks=[])
            one.grid(False)
            one.spines[["bottom", "left"]].set_visible(False)
        row[0].set_ylabel(textwrap.fill(task, 18), fontsize=7)
    for one, title in zip(rows[0], titles, strict=True):
        one.set_title(title, fontsize=7)
    return figure


def _overlay(image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """A grey image with the mask tinted, `[height, width, 3]` in 0..1."""
    grey = np.repeat(np.clip(image, 0, 1), 3, -1)
    if mask is None:
        return grey
    tint = np.array([0.84, 0.37, 0.0])
    return np.where(mask > 0.5, 0.45 * grey + 0.55 * tint, grey)


_FIGURES = {
    "support": (
        _support,
        "Dice on tasks of held-out data sets against the number of support images: median over seeds, band from the "
        "lowest to the highest seed. Grey: what needs no network. Points: networks trained for the task.",
    ),
    "gallery": (
        _gallery,
        "The first query of every held-out task, with part of the support set and the masks of the first seed.",
    ),
    "ensembles": (_ensembles, "Predictions from several support sets, averaged: Dice over queries, then tasks."),
    "learning": (_learning, "Dice on the development tasks along training; median and range over seeds."),
}
