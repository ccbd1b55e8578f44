"""The report of the stochastic study, made from its run folder alone: tables, figures, `report.html`."""

from pathlib import Path

import numpy as np
import pandas as pd

from hyperlab.metrics import statistics
from hyperlab.report import sections
from hyperlab.report.page import Page
from hyperlab.report.tables import write_table
from hyperlab.studies.stochastic import families
from hyperlab.studies.stochastic import figures as draw
from hyperlab.studies.stochastic import results as measured
from hyperlab.studies.stochastic.arms import ARMS, LEARNERS
from hyperlab.studies.stochastic.scoring import LABELS, MEASURES, OF_MODES

_WITH_INTERVAL = ("ged", "best", "mean")


def write(folder: Path) -> Path:
    """Writes `results.csv`, `contrasts.csv`, `figures/` and `report.html`."""
    folder = Path(folder)
    study = measured.read(folder)
    write_table(folder / "results.csv", measured.results(study))
    compared = measured.contrasts(study)
    write_table(folder / "contrasts.csv", sections.contrast_rows(compared))
    figures = draw.all_figures(folder / "figures", study)
    return _page(folder, study, compared, figures).write(folder / "report.html")


def _page(folder: Path, study: measured.Study, compared, figures) -> Page:
    config = study.config
    page = Page("Do several answers of one network beat one answer under noise of the same diversity?")
    page.paragraph(
        f"{len(study.tasks)} task(s) of held-out data ({', '.join(config.data.held_out)}); images of "
        f"{'x'.join(map(str, config.data.size))}; networks across tasks trained for {config.train_length}, "
        f"{config.report_seeds} fresh seeds{sections.look(config.report_seeds)}; "
        f"{study.counts[-1]} candidates from a support set of {config.support_size}, {config.draws} support set(s) a "
        "query.",
        "lead",
    )
    page.findings(_findings(study, compared))
    page.heading(f"With {study.counts[-1]} candidates")
    for task in study.tasks:
        page.table(_table(study, task), f"{task}. {_TABLE_NOTE}")
    page.figure(*figures.pop("candidates"))
    page.heading("Contrasts, named before the study ran")
    page.table(
        sections.contrast_table(compared),
        f"With {study.counts[-1]} candidates, mean over subjects, for each task; paired by seed, n = "
        f"{config.report_seeds}. Of GED, below 0 is better.",
    )
    sections.rest(page, figures)
    page.heading("How the networks were tuned")
    page.table(
        pd.DataFrame([_tuning_row(name, choice) for name, choice in study.choices.items()]),
        "Each network has the same grid of learning rates and the same number of trials, scored on the development "
        f"tasks with {config.tuning_seeds} tuning seed(s) that are not among the reported ones"
        f"{', after ' + config.tuning_length if config.tuning_length else ''}: by minus the unbiased "
        "GED of the most candidates where a network draws, by the Dice of one answer where it does not. Arms that "
        "differ at inference alone share one network for each seed.",
    )
    page.table(pd.DataFrame([{"arm": ARMS[arm].label, "definition": ARMS[arm].definition()} for arm in config.arms]))
    return sections.end(page, folder, _limits(study), config)


def _findings(study: measured.Study, compared) -> list[str]:
    sentences = []
    for name in study.config.contrasts:
        for task in study.tasks:
            sentences.append(measured.answer(study, compared, name, task))
            first, second = statistics.names_of(name)
            found = {m: measured.interval(study, first, m, task, less=second) for m in _WITH_INTERVAL}
            parts = [f"{LABELS[m]} {i.estimate:+.3f} [{i.low:+.3f}, {i.high:+.3f}]" for m, i in found.items() if i]
            if parts:
                sentences.append(f"The same over subjects, seeds averaged (bootstrap): {'; '.join(parts)}.")
    noise = [one for runs in study.runs.values() for one in runs if "noise/wanted" in one]
    if noise:
        wanted, reached, scale, smooth = (
            np.array([float(one[f"noise/{key}"]) for one in noise])
            for key in ("wanted", "reached", "scale", "smoothness")
        )
        sentences.append(
            f"The control's noise was set on development tasks, seed by seed: diversity wanted {_listed(wanted)}, "
            f"reached {_listed(reached)} (scale {_listed(scale)} in units of a logit, smooth over {_listed(smooth)} "
            "pixels)."
            + (" Where it stayed below, noise cannot be as diverse." if (wanted - reached > 0.01).any() else "")
        )
    return sentences


def _listed(values: np.ndarray) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


def _table(study: measured.Study, task: str) -> pd.DataFrame:
    measures = [*MEASURES, "hungarian", *(OF_MODES if study.known(task) else ())]
    rows = []
    for arm in study.config.arms:
        row = {"arm": ARMS[arm].label}
        for measure in measures:
            seeds = study.by_seed(arm, measure, task)
            found = measured.interval(study, arm, measure, task) if measure in _WITH_INTERVAL else None
            ends = (found.low, found.high) if found else (seeds.min(), seeds.max())
            text = f"{seeds.mean():.3f}"
            if measure in _WITH_INTERVAL:
                text += f" [{ends[0]:.3f}, {ends[1]:.3f}]" if found else f" (seeds {ends[0]:.3f} to {ends[1]:.3f})"
            row[LABELS[measure]] = text
        rows.append(row)
    if study.known(task):
        row = {"arm": "draws from the truth"}
        row |= {LABELS[m]: f"{study.best_possible(m, task)[-1]:.3f}" for m in measures if m != "hungarian"}
        rows.append(row)
    return pd.DataFrame(rows).fillna("-")


_TABLE_NOTE = (
    "Means over subjects of the query images, seeds and support draws averaged first; in brackets 95 % bootstrap "
    "intervals over subjects (not over seeds), or with fewer than ten subjects the range over seeds. GED and diversity "
    "with d = 1 - IoU; Dice is with every annotator. Where the distribution of masks is known, GED is to it, and the "
    "last row is what independent draws from it have on average."
)


def _tuning_row(name: str, choice: dict) -> dict[str, str]:
    scored = {"ged": "minus unbiased GED", "dice": "Dice"}[choice["scored"]]
    named = {"network": name, "definition": choice["definition"], "scored by": scored}
    return named | sections.tuned(choice, "development score of each")


def _limits(study: measured.Study) -> list[str]:
    config = study.config
    networks = sum(len(seeds) for seeds in study.runs.values())
    sentences = [
        f"The held-out tasks were read by {networks} networks and seeds, once each, after every choice had been made "
        "and written down (choices.json); nothing was chosen on them, nor the control's noise.",
        "Intervals over subjects speak about queries of these data sets; contrasts speak about training runs. Neither "
        "speaks about other data sets: there are few of them.",
        "One candidate of the control is worse than the network it comes from, by the noise: its mean-candidate Dice "
        "with several candidates says by how much.",
    ]
    if {families.DEVELOPMENT, families.HELD_OUT} & {*config.data.development, *config.data.held_out}:
        sentences.append(
            "Families of ambiguous shapes: all show a body with a halo and a lobe. Training families differ in images, "
            "polarity, difficulty and in what annotators disagree about; development (dark, stretched across) and "
            "held-out (bright, stretched along) differ from them in images and in geometry, which no training family "
            "has. So what is held out is a geometry under a known kind of ambiguity, not a new kind of ambiguity."
        )
    sentences += sections.edges(name for name, choice in study.choices.items() if choice["at_edge"])
    if not config.data.store:
        sentences.append(
            "This default trains for minutes on generated tasks alone: it shows that everything works, and says little "
            "about the networks' worth."
        )
    per_task = [ARMS[arm].label for arm in config.arms if not LEARNERS[ARMS[arm].learner].across_tasks]
    if per_task:
        sentences.append(
            f"Trained anew for each task ({', '.join(per_task)}), on all its training examples and annotators, which "
            f"the others never see: {config.task_length} each."
        )
    return sentences
