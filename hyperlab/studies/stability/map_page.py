"""The page of a map, made from its run folder alone: the verdict, what each arm comes to, and the map as figures."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hyperlab.report import figures, sections
from hyperlab.report.page import Page
from hyperlab.report.tables import write_table
from hyperlab.studies.stability.laws import LAWS, WIDTHS
from hyperlab.studies.stability.map_results import ENOUGH, LAST, PLACE, ArmOfMap, read, summarised, verdict


def write(folder: Path) -> Path:
    """Writes `results.csv`, `arms.csv`, `figures/` and `report.html` into the folder of a finished map."""
    folder = Path(folder)
    config, wording, runs, labels, definitions = read(folder)
    arms = summarised(runs, labels)
    write_table(folder / "results.csv", _tidy(runs))
    table = _table(runs, arms)
    write_table(folder / "arms.csv", table)
    page = Page("At which learning rates does a hypernetwork train, and which form of it diverges least?")
    page.verdict(verdict(arms))
    page.paragraph(
        f"{wording.setting.split(',')[0]}; {', '.join(config['map']['primaries'])}; {len(runs)} runs: "
        f"{len(arms)} arms, {config['report_seeds']} seeds; {config['train_length']} with batches of "
        f"{config['batch_size']}. Nothing is tuned: every rate is reported.",
        "lead",
    )
    page.table(
        table,
        "Diverged: parameters that are not finite in the end, or a loss above its first value in each of the last "
        f"{LAST} steps. Window: the widest range of rates (largest over smallest) whose mean accuracy over seeds is at "
        f"least {ENOUGH:.0%} of the best mean of any arm in the same place, where a place is a primary, a law of gamma "
        f"and an optimizer; 1 is a single rate, 0 none. Steps: median until {wording.score} "
        f"{config['target_score']:g} over all runs at all rates, never reached = censored; steps of a first fit "
        "count. Ordinary (in configs: default) is theta = h(gamma).",
    )
    page.heading("The map")
    for optimizer in config["optimizers"]:
        path = figures.save(_drawn(runs[runs.optimizer == optimizer], labels), folder / f"figures/{optimizer}.png")
        page.figure(path, f"Mean final accuracy with {optimizer}; in each cell, how many of its runs diverged.")
    page.heading("Where it diverged")
    page.table(_places(runs, labels), "Share of runs that diverged, by law of gamma and by optimizer.")
    page.heading("The arms")
    told = {"arm": [labels[name] for name in labels], "definition": [definitions[name] for name in labels]}
    page.table(pd.DataFrame(told), f"The laws of gamma: {_laws(config)}. Widths of the primaries: {_widths(config)}.")
    return sections.end(page, folder, _limits(config, runs), config).write(folder / "report.html")


def _tidy(runs: pd.DataFrame) -> pd.DataFrame:
    keys = [*PLACE, "arm", "learning_rate", "seed"]
    values = runs.astype({name: float for name in runs.columns if name not in [*keys]})
    return values.melt(keys, var_name="metric").assign(split="test")


def _table(runs: pd.DataFrame, arms: dict[str, ArmOfMap]) -> pd.DataFrame:
    rows = []
    for arm in arms.values():
        rows.append(
            {
                "arm": arm.label,
                "diverged": f"{arm.share:.1%} ({arm.diverged}/{arm.runs})",
                "window, median": f"{arm.window:.3g}x",
                "window, narrowest and widest": f"{arm.windows.min():.3g}x to {arm.windows.max():.3g}x",
                "steps": "never by half" if arm.steps is None else f"{arm.steps:g}",
                "never reached": f"{arm.never}/{arm.runs}",
            }
        )
    return pd.DataFrame(rows)


def _places(runs: pd.DataFrame, labels: dict[str, str]) -> pd.DataFrame:
    by = pd.concat([runs.pivot_table("diverged", "arm", column) for column in ("law", "optimizer", "primary")], axis=1)
    shown = by.loc[list(labels)].map(lambda share: f"{share:.0%}")
    return shown.rename(index=labels).reset_index()


def _drawn(runs: pd.DataFrame, labels: dict[str, str]) -> Any:
    """One panel an arm: learning rates across, laws of gamma and primaries down."""
    columns = min(4, len(labels))
    rows = -(-len(labels) // columns)
    places = list(dict.fromkeys(zip(runs.primary, runs.law, strict=True)))
    figure, axes = figures.grid(rows, columns, width=3.1, height=0.36 * len(places) + 0.8, sharex=True, sharey=True)
    image: Any = None
    for axis, (name, label) in zip(axes, labels.items(), strict=False):
        own = runs[runs.arm == name].pivot_table(["score", "diverged"], ["primary", "law"], "learning_rate")
        score, share = (own[value].loc[places] for value in ("score", "diverged"))
        image = axis.imshow(score, vmin=0, vmax=1, cmap="cividis", aspect="auto")
        count = runs[runs.arm == name].groupby(["primary", "law", "learning_rate"]).size().iloc[0]
        for (row, column), part in np.ndenumerate(share.to_numpy()):
            if part > 0:
                dark = score.to_numpy()[row, column] < 0.6
                text = f"{round(part * count)}"
                axis.text(column, row, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
        axis.grid(visible=False)
        axis.set_title(label, fontsize=9)
        axis.set_xticks(range(score.shape[1]), [f"{rate:.3g}" for rate in score.columns], fontsize=7)
        axis.set_yticks(range(len(places)), [f"{primary}, {law}" for primary, law in places], fontsize=7)
    for axis in axes[max(0, len(labels) - columns) : len(labels)]:
        axis.tick_params(labelbottom=True)  # also above a place that is empty
    for axis in axes[len(labels) :]:
        axis.set_visible(False)
    figure.colorbar(image, ax=list(axes), label="mean final accuracy", shrink=0.6)
    return figure


def _laws(config: Any) -> str:
    told = {
        "uniform": "{dim} number, uniform from {low:g} to {high:g}",
        "normal": "{dim} standard normal numbers",
        "log_uniform": "{dim} number, log-uniform from {low:g} to {high:g}",
    }
    return "; ".join(f"{name} ({told[LAWS[name]['prior']].format(**LAWS[name])})" for name in config["map"]["laws"])


def _widths(config: Any) -> str:
    return ", ".join(f"{name} {WIDTHS[name]}" for name in config["map"]["primaries"])


def _limits(config: Any, runs: pd.DataFrame) -> list[str]:
    return [
        f"The test split was read by {len(runs)} runs, once each; nothing was chosen on it, or on anything else.",
        "An arm has one initialiser here: theta0 with the library's own, and direct arms at the primary's own scale. "
        "The study of tuned arms tries four. A first fit starts from Kaiming fan-in heads, which it is to mend.",
        "Every encoding sees gamma brought to 0..1 along a line, log-uniform gammas too; raw arms see gamma as it is.",
        f"Shares and windows are those of this grid of rates, of {config['train_length']} and of these small networks. "
        "A rate at which the network without a hypernetwork diverges too says nothing about how parameters are "
        "generated. No intervals are given: the sentence above orders arms as they came out, and small differences "
        "in it are not claims.",
    ]
