"""The report of the rescaling study, made from its run folder alone: tables, figures, `report.html`."""

from pathlib import Path

import numpy as np
import pandas as pd

from hyperlab.files import read_object, write_json, writing
from hyperlab.metrics import per_case, statistics
from hyperlab.report import sections
from hyperlab.report.finished import AGAIN
from hyperlab.report.page import Page
from hyperlab.report.tables import write_table
from hyperlab.studies.rescaling import case_tables as cases
from hyperlab.studies.rescaling import figures as draw
from hyperlab.studies.rescaling import results as measured
from hyperlab.studies.rescaling.arms import ARMS
from hyperlab.train.units import UnitFiles

PUBLISHED_COST = 1.8  # times the training of one U-Net, as its authors state (arXiv 2304.05448, author discussion)


def write(folder: Path) -> Path:
    """Writes `results.csv`, `per_case.csv`, `front.csv`, `contrasts.csv`, `front.json`, `figures/`, `report.html`."""
    folder = Path(folder)
    study = measured.read(folder)
    write_table(folder / "results.csv", measured.results(study))
    per_case.write_table(folder / "per_case.csv", cases.table(folder, study))
    points, compared = measured.points(study), measured.contrasts(study)
    write_table(folder / "front.csv", points)
    write_table(folder / "contrasts.csv", sections.contrast_rows(compared))
    write_json(folder / "front.json", _front(study, points))
    figures = draw.all_figures(folder / "figures", study) | _overlay(folder)
    return _page(folder, study, points, compared, figures).write(folder / "report.html")


def _front(study: measured.Study, points: pd.DataFrame) -> dict:
    """The front of each arm with its hypervolume, at one reference point: no Dice, the cost of the whole image."""
    from hyperlab import pareto

    reference = {"dice": 0.0, "macs": float(points["macs"].max()) * 1.01}
    fronts = {}
    for arm, part in points.groupby("arm", sort=False):
        volume = pareto.hypervolume(part, measured.DIRECTIONS, reference)
        own = part[pareto.front(part, measured.DIRECTIONS)]
        fronts[arm] = {
            "hypervolume": volume.value,
            "points": own[["rescaling_factor", "width", "macs", "dice"]].to_dict("records"),
        }
    return {"reference": reference, "arms": fronts}


def _overlay(folder: Path) -> dict[str, tuple[Path, str]]:
    """The strips that the study kept for TensorBoard, as one picture."""
    if not (folder / "units" / "overlays.npz").exists():
        return {}
    _, found = UnitFiles(folder / "units").finished("overlays")
    from PIL import Image

    names, strips = list(found), list(found.values())
    scale = max(1, 960 // sum(strip.shape[1] for strip in strips))
    gap = np.full((strips[0].shape[0], 4, 3), 255, np.uint8)
    row = np.concatenate([part for strip in strips for part in (strip, gap)][:-1], 1)
    picture = Image.fromarray(row.repeat(scale, 0).repeat(scale, 1))
    target = folder / "figures" / "overlays.png"
    with writing(target) as partial:
        picture.save(partial)
    shown = ", ".join(name.removeprefix("factor_") for name in names)
    return {"overlays": (target, f"Test images at phi = {shown}: image, truth, prediction, errors in red.")}


# -- the page -----------------------------------------------------------------------------------------------------


def _page(folder: Path, study: measured.Study, points: pd.DataFrame, compared, figures) -> Page:
    config = study.config
    page = Page(
        "One hypernetwork for every rescaling factor: how accurate at each cost, and what does it take to train?"
    )
    subjects = len(next(iter(study.runs[config.arms[0]].values()))[0]["test/dice"][0])
    page.paragraph(
        f"{config.data.name}, a U-Net with widths {tuple(config.primary.widths)}, phi from a {config.prior.kind} prior "
        f"on ({config.prior.low:g}, {config.prior.high:g}]{_law(config)}; trained for {config.train_length}, "
        f"{config.report_seeds} fresh seeds an arm{sections.look(config.report_seeds)}, measured "
        f"on {subjects} test subjects.",
        "lead",
    )
    page.findings(_findings(folder, study, compared))
    page.heading("Accuracy at each cost")
    page.table(
        _table(study),
        "Test Dice, mean over subjects, then classes; mean over seeds [lowest, highest seed]. MACs: multiply-"
        f"accumulates of the primary on one image, relative to phi = {study.reference:g}; every arm runs this same "
        "network in the end, so at one phi all arms cost the same to run.",
    )
    page.figure(*figures.pop("front"))
    page.table(_distances(study), _distances_note(study))
    page.heading("What training cost")
    page.table(_training(study), _training_note(study))
    page.figure(*figures.pop("budgets"))
    seconds = measured.equal_seconds(study)
    for column in ("Dice at equal steps", "Dice at equal seconds"):
        seconds[column] = seconds[column].map("{:.3f}".format)
    seconds["seconds"] = seconds["seconds"].map("{:.1f}".format)
    page.table(seconds, "Validation split. Seconds: until the cheapest arm has trained one network to the end.")
    page.heading("Contrasts, named before the study ran")
    page.table(
        sections.contrast_table(compared),
        f"Test Dice, mean over phi in {tuple(config.factors)}; paired by seed, n = {config.report_seeds}: same "
        "initialisation of the primary, same order of the data.",
    )
    if (pair := _pair(study)) is not None:
        page.table(_by_factor(study, *pair), _by_factor_note(study, *pair))
    sections.rest(page, figures)
    page.heading("How the arms were tuned")
    page.table(pd.DataFrame([_tuning_row(study.choices[arm]) for arm in config.arms]), _tuning_note(config))
    return sections.end(page, folder, _limits(study, subjects), config)


def _law(config) -> str:
    """What phi resizes beside the levels; folders of before know neither key."""
    rescaled, axes = config.get("rescale_input", False), tuple(config.get("axes", ()))
    words = f", by which the images are resized too (phi / {config.prior.high:g})" if rescaled else ""
    return words + (f", along each axis to the power {axes}" if axes else "")


def _findings(folder: Path, study: measured.Study, compared) -> list[str]:
    config, sentences = study.config, []
    arms = [arm for arm in config.arms if not ARMS[arm].by_width]
    for factor in config.factors:
        scores = {arm: study.scores(arm, factor).mean() for arm in arms}
        best = max(scores, key=scores.__getitem__)
        listed = "; ".join(f"{study.label(arm)} {score:.3f}" for arm, score in scores.items())
        relative = study.macs(factor) / study.macs(study.reference)
        sentences.append(
            f"phi {factor:g} ({relative:.0%} of the MACs of phi {study.reference:g}): test Dice {listed}. Highest: "
            f"{study.label(best)}."
        )
    if (pair := _pair(study)) is not None:
        table = measured.by_factor(study, *pair)
        names = [study.label(arm) for arm in pair]
        inside, above = int(table["non_inferior"].sum()), int(table["superior"].sum())
        look = " (a look: fewer than five seeds)" if config.report_seeds < 5 else ""
        sentences.append(
            f"{names[0]} less {names[1]}, together over {len(table)} factors: within {config.margin:g} Dice (non-"
            f"inferior) at {inside} of {len(table)}, above it (superior) at {above}{look}."
        )
    if "sshn" in study.runs and "fixed" in study.runs:
        one, many = study.train_seconds("fixed"), len(config.factors)
        total = sum(cost["train_seconds"] for cost in study.training["fixed"].values())
        ratio = study.train_seconds("sshn") / one
        steps = study.training["sshn"][next(iter(study.training["sshn"]))]["step_seconds"]
        fixed = max(study.training["fixed"].values(), key=lambda cost: cost["train_seconds"])["step_seconds"]
        sentences.append(
            f"Training SSHN took {ratio:.2f} times as long as one Fixed network and "
            f"{study.train_seconds('sshn') / total:.2f} times as long as the {many} compared ones, compilation counted "
            f"({steps / fixed:.2f} times for a step alone; the published figure is {PUBLISHED_COST} times one U-Net)."
        )
    verdicts = [
        f"{_words(name, study)}: {c.mean:+.4f} [{c.low:+.4f}, {c.high:+.4f}], {c.verdict}"
        for named in compared.values()
        for name, c in named.items()
    ]
    if verdicts:
        sentences.append(f"Mean over the compared factors, paired by seed, 95 % together: {'; '.join(verdicts)}.")
    if (chosen := read_object(folder / "selection.json", AGAIN)) is not None:
        sentences.append(
            f"Chosen on validation, the cheapest within {chosen['tolerance']:g} Dice of the best: "
            f"{chosen['sentence']}; exported to network/."
        )
    return sentences


def _pair(study: measured.Study) -> tuple[str, str] | None:
    return ("sshn", "fixed") if {"sshn", "fixed"} <= set(study.runs) else None


def _words(contrast: str, study: measured.Study) -> str:
    return " against ".join(map(study.label, statistics.names_of(contrast)))


def _table(study: measured.Study) -> pd.DataFrame:
    rows = []
    for factor in study.config.factors:
        row = {"phi": f"{factor:g}", "MACs": f"{study.macs(factor):,.0f}"}
        row["relative"] = f"{study.macs(factor) / study.macs(study.reference):.2f}"
        row["latency, ms"] = f"{1e3 * study.inference[1.0].loc[factor, 'latency']:.2f}"
        for arm in study.config.arms:
            scores = study.scores(arm, factor)
            if len(scores):
                row[study.label(arm)] = f"{scores.mean():.3f} [{scores.min():.3f}, {scores.max():.3f}]"
        rows.append(row)
    return pd.DataFrame(rows).fillna("-")


def _distances(study: measured.Study) -> pd.DataFrame:
    table = cases.distances(study)
    for name in cases.DISTANCES:
        table[name] = table[name].map("{:.3f}".format)
    table["undefined"] = table["undefined"].map("{:.1%}".format)
    return table


def _distances_note(study: measured.Study) -> str:
    return (
        "Distances between the surfaces of prediction and truth on the test split, over the compared factors: mean "
        "over images where both masks hold the class, then classes, factors and seeds; in mm where the spacing is "
        "known, else in pixels. hd95_pooled: 95th percentile of both directions together; hd95_max: the larger of the "
        f"two directions' percentiles; nsd: share of the surfaces within {study.config.surface_tolerance:g} of the "
        "other. Undefined: image and class pairs left out of the distances. Every case is in per_case.csv; "
        "summary.json has the exported network's cases in the field names of nnU-Net."
    )


def _training(study: measured.Study) -> pd.DataFrame:
    rows, one = [], study.train_seconds("fixed") if "fixed" in study.runs else None
    for arm, jobs in study.training.items():
        costliest = max(jobs.values(), key=lambda cost: cost["train_seconds"])
        total = sum(cost["train_seconds"] for cost in jobs.values())
        rows.append(
            {
                "arm": study.label(arm),
                "networks": str(len(jobs)),
                "trained parameters": f"{int(costliest['parameters']):,}",
                "programs": f"{int(costliest['programs'])}",
                "compiling, s": f"{costliest['compile_seconds']:.1f}",
                "step, ms": f"{1e3 * costliest['step_seconds']:.1f}",
                "one network, s": f"{costliest['train_seconds']:.1f}",
                "all of them, s": f"{total:.1f}",
                "to one Fixed": "-" if one is None else f"{costliest['train_seconds'] / one:.2f}",
            }
        )
    return pd.DataFrame(rows)


def _training_note(study: measured.Study) -> str:
    return (
        "Measured before the study, alone on the machine: seconds of tracing and compiling the training programs, plus "
        "the steps at the median time of a step (over the prior: the mean over buckets, each at its largest factor). "
        f"Of several networks, the most expensive one. {study.config.programs} programs for the prior at most."
    )


def _by_factor(study: measured.Study, first: str, second: str) -> pd.DataFrame:
    table = measured.by_factor(study, first, second)
    return pd.DataFrame(
        {
            "phi": table["rescaling_factor"].map("{:g}".format),
            study.label(first): table["first"].map("{:.4f}".format),
            study.label(second): table["second"].map("{:.4f}".format),
            "difference": table["difference"].map("{:+.4f}".format),
            "interval, together": [f"[{a:+.4f}, {b:+.4f}]" for a, b in zip(table["low"], table["high"], strict=True)],
            "non-inferior": table["non_inferior"].map({True: "yes", False: "not shown"}),
            "superior": table["superior"].map({True: "yes", False: "not shown"}),
        }
    )


def _by_factor_note(study: measured.Study, first: str, second: str) -> str:
    return (
        f"{study.label(first)} less {study.label(second)} on the test split, paired by seed; t intervals at 95 % "
        f"together over the factors (Bonferroni). Non-inferior: the interval is above -{study.config.margin:g}; "
        "superior: above 0. Not shown does not say that it is otherwise."
    )


def _tuning_row(choice: dict) -> dict[str, str]:
    named = {"arm": choice["label"], "definition": choice["definition"]}
    return named | sections.tuned(choice, "validation Dice of each")


def _tuning_note(config) -> str:
    return (
        "The same grid of learning rates for every arm, chosen by validation Dice at the end of a run, mean over the "
        f"compared factors, on {config.tuning_seeds} tuning seed{'s' * (config.tuning_seeds > 1)} that are not among "
        "the reported ones. A trial of an arm with a network for each factor trains all of them."
    )


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
