"""The report of the uncertainty study, made from its run folder alone: tables, figures, `report.html`."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from hyperlab.report import sections
from hyperlab.report.page import Page
from hyperlab.report.tables import write_table
from hyperlab.studies.uncertainty import results, shown_tables, side_by_side
from hyperlab.studies.uncertainty import tables as numbers
from hyperlab.studies.uncertainty.figures import Figures, all_figures
from hyperlab.studies.uncertainty.findings import findings
from hyperlab.studies.uncertainty.results import Study

TABLES = {
    "gains": numbers.gains,
    "acceptance": numbers.acceptance,
    "shifts": numbers.shifts,
    "kinds": numbers.kinds,
}


def write(folder: Path) -> Path:
    """Writes `report.html`, figures, and tables as CSV: `results`, `contrasts`, `sources`, and all of `TABLES`."""
    folder = Path(folder)
    study = results.read(folder)
    write_table(folder / "results.csv", results.results(study))
    compared = results.contrasts(study)
    write_table(folder / "contrasts.csv", sections.contrast_rows(compared, "of"))
    tables = {name: table(study) for name, table in TABLES.items()}
    for name, table in tables.items():
        write_table(folder / f"{name}.csv", table)
    write_table(folder / "sources.csv", side_by_side.table(study))
    figures = all_figures(folder / "figures", study, compared)
    return _page(folder, study, compared, tables, figures).write(folder / "report.html")


def _page(
    folder: Path,
    study: Study,
    compared: sections.Contrasts,
    tables: Mapping[str, pd.DataFrame],
    figures: Figures,
) -> Page:
    several_kinds = side_by_side.sources(study)
    asked = "which source of uncertainty knows best" if several_kinds else "does dropping whole channels help it know"
    page = Page(f"Does a segmentation network know where it is wrong, and {asked}?")

    def show(*names: str) -> None:
        for name in names:
            if name in figures:
                page.figure(*figures[name])

    page.paragraph(_lead(study), "lead")
    page.findings(findings(study, compared, tables))
    show("sources", "maps")
    page.heading("Every arm side by side, and what it costs")
    page.table(side_by_side.shown(study), side_by_side.note(study))
    page.heading("Segmentation and probabilities")
    page.table(*shown_tables.quality(study))
    show("calibration")
    if compared:
        page.heading("Contrasts, named before the study ran")
        show("contrasts")
        page.table(
            sections.contrast_table(compared, "of"),
            "Higher is better. error_detection: AUROC of pixel errors inside the band round the predicted boundary; "
            "independence: 1 - mean |correlation| between feature maps. Each arm at the dropout rate that the "
            "likelihood of the validation split chose.",
        )
    page.heading("Does the map find errors?")
    if len(tables["gains"]):
        page.table(*shown_tables.gains(study, tables["gains"]))
    page.table(*shown_tables.detection(study))
    show("score")
    page.heading("Accepting images unseen")
    page.table(*shown_tables.acceptance(study, tables["acceptance"]))
    show("coverage")
    if "shifts" in figures:
        page.heading("Shifts away from the domain")
        show("shifts")
        page.paragraph(
            "Where the mean intensity or the predicted area tells shifted images as well as the map does, the map was "
            "not needed for it.",
            "note",
        )
    page.heading("Dropout rates, draws, feature maps")
    show("rates", "draws", "features", "kinds")
    page.table(*shown_tables.matched(study))
    page.heading("What the arms are, and what was tried")
    page.table(*shown_tables.arms(study))
    page.heading("Data")
    for sentence in shown_tables.data_notes(study):
        page.paragraph(sentence, "note")
    page.heading("How to reproduce this")
    page.code(sections.reproduce(folder))
    return page


def _lead(study: Study) -> str:
    data, seeds = study.data, study.config.report_seeds
    return (
        f"{data['name']}, images of {' x '.join(map(str, data['shape']))}, {data['sizes']['train']} to train on, "
        f"{data['sizes']['validation']} to choose on, {data['sizes']['test']} to report; a U-Net of "
        f"{data['parameters']:,} parameters, {data['steps']} steps; {seeds} fresh seeds{sections.look(seeds)}. Results "
        "of this library; the malaria paper's numbers (Soleimany et al., 2019, arXiv 1912.00262) are not known, and "
        "nothing here reproduces them."
    )
