"""The page of a study of transfer, made from its run folder alone: the verdict, the best rates, the losses drawn."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hyperlab.report import figures, sections
from hyperlab.report.page import Page
from hyperlab.report.tables import write_table
from hyperlab.studies.stability.transfer_results import AXES, STEP, Moved, read, summarised, verdict


def write(folder: Path) -> Path:
    """Writes `results.csv`, `transfer.csv`, `figures/` and `report.html` into the folder of a finished study."""
    folder = Path(folder)
    config, wording, runs, labels, definitions = read(folder)
    moved = summarised(runs, labels)
    keys = ["width", "depth", "optimizer", "arm", "learning_rate", "seed"]
    values = runs.astype({name: float for name in runs.columns if name not in keys})
    write_table(folder / "results.csv", values.melt(keys, var_name="metric").assign(split="test"))
    table = _table(moved)
    write_table(folder / "transfer.csv", table)
    page = Page("Does the best learning rate stay where it is when the primary grows?")
    page.verdict(verdict(moved))
    page.paragraph(
        f"{wording.setting.split(',')[0]}, multilayer perceptrons; {len(runs)} runs of {config['train_length']} with "
        f"batches of {config['batch_size']}, {config['report_seeds']} seeds. "
        " Nothing is tuned: every rate is reported.",
        "lead",
    )
    page.table(
        table,
        "Best: the rate with the lowest held-out negative log-likelihood, the median over seeds; a star: at an edge of "
        "the grid, it may lie further out. Fell: by what factor, from the smallest to the largest size; beside it the "
        "least and the most of any seed. Kept: the loss at the rate that was best at the smallest size. It "
        f"stays if no size moved it by more than {STEP:g} times, one step of the grid.",
    )
    for axis, other in AXES.items():
        own = runs[runs[other] == runs[other].min()]
        if own[axis].nunique() > 1:
            page.heading(f"Growing in {axis}")
            path = figures.save(_drawn(own, labels, axis), folder / f"figures/{axis}.png")
            page.figure(path, f"Held-out loss against the rate, one line for each {axis}: medians over seeds.")
    page.heading("The arms")
    told = {"arm": [labels[name] for name in labels], "definition": [definitions[name] for name in labels]}
    page.table(pd.DataFrame(told))
    return sections.end(page, folder, _limits(config, runs), config).write(folder / "report.html")


def _table(moved: list[Moved]) -> pd.DataFrame:
    rows = []
    for one in moved:
        rates = ", ".join(f"{rate:g} ({size:,})" for size, rate in zip(one.sizes, one.best, strict=True))
        rows.append(
            {
                "arm": one.label,
                "grows": one.axis,
                "optimizer": one.optimizer,
                "best rate (at size)": rates + " *" * one.at_edge,
                "fell": f"{one.fell:.2g}x ({one.by_seed.min():.2g} to {one.by_seed.max():.2g})",
                "lowest loss": ", ".join(f"{loss:.3f}" for loss in one.least),
                "kept": ", ".join(f"{loss:.3f}" for loss in one.kept),
                "it stays": "yes" if one.stays else "no",
            }
        )
    return pd.DataFrame(rows)


def _drawn(runs: pd.DataFrame, labels: dict[str, str], axis: str) -> Any:
    """One panel an arm and an optimizer: learning rates across, held-out losses up, one line a size."""
    optimizers = list(dict.fromkeys(runs.optimizer))
    sizes = sorted(runs[axis].unique())
    figure, axes = figures.grid(len(optimizers), len(labels), width=2.6, height=2.6, sharex="row", sharey=True)
    places = iter(axes)
    highest = 2 * np.log(10)  # twice the loss of guessing among ten classes: beyond, a run has failed
    for optimizer in optimizers:
        for name, label in labels.items():
            panel = next(places)
            own = runs[(runs.arm == name) & (runs.optimizer == optimizer)]
            losses = own.groupby([axis, "learning_rate"])["nll"].median().unstack()
            for size, mark in zip(sizes, figures.marks([str(size) for size in sizes]).values(), strict=True):
                line = losses.loc[size].clip(upper=highest)
                panel.plot(line.index, line, marker="o", markersize=3, color=mark["color"], label=f"{axis} {size:,}")
                panel.plot(line.idxmin(), line.min(), marker="*", markersize=11, color=mark["color"])
            panel.set(xscale="log", yscale="log", title=f"{label}, {optimizer}")
            panel.title.set_fontsize(9)
    for panel in axes[:: len(labels)]:
        panel.set_ylabel("held-out loss")
    for panel in axes[-len(labels) :]:
        panel.set_xlabel("learning rate")
    figures.legend_below(figure, axes[0])
    return figure


def _limits(config: Any, runs: pd.DataFrame) -> list[str]:
    return [
        f"The test split was read by {len(runs)} runs, once each; nothing was chosen on it but the best rates that the "
        "table shows.",
        f"Runs of {config['train_length']}: what is best for longer ones may lie lower. The head has "
        f"{config['hypernet']['hidden'][-1]} inputs, so that the widest fits.",
        "A lowest loss over seven rates is a coarse place: a move of one step of the grid is not told from none.",
        "With the depth, the rates of the rule fall as the number of hidden layers grows: to first order each layer "
        "adds its share to the update of the output. Its base is the primary of the smallest depth.",
    ]
