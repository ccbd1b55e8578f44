"""Figures of what changes uncertainty: dropout rates, shifts, feature maps, data and blurred borders."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hyperlab.report import figures
from hyperlab.studies.uncertainty import tables
from hyperlab.studies.uncertainty.cells import TEST, border_name
from hyperlab.studies.uncertainty.results import Study


def rates(path: Path, study: Study) -> tuple[Path, str]:
    """Scores along the dropout rates."""
    panels: dict[str, Callable] = {
        "Dice": lambda cell: study.metric(cell, "dice"),
        "negative log likelihood, nats": lambda cell: -study.metric(cell, "likelihood"),
        "AUROC of errors in the band": lambda cell: study.metric(cell, "error_detection"),
        "mean |correlation|": study.correlation,
    }
    marks = figures.marks(study.arms)
    figure, axes = figures.grid(1, 4, width=2.9, height=3.0)
    for axis, (name, of) in zip(axes, panels.items(), strict=True):
        for arm in study.arms:
            cells = study.curve(arm)
            values = np.stack([of(cell) for cell in cells])
            if len(cells) == 1:
                axis.axhline(values.mean(), label=study.label(arm), linewidth=1.2, color=marks[arm]["color"])
                continue
            x = [cell.dropout_rate for cell in cells]
            axis.plot(x, values.mean(1), label=study.label(arm), linewidth=1.4, markersize=4, **marks[arm])
            for seed in values.T:
                axis.plot(x, seed, linewidth=0.4, alpha=0.5, color=marks[arm]["color"])
        axis.set_title(name, fontsize=8)
        axis.set_xlabel("dropout rate")
    figures.legend_below(figure, axes[0])
    return figures.save(figure, path), (
        "Against the dropout rate, every seed thin and their mean thick; horizontal: arms that drop nothing. At one "
        "rate the two kinds of dropout are different noises: the variance of a map's mean is rate / (1 - rate) when a "
        "channel is dropped, and smaller by the number of pixels when activations are."
    )


def shifts(path: Path, study: Study) -> tuple[Path, str]:
    """Whether scores tell shifted images, and what shifts do to the Dice."""
    table, marks = tables.shifts(study), figures.marks(study.arms)
    names = list(dict.fromkeys(table["shift"]))
    figure, axes = figures.grid(2, len(names), width=2.7, height=2.6, sharex=True, sharey="row")
    axes = axes.reshape(2, len(names))
    for column, shift in enumerate(names):
        rows = table[table["shift"] == shift]
        for arm in study.arms:
            one = rows[rows["arm"] == arm]
            axes[0, column].plot(one["severity"], one["map"], markersize=4, label=study.label(arm), **marks[arm])
            inside = study.value(study.chosen(arm), TEST, "dice").mean()
            axes[1, column].plot([0, *one["severity"]], [inside, *one["dice"]], markersize=4, **marks[arm])
        one = rows[rows["arm"] == study.arms[0]]
        for name, line in (("intensity", "--"), ("predicted_area", ":")):
            axes[0, column].plot(
                one["severity"], one[name], color="#555555", linestyle=line, label=name.replace("_", " ")
            )
        axes[0, column].axhline(0.5, color="black", linewidth=0.6)
        axes[0, column].set_title(shift, fontsize=9)
        axes[1, column].set_xlabel("severity")
    axes[0, 0].set_ylabel("AUROC, shifted or not")
    axes[1, 0].set_ylabel("Dice")
    figures.legend_below(figure, axes[0, 0])
    return figures.save(figure, path), (
        "Above: does the image score tell shifted images from the domain's? Grey: how far the mean intensity and the "
        "predicted area are from their validation medians, which need no map. Below: what the shift does to the Dice."
    )


def features(path: Path, study: Study) -> tuple[Path, str]:
    """Correlation of feature maps, and what networks can spare of them."""
    figure, axes = figures.grid(1, 3, width=3.6, height=2.9, sharey=True)
    arms = [arm for arm in study.arms if study.has(arm, "probe/kept_dice")]
    rows = ["untrained", *arms]
    for axis, region in zip(axes[:2], ("foreground", "background"), strict=True):
        for row, arm in enumerate(rows):
            runs = study.untrained if arm == "untrained" else study.runs[study.chosen(arm)]
            values = [float(one[f"probe/{region}/mean_absolute"]) for one in runs]
            axis.plot(values, [row] * len(values), "o", markersize=4, alpha=0.6, color=figures.COLOURS[row % 10])
            axis.plot(np.mean(values), row, "k|", markersize=14)
        axis.set_xlabel(f"mean |correlation|, {region}", fontsize=8)
    for row, arm in enumerate(rows[1:], 1):
        cell = study.chosen(arm)
        kept = np.array([np.nanmean(one["probe/kept_dice"]) for one in study.runs[cell]])
        whole = study.value(cell, TEST, "dice", "pass")
        axes[2].plot(kept - whole, [row] * len(kept), "o", markersize=4, alpha=0.6, color=figures.COLOURS[row % 10])
        axes[2].plot((kept - whole).mean(), row, "k|", markersize=14)
    axes[2].set_xlabel(f"Dice lost by removing {study.config.judging['removed']:.0%} of the channels", fontsize=8)
    axes[0].set_yticks(range(len(rows)), ["untrained", *(study.label(arm) for arm in arms)], fontsize=8)
    axes[0].invert_yaxis()
    return figures.save(figure, path), (
        "Correlation between the feature maps of a block, mean over blocks and pairs of live channels, nothing "
        "dropped, "
        "over as many pixels of the foreground as of the background; every point is a seed. Right: what a network can "
        "spare. The definition is this library's."
    )


def kinds(path: Path, study: Study) -> tuple[Path, str]:
    """Does the epistemic part fall with data, and do blurred borders move the aleatoric part alone?"""
    shares, borders = sorted(study.config.train_shares), sorted(study.config.data.borders)
    panels = [name for name, values in (("share", shares), ("border", borders)) if len(values) > 1]
    figure, axes = figures.grid(1, len(panels), width=4.2, height=3.2)
    marks = figures.marks(study.arms)
    for axis, panel in zip(axes, panels, strict=True):
        for arm in study.several:
            for name, line in (("epistemic", "-"), ("aleatoric", "--")):
                if panel == "share":
                    x = shares
                    y = [study.value(study.chosen(arm, share), TEST, f"score/{name}").mean() for share in shares]
                else:
                    x = borders
                    y = [study.value(study.chosen(arm), border_name(b), f"score/{name}").mean() for b in borders]
                axis.plot(x, y, label=f"{study.label(arm)}, {name}", linestyle=line, markersize=4, **marks[arm])
        axis.set_yscale("log")
        axis.set_xlabel("share of the training images" if panel == "share" else "width of the border, pixels")
    axes[0].set_ylabel("mean image score, nats")
    figures.legend_below(figure, axes[0])
    return figures.save(figure, path), (
        "What is called epistemic should fall with more training images and stay where borders are blurred; what is "
        "called aleatoric should do the opposite."
    )
