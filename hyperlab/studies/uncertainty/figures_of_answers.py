"""Figures of what answers are worth: calibration, coverage, scores of images, numbers of draws."""

from pathlib import Path

import numpy as np

from hyperlab.metrics.defined import mean_defined
from hyperlab.report import figures
from hyperlab.studies.uncertainty.arms import find
from hyperlab.studies.uncertainty.cells import TEST
from hyperlab.studies.uncertainty.results import Study
from hyperlab.studies.uncertainty.texts import mean
from hyperlab.uncertainty import selective


def calibration(path: Path, study: Study) -> tuple[Path, str]:
    """Accuracy against confidence."""
    marks = figures.marks(study.arms)
    figure, (left, right) = figures.grid(1, 2, width=4.4, height=3.8)
    left.plot([0.5, 1], [0.5, 1], color="black", linewidth=0.8)
    for arm in study.arms:
        confidence, accuracy, share = (
            np.nan_to_num(study.each(study.chosen(arm), TEST, f"reliability/{name}")).mean(0)
            for name in ("confidence", "accuracy", "share")
        )
        filled = share > 0
        left.plot(
            confidence[filled], accuracy[filled], markersize=4, linewidth=1.2, label=study.label(arm), **marks[arm]
        )
        right.plot(confidence[filled], share[filled], markersize=4, linewidth=1.2, **marks[arm])
    left.set(xlabel="confidence (largest probability)", ylabel="accuracy")
    right.set(xlabel="confidence (largest probability)", ylabel="share of the pixels", yscale="log")
    figures.legend_below(figure, left)
    return figures.save(figure, path), (
        "Top-label reliability over all pixels of the test split, mean over seeds; the diagonal is calibrated. Right: "
        "how many pixels a bin holds: most are background of high confidence."
    )


def coverage(path: Path, study: Study) -> tuple[Path, str]:
    """Dice of the images that are kept, the most certain first."""
    marks = figures.marks(study.arms)
    figure, (axes,) = figures.grid(1, 1, width=5.6, height=4.0)
    for arm in study.arms:
        cell = study.chosen(arm)
        scores, dice = (study.each(cell, TEST, name) for name in (f"score/{study.map(arm)}", "dice"))
        curves = [_curve(*pair) for pair in zip(scores, dice, strict=True)]
        shares = curves[0].coverage
        style = {"color": marks[arm]["color"]}
        axes.plot(shares, np.mean([one.mean_dice for one in curves], 0), label=study.label(arm), linewidth=1.4, **style)
        best = [_curve(-one, one).mean_dice for one in dice]
        axes.plot(shares, np.mean(best, 0), linestyle=":", linewidth=1, **style)
        axes.axhline(np.nanmean(dice), linestyle="--", linewidth=0.6, **style)
    axes.axhline(study.config.judging["target"], color="black", linewidth=0.8)
    axes.set(xlabel="share of the images that is kept, the most certain first", ylabel="their mean Dice")
    axes.legend(fontsize=7)
    return figures.save(figure, path), (
        "Mean Dice of the kept test images against their share, mean over seeds. Dotted: the best order there is, by "
        "the Dice itself; dashed: a random order; black: the Dice that is asked for."
    )


def _curve(scores: np.ndarray, dice: np.ndarray) -> selective.DiceCoverage:
    known = ~np.isnan(dice)
    return selective.dice_coverage(scores[known], dice[known])


def score(path: Path, study: Study) -> tuple[Path, str]:
    """The score of every image against its Dice."""
    figure, axes = figures.grid(1, len(study.arms), width=2.6, height=2.8, sharey=True)
    for axis, arm in zip(axes, study.arms, strict=True):
        cell = study.chosen(arm)
        for index in range(len(study.runs[cell])):
            scores, dice = (study.each(cell, TEST, n)[index] for n in (f"score/{study.map(arm)}", "dice"))
            axis.scatter(
                scores, dice, s=7, alpha=0.5, color=figures.COLOURS[index % len(figures.COLOURS)], linewidths=0
            )
        rho = study.value(cell, TEST, f"spearman/{study.map(arm)}")
        axis.set_title(f"{study.label(arm)}\nSpearman {mean(rho):+.2f}", fontsize=8)
        axis.set_xlabel(f"{study.map(arm)}, nats", fontsize=8)
    axes[0].set_ylabel("Dice")
    return figures.save(figure, path), (
        f"The score of every test image ({study.config.judging['score']} of the map) against its Dice; a colour is a "
        "seed."
    )


def draws(path: Path, study: Study) -> tuple[Path, str]:
    """What more draws are worth."""
    panels = {"dice": "Dice", "nll": "negative log likelihood, nats", "ece_top_label": "ECE, top label"}
    panels[f"auroc/band/{study.config.judging['map']}"] = "AUROC of errors in the band"
    drawn = [arm for arm in study.arms if find(arm).draws]
    marks = figures.marks(study.arms)
    figure, axes = figures.grid(1, 4, width=2.9, height=3.0)
    for axis, (measure, name) in zip(axes, panels.items(), strict=True):
        for arm in drawn:
            cell = study.chosen(arm)
            values = np.stack([study.value(cell, TEST, measure, str(count)) for count in study.config.draws])
            axis.plot(study.config.draws, mean_defined(values), label=study.label(arm), markersize=4, **marks[arm])
            if not measure.startswith("auroc"):
                one = study.value(cell, TEST, measure, "pass").mean()
                axis.axhline(one, linestyle=":", color=marks[arm]["color"], linewidth=1)
        axis.set_title(name, fontsize=8)
        axis.set_xlabel("draws")
        axis.set_xscale("log", base=2)
        axis.set_xticks(study.config.draws, [str(count) for count in study.config.draws])
        axis.minorticks_off()
    figures.legend_below(figure, axes[0])
    return figures.save(figure, path), (
        "Against the number of draws whose mean is the answer; fewer draws are the first of many. Dotted: one pass in "
        "which nothing is dropped (one draw of a network that always draws), which is another prediction than the mean."
    )
