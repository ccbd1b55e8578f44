"""The report of the stability study, made from its run folder alone: tables, figures, `report.html`."""

from pathlib import Path

import numpy as np
import pandas as pd

from hyperlab.metrics import statistics
from hyperlab.report import sections
from hyperlab.report.finished import Finished
from hyperlab.report.page import Page
from hyperlab.report.tables import write_table
from hyperlab.studies.stability import figures as draw
from hyperlab.studies.stability import map_page
from hyperlab.studies.stability.arms import ARMS
from hyperlab.studies.stability.results import (
    STEPS,
    WINDOW,
    ArmResult,
    Arms,
    Compared,
    contrasts,
    families,
    finite_median,
    of_optimizer,
    read,
    results,
)
from hyperlab.studies.stability.tasks import Wording


def write(folder: Path) -> Path:
    """Writes `results.csv`, `contrasts.csv`, `figures/` and `report.html` into a finished run folder; or of a map."""
    folder = Path(folder)
    if Finished(folder).config.get("map", {}).get("laws"):
        return map_page.write(folder)
    config, wording, arms = read(folder)
    write_table(folder / "results.csv", results(wording, arms))
    compared = contrasts(config, wording, arms)
    write_table(folder / "contrasts.csv", sections.contrast_rows(families(compared)))
    figures = draw.all_figures(folder / "figures", config, wording, arms, compared)
    return _page(folder, config, wording, arms, compared, figures).write(folder / "report.html")


def _page(
    folder: Path, config, wording: Wording, arms: Arms, compared: Compared, figures: dict[str, tuple[Path, str]]
) -> Page:
    page = Page("Are hypernetwork weights proportional to their input, does it slow training, what removes it?")
    seeds, score = config["report_seeds"], wording.score
    page.paragraph(
        f"{wording.setting}; {_length(arms)} steps; "
        f"{seeds} fresh seeds an arm{sections.look(seeds)}, measured on the test split.",
        "lead",
    )
    page.findings(_findings(config, wording, arms, compared))
    page.paragraph(
        f"The arms: with h the hypernetwork and gamma {wording.gamma}, ordinary (in configs: default) is theta = "
        "h(gamma); encoding only is theta = h(E(gamma)) with E = cos|sin, of constant norm; additive only is theta = "
        "theta0 + h(gamma), where theta0 starts as the network's own initialisation; MIP is theta = theta0 + "
        "h(E(gamma)). Controls and the complete definitions are below.",
        "note",
    )
    for optimizer in config["optimizers"]:
        page.heading(f"The arms, trained with {optimizer}")
        page.table(
            pd.DataFrame([_row(arm, score) for arm in of_optimizer(arms, optimizer).values()]),
            f"Steps: median until {_target(config, score)} on test data (Kaplan-Meier over runs, not reached "
            "= censored), with the fastest and slowest run. Gradient: coefficient of variation of its norm at theta, "
            "along training within windows of "
            f"{min(WINDOW, _length(arms))} steps, and over gamma at a fixed network and batch, before | after. "
            "rms: generated kernels over the primary's own initialisation, before training: near 0 the network is "
            f"dead, and a dead network has the steadiest gradients of all. {_capital(score)} without delta: theta0 "
            "alone. The last columns count runs; medians of norms and gradients are over the runs that stayed finite.",
        )
    page.heading("Contrasts, named before the study ran")
    page.table(sections.contrast_table(families(compared)), _contrast_note(seeds))
    sections.rest(page, figures)
    page.heading("How the arms were tuned")
    page.table(
        pd.DataFrame([_tuning_row(arm) for arm in arms.values()]),
        "Each arm has the same grid of learning rates; where the best was at the edge, the grid was widened. An arm "
        "with several initialisers was tried with each, and the best pair stands for it. Chosen by mean validation "
        f"{score} along the run, on {config['tuning_seeds']} tuning seeds that are not among the reported ones.",
    )
    return sections.end(page, folder, _limits(wording, arms), config)


def _row(arm: ArmResult, score: str) -> dict[str, str]:
    median = statistics.median_time(arm.time, arm.reached)
    low, high = (arm.time[arm.reached].min(), arm.time[arm.reached].max()) if arm.reached.any() else (None, None)
    fastest = f" [{low:g}, {high:g}]" if low is not None else ""
    final = statistics.median_range(arm.score)
    alone = arm.runs.get("final/score_without_delta")
    return {
        "arm": arm.label,
        "steps": ("not reached" if median is None else f"{median:g}") + fastest,
        score: f"{final.median:.3f} [{final.low:.3f}, {final.high:.3f}]",
        "gradient, along training": sections.number(finite_median(arm.windowed)),
        "gradient, over gamma": _before_after(
            arm.over_gamma("gradient_theta", 0), arm.over_gamma("gradient_theta", -1)
        ),
        "rms": sections.number(arm.median_of("rms_ratio", 0)),
        f"{score} without delta": sections.number(None if alone is None else np.median(alone)),
        "non-finite": f"{(~arm.finite).sum()}/{len(arm.finite)}",
        "worse than at the start": f"{arm.worse.sum()}/{len(arm.worse)}",
        "never reached": f"{(~arm.reached).sum()}/{len(arm.reached)}",
    }


def _findings(config, wording: Wording, arms: Arms, compared: Compared) -> list[str]:
    sentences = []
    for optimizer in config["optimizers"]:
        prefix = f"With {optimizer}: " if len(config["optimizers"]) > 1 else ""
        trained = of_optimizer(arms, optimizer)
        found = [*_about_norms(trained), *_about_training(config, wording, trained)]
        found += [*_about_failures(trained), *_about_contrasts(trained, compared[optimizer])]
        sentences += [f"{prefix}{sentence}" for sentence in found]
    return sentences


def _about_norms(arms: dict[str, ArmResult]) -> list[str]:
    ordinary, mip = arms.get("default"), arms.get("mip")
    if ordinary is None or mip is None:
        return []
    return [
        f"Before training the norm of the generated weights grows {ordinary.growth(0):#.3g}-fold along "
        f"gamma in the ordinary hypernetwork and {mip.growth(0):#.3g}-fold with MIP; after training "
        f"{ordinary.growth(-1):#.3g}-fold and {mip.growth(-1):#.3g}-fold."
    ]


def _about_training(config, wording: Wording, arms: dict[str, ArmResult]) -> list[str]:
    main, mip = [arm for name, arm in arms.items() if name in draw.MAIN], arms.get("mip")
    reached = [f"{arm.label} {_steps(arm)}" for arm in main]
    gradients = [
        f"{arm.label} {finite_median(arm.windowed):.2g}"
        + (f" (rms {arm.median_of('rms_ratio', 0):.2g})" if "probe/rms_ratio" in arm.runs else "")
        for arm in main
    ]
    sentences = [
        f"Steps to {_target(config, wording.score)} (median): {'; '.join(reached)}.",
        "Variation of the gradient norm along training, with the rms of the generated kernels over the "
        f"primary's own initialisation: {'; '.join(gradients)}.",
    ]
    if mip is not None:
        alone = finite_median(mip.runs["final/score_without_delta"])
        sentences.append(
            f"Without its generated part (delta = 0) the MIP network has {wording.score} {alone:.3f}, "
            f"with it {finite_median(mip.score):.3f}; norm(delta) is "
            f"{finite_median(mip.runs['probe/delta_ratio'][:, -1]):.2g} of norm(theta0)."
        )
    return sentences


def _about_failures(arms: dict[str, ArmResult]) -> list[str]:
    failed = [
        f"{arm.label}: {(~arm.finite).sum()} non-finite, {arm.worse.sum()} worse than at the start, "
        f"{(~arm.reached).sum()} never reached"
        for arm in arms.values()
        if ((~arm.finite) | arm.worse | ~arm.reached).any()
    ]
    total = len(next(iter(arms.values())).score)
    return [
        f"Runs that failed, out of {total} each: {'; '.join(failed)}."
        if failed
        else "No run went non-finite, ended worse than it began, or missed the target."
    ]


def _about_contrasts(arms: dict[str, ArmResult], compared: dict[str, dict[str, statistics.Contrast]]) -> list[str]:
    verdicts = [
        f"{_in_words(name, arms)}: {c.mean:+.3g} steps [{c.low:+.3g}, {c.high:+.3g}], {c.verdict}"
        for name, c in compared[STEPS].items()
    ]
    return [f"Contrasts, paired by seed, 95 % together: {'; '.join(verdicts)}."] if verdicts else []


def _steps(arm: ArmResult) -> str:
    median = statistics.median_time(arm.time, arm.reached)
    return "not reached by half of the runs" if median is None else f"{median:g}"


def _in_words(contrast: str, arms: dict[str, ArmResult]) -> str:
    return " against ".join(arms[arm].label for arm in statistics.names_of(contrast))


def _contrast_note(seeds: int) -> str:
    return (
        "Steps to the target is the primary metric; Holm's correction is within a metric. "
        f"Paired by seed, n = {seeds}: same initialisation of the primary, same order of the data. Steps to the target "
        "count as the whole run where it is not reached. Differences in steps: below zero, the first arm is faster."
    )


def _tuning_row(arm: ArmResult) -> dict[str, str]:
    c = arm.choice
    return {
        "arm": arm.label,
        "optimizer": arm.cell.optimizer,
        "definition": c["definition"],
        "initialiser": c["initializer"] if ARMS[arm.cell.arm].hypernetwork else "-",
    } | sections.tuned(c)


def _limits(wording: Wording, arms: Arms) -> list[str]:
    runs = sum(len(arm.score) for arm in arms.values())
    trials = sorted({arm.choice["trials"] for arm in arms.values()})
    few, many = trials[0], trials[-1]
    sentences = [
        f"The test split was read by {runs} runs, once each, after every choice had been made and written down "
        "(choices.json); nothing was chosen on it.",
        f"Trials an arm: {few}{f' to {many}: arms with several initialisers get more' if many > few else ''}.",
        "Seeds are the unit: the intervals speak about training runs on this data set and this network, not about "
        "other data. A verdict 'not separable' does not say that two arms are equal.",
        *wording.limits,
    ]
    sentences += sections.edges(arm.label for arm in arms.values() if arm.choice["at_edge"])
    return sentences


def _target(config, score: str) -> str:
    return f"{score} {config['target_score']:g}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _length(arms: Arms) -> int:
    return int(next(iter(arms.values())).steps[-1])


def _before_after(before: np.ndarray | None, after: np.ndarray | None) -> str:
    if before is None or after is None:
        return "-"
    return f"{sections.number(finite_median(before))} | {sections.number(finite_median(after))}"
