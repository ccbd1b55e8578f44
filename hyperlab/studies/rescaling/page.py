"""The report of the rescaling study, made from its run folder alone: tables, figures, `report.html`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hyperlab.files import read_object, write_json
from hyperlab.metrics import per_case, statistics
from hyperlab.report import sections
from hyperlab.report.finished import AGAIN
from hyperlab.report.page import Page
from hyperlab.report.tables import write_table
from hyperlab.studies.rescaling import case_tables as cases
from hyperlab.studies.rescaling import figures as draw
from hyperlab.studies.rescaling import fronts, tables
from hyperlab.studies.rescaling import results as measured
from hyperlab.studies.rescaling.findings import compared_pair, findings
from hyperlab.studies.rescaling.verdict import verdict
from hyperlab.train.phases import FIRST_REPORT_SEED

Figures = dict[str, tuple[Path, str]]


def write(folder: Path) -> Path:
    """Writes `results.csv`, `per_case.csv`, `front.csv`, `contrasts.csv`, `front.json`, `figures/`, `report.html`."""
    folder = Path(folder)
    study = measured.read(folder)
    write_table(folder / "results.csv", measured.results(study))
    per_case.write_table(folder / "per_case.csv", cases.table(folder, study))
    compared = measured.contrasts(study)
    write_table(folder / "front.csv", measured.points(study))
    write_table(folder / "contrasts.csv", sections.contrast_rows(compared))
    write_json(folder / "front.json", fronts.content(study))
    chosen = read_object(folder / "selection.json", AGAIN)
    figures = draw.all_figures(folder / "figures", study) | _pictures(folder, study, chosen)
    return _page(folder, study, compared, chosen, figures).write(folder / "report.html")


def _pictures(folder: Path, study: measured.Study, chosen: Mapping[str, Any] | None) -> Figures:
    """Test images with what the exported arm's network makes of them."""
    if chosen is None:
        return {}
    which = f"{study.label(chosen['arm'])}, seed {chosen.get('seed', FIRST_REPORT_SEED)}"
    return draw.pictures(folder, study, which)


def _page(folder: Path, study: measured.Study, compared: sections.Contrasts, chosen: Any, figures: Figures) -> Page:
    page = Page(
        "One hypernetwork for every rescaling factor: how accurate at each cost, and what does it take to train?"
    )
    subjects = len(next(iter(study.runs[study.config.arms[0]].values()))[0]["test/dice"][0])
    page.verdict(verdict(study))
    page.findings(findings(study, compared, chosen))
    page.paragraph(_setting(study.config, subjects), "lead")
    _accuracy(page, study, figures)
    _training(page, study, figures)
    _contrasts(page, study, compared)
    sections.rest(page, figures)
    page.heading("How the arms were tuned")
    rows = [tables.tuning_row(study.choices[arm]) for arm in study.config.arms]
    page.table(pd.DataFrame(rows), tables.tuning_note(study.config))
    return sections.end(page, folder, _limits(study, subjects), study.config)


def _setting(config: Any, subjects: int) -> str:
    return (
        f"{config.data.name}, a U-Net with widths {tuple(config.primary.widths)}, phi from a {config.prior.kind} prior "
        f"on ({config.prior.low:g}, {config.prior.high:g}]{_law(config)}; trained for {config.train_length} by "
        f"{measured.optimizer_name(config)}, {config.report_seeds} fresh seeds an arm"
        f"{sections.look(config.report_seeds)}, measured on {subjects} test subjects."
    )


def _law(config: Any) -> str:
    """What phi resizes beside the levels; folders of before know neither key."""
    rescaled, axes = config.get("rescale_input", False), tuple(config.get("axes", ()))
    words = f", by which the images are resized too (phi / {config.prior.high:g})" if rescaled else ""
    return words + (f", along each axis to the power {axes}" if axes else "")


def _accuracy(page: Page, study: measured.Study, figures: Figures) -> None:
    page.heading("Accuracy at each cost")
    page.table(tables.accuracy(study), tables.accuracy_note(study))
    page.figure(*figures.pop("front"))
    page.table(fronts.table(study), fronts.note(study))
    if "overlays" in figures:
        page.heading("Test images")
        page.figure(*figures.pop("overlays"))
    page.table(tables.distances(study), tables.distances_note(study))


def _training(page: Page, study: measured.Study, figures: Figures) -> None:
    page.heading("What training cost")
    page.table(tables.training(study), tables.training_note(study))
    page.figure(*figures.pop("budgets"))
    page.table(tables.budgets(study), tables.budgets_note(study))


def _contrasts(page: Page, study: measured.Study, compared: sections.Contrasts) -> None:
    config = study.config
    cut = sum(c.clipped for named in compared.values() for c in named.values())
    page.heading("Contrasts, named before the study ran")
    page.table(
        sections.contrast_table(compared),
        f"Test Dice, mean over phi in {tuple(config.factors)}; paired by seed, n = {config.report_seeds}: same "
        f"initialisation of the primary, same order of the data.{sections.cut_note(cut, measured.DIFFERENCES)}",
    )
    if (pair := compared_pair(study)) is not None:
        page.table(tables.by_factor(study, *pair), tables.by_factor_note(study, *pair))


def _limits(study: measured.Study, subjects: int) -> list[str]:
    config = study.config
    networks = sum(len(seeds) for jobs in study.runs.values() for seeds in jobs.values())
    sentences = [
        *study.notes,
        f"The test split was read by {networks} networks, after every learning rate had been chosen and written down.",
        "Seeds are the unit of the contrasts: they speak of training runs on this data set, not of other data. For the "
        "chosen factor, the interval is over test subjects.",
        "The layout of the primary, the place of FiLM's modulation and the parametrisation of the hypernetwork are "
        "ours; the published ones are not known. No number here is one of the paper.",
    ]
    if config.report_seeds < 5:
        sentences.append(f"With {config.report_seeds} seeds this is a look: nothing is claimed.")
    sentences += sections.edges(choice["label"] for choice in study.choices.values() if choice["at_edge"])
    if config.data.name == "shapes":
        sentences.append("The shapes are procedural: they show the mechanism, and say nothing about real images.")
    undefined = statistics.median_range([np.isnan(one["test/dice"]).sum() for jobs in study.runs.values()
                                         for seeds in jobs.values() for one in seeds])  # fmt: skip
    if undefined.high:
        sentences.append(
            f"Up to {int(undefined.high)} values a network of subject, class and factor are undefined (class absent in "
            f"truth and prediction) and left out of means over {subjects} subjects."
        )
    return sentences
