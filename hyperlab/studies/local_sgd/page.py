"""The report of the local SGD study, made from its run folder alone: tables, figures, `report.html`."""

from pathlib import Path

import numpy as np
import pandas as pd

from hyperlab.metrics.statistics import names_of
from hyperlab.report import sections
from hyperlab.report.page import Page
from hyperlab.report.tables import write_table
from hyperlab.studies.local_sgd import figures as draw
from hyperlab.studies.local_sgd import results as measured
from hyperlab.studies.local_sgd.arms import Cell, find

SMALL_SCALE = (
    "Small scale cannot settle the claim that rare communication costs accuracy: it was made for ImageNet on many "
    "machines (Gonzalez Ortiz et al. 2021, arXiv 2110.08133), and is the opposite of earlier reports at small scale. "
    "What comes out here holds for this data set, this network and these numbers of replicas."
)


def write(folder: Path) -> Path:
    """Writes `results.csv`, `contrasts.csv`, `gaps.csv`, `predictions.csv`, `figures/` and `report.html`."""
    folder = Path(folder)
    study = measured.read(folder)
    write_table(folder / "results.csv", measured.results(study))
    compared = measured.contrasts(study)
    write_table(folder / "contrasts.csv", sections.contrast_rows(compared, "of"))
    write_table(folder / "gaps.csv", measured.gaps(study))
    write_table(folder / "predictions.csv", measured.predictions(study))
    figures = draw.all_figures(folder / "figures", study, compared)
    return _page(folder, study, compared, figures).write(folder / "report.html")


def _page(folder: Path, study: measured.Study, compared, figures) -> Page:
    config, task = study.config, study.task
    page = Page("Does rare communication cost accuracy, and does slow momentum give it back?")
    page.paragraph(
        f"{task['data']}, {task['architecture']} ({task['parameters']:,} parameters); {_counted(config.replicas)} "
        f"replicas, {config.batch_size} examples each a step, H in {_counted(config.periods)}; all arms see the same "
        f"{_examples(study)} examples; {config.report_seeds} fresh seeds"
        f"{sections.look(config.report_seeds)}.",
        "lead",
    )
    page.findings(_findings(study, compared))
    page.figure(*figures.pop("communication"))
    for replicas in config.replicas:
        page.table(_scores(study, replicas), _scores_note(study, replicas))
    if "scale" in figures:
        page.heading("Scale")
        page.figure(*figures.pop("scale"))
    if compared:
        page.heading("Contrasts, named before the study ran")
        page.figure(*figures.pop("contrasts"))
        page.table(sections.contrast_table(compared, "of"), _contrasts_note(study))
    page.heading("Communication and predicted time")
    page.figure(*figures.pop("time"))
    page.table(_communication(study), _communication_note(study))
    page.figure(*figures.pop("predictions"))
    if "drift" in figures:
        page.heading("How far replicas drift apart")
        page.figure(*figures.pop("drift"))
    page.heading("How the arms were tuned")
    page.table(pd.DataFrame([_tuning_row(name, choice) for name, choice in study.choices.items()]), _tuning_note(study))
    page.table(
        pd.DataFrame(
            [
                {"arm": study.label(arm), "definition": one["definition"], "published": one["source"] or "-"}
                for arm, one in {choice["arm"]: choice for choice in study.choices.values()}.items()
            ]
        )
    )
    return sections.end(page, folder, _limits(study), config)


def _counted(numbers) -> str:
    return ", ".join(map(str, numbers))


def _examples(study: measured.Study) -> str:
    counts = sorted({study.sent(cell)["examples"] for cell in study.runs})
    return f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,} (by number of replicas)"


def _findings(study: measured.Study, compared) -> list[str]:
    period, replicas = study.largest
    sentences = []
    named = [(name, one) for family in compared.values() for name, one in family.items()]
    found = {name: _sentence(study, name, one) for name, one in named}
    by_period = "; ".join(f"H = {cell.period}: {study.score(cell).mean():.4f}" for cell in study.of("local", replicas))
    synchronous = study.cell("synchronous", 1, replicas)
    if by_period and synchronous is not None:
        sentences.append(
            f"Does {study.metric} fall with H? With {replicas} replicas, synchronous: "
            f"{study.score(synchronous).mean():.4f}; local SGD, {by_period}. {found.pop('local - synchronous', '')}"
        )
    momentum = [found.pop(name) for name in list(found) if names_of(name)[0] == "slowmo"]
    if momentum:
        sentences.append(f"Does slow momentum raise it at no extra communication? {' '.join(momentum)}")
    parts = [found.pop(name) for name in study.config.parts]
    if parts:
        sentences.append(f"The gap in its parts, at equal communication in the middle: {' '.join(parts)}")
    sentences += [found.pop(name) for name in list(found)]
    local = study.cell("local", period, replicas)
    if local is not None and synchronous is not None and replicas > 1:
        link = list(study.task["links"])[-1]
        seconds = [study.sent(cell)["step_seconds"][link] for cell in (synchronous, local)]
        sentences.append(
            f"At H = {period} each replica sends {study.sent(local)['share']:.3g} of the bytes of synchronous "
            f"training; over the link '{link}' a step is predicted to take {1e3 * seconds[1]:.3g} ms in place of "
            f"{1e3 * seconds[0]:.3g} ms."
        )
    return [*sentences, SMALL_SCALE]


def _sentence(study: measured.Study, name: str, one) -> str:
    first, second = map(study.label, names_of(name))
    return (
        f"{first} - {second} at H = {study.largest[0]}: {one.mean:+.4f} [{one.low:+.4f}, {one.high:+.4f}]: "
        f"{one.verdict}."
    )


def _scores(study: measured.Study, replicas: int) -> pd.DataFrame:
    rows = []
    for arm in study.arms:
        cells = study.of(arm, replicas)
        if cells:
            empty = {f"H = {period}": "-" for period in sorted({1, *study.config.periods})}
            scores = {f"H = {cell.period}": sections.spread(study.score(cell)) for cell in cells}
            rows.append({"arm": study.label(arm)} | empty | scores)
    return pd.DataFrame(rows)


def _scores_note(study: measured.Study, replicas: int) -> str:
    return (
        f"{replicas} replica{'s' * (replicas > 1)}, local batch {study.config.batch_size}, global batch "
        f"{replicas * study.config.batch_size}: test {study.metric} of the anchor after the last step, mean ± sample "
        f"standard deviation over {study.config.report_seeds} seeds. No step is chosen on the test split. "
        "Synchronous training has no H; an arm that would be another one at an H is not run there (post-local or an "
        "accumulated batch at H = 1)." + _identity(study, replicas)
    )


def _identity(study: measured.Study, replicas: int) -> str:
    """What local SGD at H = 1 should be: synchronous training, as long as the inner optimizer is linear."""
    one, other = study.cell("local", 1, replicas), study.cell("synchronous", 1, replicas)
    if one is None or other is None:
        return ""
    apart = study.score(one) - study.score(other)
    if study.choices[one.name]["trial"] == study.choices[other.name]["trial"]:
        return f" Local SGD at H = 1 and synchronous training differ by at most {np.abs(apart).max():.2g} in any seed."
    return (
        " Local SGD at H = 1 is synchronous training up to rounding, where the inner optimizer is linear, but tuning "
        f"chose other rates for the two: {apart.mean():+.4f} between them is what tuning alone makes."
    )


def _contrasts_note(study: measured.Study) -> str:
    period, replicas = study.largest
    return (
        f"Test {study.metric} at H = {period} with {replicas} replicas, paired by seed, n = "
        f"{study.config.report_seeds}; each family is corrected by itself. Parts of the gap: what the larger batch "
        "costs, and what is gained or lost by stepping between synchronisations, both at the same number of replicas."
    )


def _communication(study: measured.Study) -> pd.DataFrame:
    rows = []
    for cell in study.runs:
        sent = study.sent(cell)
        row = {
            "arm": study.label(cell.arm),
            "H": cell.period,
            "replicas": cell.replicas,
            "local batch": sent["local_batch"],
            "global batch": sent["global_batch"],
            "steps": sent["steps"],
            "rounds": sent["rounds"] + sent["group_rounds"],
            "MB sent": f"{sent['bytes_sent'] / 1e6:.3f}",
            "of synchronous": sections.number(sent["share"]),
        }
        row |= {f"ms a step, {link}": f"{1e3 * seconds:.3g}" for link, seconds in sent["step_seconds"].items()}
        rows.append(row | {f"steps to {study.config.target:g}": _target(study, cell)})
    return pd.DataFrame(rows)


def _target(study: measured.Study, cell: Cell) -> str:
    steps = study.steps_to_target(cell)
    reached = np.isfinite(steps)
    if not reached.any():
        return "not reached"
    # what was not reached comes later than all that was
    middle = np.median(np.where(reached, steps, np.inf))
    shown = f"{middle:.0f}" if np.isfinite(middle) else "not reached"
    return shown if reached.all() else f"{shown} ({(~reached).sum()} of {len(steps)} not reached)"


def _communication_note(study: measured.Study) -> str:
    every = max(1, study.sent(next(iter(study.runs)))["steps"] // study.config.curve_points)
    return (
        "Bytes that each replica sends, by the ring formula; rounds include synchronous steps and averages within "
        f"groups. Steps until validation {study.metric} reaches the target, median over seeds, evaluated every "
        f"{every} steps or so; times a step's predicted milliseconds it is the predicted time to the target."
    )


def _tuning_row(name: str, choice: dict) -> dict[str, str]:
    numbers = ", ".join(
        f"{key} {value:.3g}{' (edge)' if key in choice['at_edge'] else ''}" for key, value in choice["numbers"].items()
    )
    tried = "; ".join(f"{one['rate']:.3g}: {one['score']:.4f}" for one in choice["tuning"])
    return {
        "arm/H/replicas": name,
        "best numbers": numbers,
        "outer rate": f"{choice['outer_rate']:.3g}",
        "outer momentum": f"{choice['outer_momentum']:.3g}",
        "runs": str(choice["runs"]),
        "inner rate: validation score": tried,
    }


def _tuning_note(study: measured.Study) -> str:
    config = study.config
    return (
        f"Random search on validation {study.metric}, {config.trials} trials and {config.tuning_seeds} tuning seed(s) "
        "for every row, none of them reported. Arms share the inner rates of their trials; 'edge': in the outer tenth "
        "of its range, so that a wider range may have held a better one."
    )


def _limits(study: measured.Study) -> list[str]:
    config, task = study.config, study.task
    sentences = list(task["notes"])
    if task["toy"]:
        sentences.append(
            f"{task['data']} is a toy: arms that differ here may not differ elsewhere, and the reverse. The configs in "
            "configs/local_sgd are for questions."
        )
    edges = [name for name, choice in study.choices.items() if choice["at_edge"]]
    if edges:
        sentences.append(f"The best numbers of {len(edges)} of {len(study.choices)} rows lie at the edge of a range.")
    if config.data.partition.kind != "iid":
        sentences.append(
            f"Replicas do not see the same distribution ({config.data.partition.kind}): averages after several local "
            "steps then have a bias that no learning rate removes."
        )
    if study.failed:
        listed = ", ".join(f"{cell.name} {count} of {config.report_seeds}" for cell, count in study.failed.items())
        sentences.append(
            f"Trainings that diverged with numbers that had held on the tuning seeds (arm/H/replicas): {listed}. They "
            "are right nowhere, and stay in every mean."
        )
    sentences.append(
        "The seconds are predicted, not measured: replicas were an axis of arrays on this machine. Real networks share "
        "links, and real machines hide gradients' communication behind the backward pass; neither is in the model."
    )
    if config.warmup and any(find(arm).outer == "slowmo" for arm in study.arms):
        sentences.append(
            "SlowMo divides by the inner rate at a round's first step: while the rate warms up that is less than the "
            "round's mean, so its first rounds weigh more than later ones, and one that begins at rate 0 not at all."
        )
    if config.report_seeds < 5:
        sentences.append(
            f"With {config.report_seeds} seed(s) this is a look: intervals are wide, and no claim is made."
        )
    return sentences
