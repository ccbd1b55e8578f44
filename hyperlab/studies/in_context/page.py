"""The report of the in-context study, made from its run folder alone: tables, figures, `report.html`."""

from pathlib import Path

import numpy as np
import pandas as pd

from hyperlab.in_context.baselines import BASELINES
from hyperlab.metrics import statistics
from hyperlab.metrics.defined import mean_defined
from hyperlab.report import sections
from hyperlab.report.page import Page
from hyperlab.report.tables import write_table
from hyperlab.studies.in_context import figures as draw
from hyperlab.studies.in_context import results as measured
from hyperlab.studies.in_context.arms import ARMS


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
    page = Page("Does a network that was trained across tasks segment tasks that it never saw?")
    page.paragraph(
        f"{len(study.tasks)} tasks of held-out data ({', '.join(config.data.held_out)}); images of "
        f"{'x'.join(map(str, config.data.size))}; networks across tasks trained for {config.train_length}, "
        f"{config.report_seeds} fresh seeds an arm{sections.look(config.report_seeds)}; "
        f"every query predicted from {config.draws} support sets, the same for all arms.",
        "lead",
    )
    page.findings(_findings(study, compared))
    page.heading(f"Dice with {study.largest} support images")
    page.table(_table(study), _TABLE_NOTE)
    page.figure(*figures.pop("support"))
    page.heading("Contrasts, named before the study ran")
    page.table(
        sections.contrast_table(compared),
        f"Dice with {study.largest} support images: mean over subjects, then tasks; paired by seed, "
        f"n = {config.report_seeds}.",
    )
    sections.rest(page, figures)
    page.heading("How the arms were tuned")
    page.table(
        pd.DataFrame([_tuning_row(study.choices[arm]) for arm in config.arms]),
        "Each arm has the same grid of learning rates and the same number of trials; chosen by Dice on the development "
        f"tasks with {config.tuning_seeds} tuning seed(s) that are not among the reported ones"
        f"{', after ' + config.tuning_length if config.tuning_length else ''}.",
    )
    return sections.end(page, folder, _limits(study), config)


def _findings(study: measured.Study, compared) -> list[str]:
    sentences = []
    for task in study.tasks:
        scores = {
            name: float(mean_defined(study.compared(name, task), 1).mean()) for name in (*study.config.arms, *BASELINES)
        }
        best = max(scores, key=scores.__getitem__)
        listed = "; ".join(f"{study.label(name)} {score:.3f}" for name, score in scores.items())
        sentences.append(f"{task}: {listed}. Highest: {study.label(best)}.")
    for named in compared.values():
        for name, c in named.items():
            words = " against ".join(study.label(arm) for arm in statistics.names_of(name))
            sentences.append(f"{words}: {c.mean:+.3f} [{c.low:+.3f}, {c.high:+.3f}], {c.verdict}.")
    return sentences


def _table(study: measured.Study) -> pd.DataFrame:
    rows = []
    for arm in study.config.arms:
        for task in study.tasks:
            found = measured.gains(study, arm, task)
            values = study.compared(arm, task)
            row = {"arm": study.label(arm), "task": task, "Dice": _text(found.pop("dice"), values.mean(1), "")}
            for other, interval in found.items():
                theirs = mean_defined(study.compared(other, task), 1)
                own = mean_defined(values, 1)
                column = f"less {study.label(other)}"
                row[column] = "-" if other == arm else _text(interval, own - theirs.mean(), "+")
            rows.append(row)
    for baseline in BASELINES:
        for task in study.tasks:
            values = mean_defined(study.compared(baseline, task), 1)
            rows.append({"arm": baseline, "task": task, "Dice": f"{values[0]:.3f}"})
    return pd.DataFrame(rows).fillna("-")


def _text(interval: statistics.Interval | None, seeds: np.ndarray, sign: str) -> str:
    if interval is None:
        return f"{np.nanmean(seeds):{sign}.3f} (seeds {np.nanmin(seeds):{sign}.3f} to {np.nanmax(seeds):{sign}.3f})"
    return f"{interval.estimate:{sign}.3f} [{interval.low:{sign}.3f}, {interval.high:{sign}.3f}]"


_TABLE_NOTE = (
    "Mean over subjects of the query images, seeds and support sets averaged first, with 95 % bootstrap intervals over "
    "subjects (not over seeds). A network for each task is trained anew; nearest support: the mask of the most similar "
    "support image; mean mask: where more than half of the support masks are; Otsu: the better side of a threshold."
)


def _tuning_row(choice: dict) -> dict[str, str]:
    named = {"arm": choice["label"], "definition": choice["definition"]}
    return named | sections.tuned(choice, "development Dice of each")


def _limits(study: measured.Study) -> list[str]:
    config = study.config
    networks = sum(len(seeds) for seeds in study.runs.values())
    sentences = [
        f"The held-out tasks were read by {networks} arms and seeds, once each, after every choice had been made and "
        "written down (choices.json); nothing was chosen on them.",
        "Intervals over subjects speak about queries of these data sets; contrasts speak about training runs. Neither "
        "speaks about other data sets: there are few of them.",
    ]
    sentences += sections.edges(study.label(arm) for arm in study.choices if study.choices[arm]["at_edge"])
    if not config.data.store:
        sentences.append(
            "This default trains for minutes on generated images: it shows that everything works, and says nothing "
            "about the networks' worth. Synthetic templates have their labels always about the same place, so there "
            "the mean mask is a strong baseline, and what learns from templates alone fails where objects are anywhere."
        )
    per_task = [study.label(arm) for arm in config.arms if not ARMS[arm].across_tasks]
    if per_task:
        sentences.append(
            f"Trained anew for each task ({', '.join(per_task)}): {config.task_length} each, with the same in-task "
            "augmentation; the others take one pass."
        )
    return sentences
