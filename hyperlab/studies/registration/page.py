"""The report of the registration study, made from its run folder alone: tables, figures, `report.html`."""

from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from hyperlab.metrics import statistics
from hyperlab.report import sections
from hyperlab.report.page import Page
from hyperlab.report.tables import write_table
from hyperlab.studies.registration import figures as draw
from hyperlab.studies.registration.results import (
    ArmResult,
    contrasts,
    hypermorphs,
    per_subject,
    read,
    results,
    subject_gain,
)


def write(folder: Path) -> Path:
    """Writes `results.csv`, `per_subject.csv`, `contrasts.csv`, `figures/`, `report.html` into a finished folder."""
    folder = Path(folder)
    config, data, arms = read(folder)
    write_table(folder / "results.csv", results(config, arms))
    write_table(folder / "per_subject.csv", per_subject(data, arms))
    compared = contrasts(config, arms)
    write_table(folder / "contrasts.csv", sections.contrast_rows(compared, group=None))
    figures = draw.all_figures(folder / "figures", config, data, arms, compared)
    return _page(folder, config, data, arms, compared, figures).write(folder / "report.html")


def _page(folder: Path, config, data, arms: dict[str, ArmResult], compared, figures) -> Page:
    page = Page("Does one HyperMorph do what separate registration networks do at every regularisation weight?")
    seeds, subjects = config["report_seeds"], len(arms["identity"].subjects)
    page.paragraph(
        f"{data['name']}: {subjects} test subjects, images of {'x'.join(map(str, config['data']['size']))} voxels; "
        f"{config['train_length']} of {config['batch_size']} pairs a network; {seeds} fresh seeds an arm"
        f"{sections.look(seeds)}, measured on the test split.",
        "lead",
    )
    page.findings(_findings(config, arms, compared))
    page.table(_by_weight(config, arms), _BY_WEIGHT_NOTE)
    page.table(_costs(config, arms), _COST_NOTE)
    if "overview" in figures:
        page.figure(*figures.pop("overview"))
    page.heading("Contrasts, named before the study ran")
    page.table(
        _contrast_table(compared),
        f"Paired by seed, n = {seeds}: same initialisation of the VoxelMorph, same order of the pairs. t intervals, "
        "Holm's correction within a metric. Each arm's weight is the one of its best validation Dice, among those of "
        "the separate networks.",
    )
    page.table(
        _subject_table(arms),
        "Over subjects, seeds averaged: what is claimed of these data. Gains count from the identity up. Bootstrap "
        "interval (BCa) of the mean with 10 subjects or more, else the range.",
    )
    sections.rest(page, figures)
    page.heading("How the arms were tuned")
    page.table(
        pd.DataFrame([_tuning_row(arm) for arm in arms.values() if "tuning" in arm.choice]),
        "Scored by the loss on the validation split over the identity's, averaged over the weights, on "
        f"{config['tuning_seeds']} tuning seed{'s' * (config['tuning_seeds'] > 1)} that are not among the reported "
        "ones. Every network gets the same grid of rates, widened where the best is at its edge; separate networks "
        "are tuned one by one, and an arm with several initialisers is tried with each.",
    )
    return sections.end(page, folder, _limits(folder, config, data, arms), config)


_BY_WEIGHT_NOTE = (
    "Dice: mean over classes and subjects (slices of a subject pooled), mean over seeds [lowest, highest seed]. In "
    "brackets after a HyperMorph: its mean difference to the separate network of that weight, seeds paired. Folding: "
    "share of voxels whose Jacobian determinant is at most 0, mean over seeds."
)
_COST_NOTE = (
    "Seconds of one seed on this machine, as measured while the study ran; other processes slow them. One compiled "
    "program serves all separate networks, so its compilation counts once; one that came from the cache counts "
    "with the time that it once took. Optimising pairs trains nothing and pays at every new pair instead: its seconds "
    "are for all test pairs at all weights."
)


def _findings(config, arms: dict[str, ArmResult], compared) -> list[str]:
    sentences, identity = [], arms["identity"]
    start = float(identity.mean_dice[0, 0])
    hyper, separate = hypermorphs(arms), arms.get("separate")
    for arm in hyper:
        if separate is None:
            continue
        gaps = [arm.at(arm.mean_dice, w).mean() - separate.at(separate.mean_dice, w).mean() for w in config["weights"]]
        ratio = arm.cost() / max(separate.cost(), 1e-9)
        sentences.append(
            f"{arm.label}: Dice minus the separate network's from {min(gaps):+.3f} to {max(gaps):+.3f} over the "
            f"weights {', '.join(f'{w:g}' for w in config['weights'])}; {ratio:.2f} times the training time of the "
            f"{len(config['weights'])} separate networks together ({arm.cost():.0f} s against {separate.cost():.0f} s)."
        )
    at_best = [
        f"{arm.label} {arm.at(arm.mean_dice, arm.choice['weight']).mean() - start:+.3f} (weight "
        f"{arm.choice['weight']:g})"
        for arm in [*([separate] if separate else []), *hyper, arms["pairwise"]]
    ]
    sentences.append(
        f"Dice gained over the identity's {start:.3f}, at the weight chosen on validation: {'; '.join(at_best)}."
    )
    trained = [*hyper, *([separate] if separate else [])]
    folds = [f"{arm.label} {100 * arm.folding.mean((0, 2)).max():.2g} %" for arm in trained]
    sentences.append(f"Largest folding share over the weights: {'; '.join(folds)}.")
    for family, named in compared.items():
        verdicts = [
            f"{' against '.join(arms[one].label for one in statistics.names_of(name))}: {c.mean:+.3f} "
            f"[{c.low:+.3f}, {c.high:+.3f}], {c.verdict}{f' ({c.label})' if c.label else ''}"
            for name, c in named.items()
        ]
        if verdicts:
            sentences.append(f"{family}, paired by seed, 95 % together: {'; '.join(verdicts)}.")
    worse = [
        f"{arm.label} {arm.worse(config['weights'])} of {len(arm.seeds) * len(config['weights'])}" for arm in trained
    ]
    sentences.append(f"Seeds and weights at which the loss is worse than without registration: {'; '.join(worse)}.")
    failed = [f"{arm.label}: {arm.failed}" for arm in arms.values() if arm.failed]
    if failed:
        sentences.append(f"Networks with a parameter that is not finite, counted with Dice 0: {'; '.join(failed)}.")
    return sentences


def _by_weight(config, arms: dict[str, ArmResult]) -> pd.DataFrame:
    rows, separate = [], arms.get("separate")
    for weight in config["weights"]:
        row = {"weight": f"{weight:g}"}
        for arm in arms.values():
            dice = arm.at(arm.mean_dice, weight)
            text = f"{dice.mean():.3f}" + (f" [{dice.min():.3f}, {dice.max():.3f}]" if len(dice) > 1 else "")
            if arm in hypermorphs(arms) and separate is not None:
                text += f" ({(dice - separate.at(separate.mean_dice, weight)).mean():+.3f})"
            row[f"Dice, {arm.label}"] = text
        for arm in arms.values():
            if arm.name != "identity":
                row[f"folding, {arm.label}"] = f"{100 * arm.at(arm.folding, weight).mean():.2g} %"
        if arms["identity"].endpoint_error is not None:
            for arm in arms.values():
                error = arm.at(cast("np.ndarray", arm.endpoint_error), weight)  # of all arms, or of none
                row[f"end-point error, {arm.label}"] = f"{error.mean():.2f}"
        rows.append(row)
    # One row a measurement, one column a weight: it stays readable with many arms.
    return pd.DataFrame(rows).set_index("weight").T.reset_index().rename(columns={"index": "at weight"})


def _costs(config, arms: dict[str, ArmResult]) -> pd.DataFrame:
    rows = []
    for arm in arms.values():
        if arm.name == "identity":
            continue
        networks = {"pairwise": 0, "separate": len(config["weights"])}.get(arm.name, 1)
        rows.append(
            {
                "arm": arm.label,
                "networks": str(networks) if networks else "none",
                "steps, all networks": f"{arm.steps}",
                "training, s": f"{np.median(arm.seconds):.1f}",
                "compilation, s": f"{arm.compile_seconds:.1f}" if networks else "-",
                "together, s": f"{arm.cost():.1f}" if networks else "-",
                "ms a step": f"{1e3 * np.median(arm.seconds) / arm.steps:.1f}" if arm.steps else "-",
                "tuning before, s": f"{arm.tuning_seconds:.1f}",
            }
        )
    return pd.DataFrame(rows)


def _contrast_table(compared) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "contrast": name,
            "metric": family,
            "mean difference": f"{c.mean:+.4f}",
            "t interval (Holm)": f"[{c.low:+.4f}, {c.high:+.4f}]",
            "p (Holm)": f"{c.p:.2g}",
            "every seed": " ".join(f"{d:+.3f}" for d in c.differences),
            "verdict": f"{c.verdict}{f' ({c.label})' if c.label else ''}",
        }
        for family, named in compared.items()
        for name, c in named.items()
    )


def _subject_table(arms: dict[str, ArmResult]) -> pd.DataFrame:
    rows, separate = [], arms.get("separate")
    for arm in arms.values():
        if arm.name == "identity":
            continue
        row = {"arm": arm.label, "gain over the identity": _interval(subject_gain(arm, arms["identity"]))}
        if separate is not None:
            same = arm.name == "separate"
            row["against the separate networks"] = "-" if same else _interval(subject_gain(arm, separate))
        rows.append(row)
    return pd.DataFrame(rows)


def _interval(values: np.ndarray) -> str:
    values = values[np.isfinite(values)]
    if len(values) >= statistics.FEWEST_UNITS_OF_A_BOOTSTRAP:
        boot = statistics.bootstrap(values, np.mean, method="BCa")
        return f"{boot.estimate:+.3f} [{boot.low:+.3f}, {boot.high:+.3f}], {boot.n} subjects"
    return f"{values.mean():+.3f}, range [{values.min():+.3f}, {values.max():+.3f}], {len(values)} subjects"


def _tuning_row(arm: ArmResult) -> dict[str, str]:
    rate = arm.choice["learning_rate"]
    return {
        "arm": arm.label,
        "definition": arm.choice["definition"],
        "learning rate": ", ".join(f"{r:.2g}" for r in rate) if isinstance(rate, list) else f"{rate:.2g}",
        "at the edge": "yes" if arm.choice["at_edge"] else "no",
        "trials": str(arm.choice["trials"]),
        "chosen weight": f"{arm.choice['weight']:g}",
    }


def _limits(folder: Path, config, data, arms: dict[str, ArmResult]) -> list[str]:
    networks = sum(len(arm.seeds) * (len(config["weights"]) if arm.name == "separate" else 1) for arm in arms.values())
    sentences = [
        *data["notes"],
        f"The test split was read by {networks} registrations of all its pairs (networks, the identity, the optimised "
        "pairs), after every choice had been made and written down (choices.json); nothing was chosen on it.",
        "Contrasts are over seeds and speak of training on these data; intervals over subjects speak of these networks "
        "on other subjects. A subject is in several pairs, as fixed and as moving image; it is counted as fixed.",
        "'Not separable' does not say that two arms are equal.",
        "The loss is what a network is asked for; Dice and folding are what is wanted of it. An arm may win one and "
        "lose the other.",
    ]
    sentences += sections.edges(arm.label for arm in arms.values() if arm.choice.get("at_edge"))
    best = max(
        (arm.at(arm.mean_dice, w).mean() for w in config["weights"] for arm in [arms.get("separate")] if arm),
        default=None,
    )
    pairwise = arms["pairwise"]
    optimum = float(pairwise.at(pairwise.mean_dice, pairwise.choice["weight"]).mean())
    if best is not None and best < optimum - 0.02:
        sentences.append(
            f"The networks are trained shortly: pairs optimised one by one reach a Dice of {optimum:.3f}, the separate "
            f"networks {best:.3f}. The comparison is of networks at this budget, not of what they can do."
        )
    return sentences
