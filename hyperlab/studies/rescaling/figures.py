"""The figures of the rescaling study."""

from pathlib import Path

import numpy as np

from hyperlab.report import figures
from hyperlab.studies.rescaling import overlays
from hyperlab.studies.rescaling import results as measured
from hyperlab.studies.rescaling.arms import ARMS, Cell


def all_figures(folder: Path, study: measured.Study) -> dict[str, tuple[Path, str]]:
    """Draws everything: `{name: (path, caption)}`, in the order of the report."""
    return figures.save_all(((name, draw(study), caption) for name, (draw, caption) in _FIGURES.items()), folder)


def pictures(folder: Path, study: measured.Study, which: str) -> dict[str, tuple[Path, str]]:
    """The first test cases at the compared factors, from what the run kept; nothing where it kept no network.

    Args:
      folder: of the run.
      study: as it was measured.
      which: the network that was shown them, in words.
    """
    strips = overlays.read(folder)
    if not strips:
        return {}
    count = min(overlays.CASES, len(study.cases) or overlays.CASES)
    drawn = overlays.figure(overlays.cases(strips, count), study.cases[:count], study.classes)
    caption = (
        f"The first test cases at phi = {', '.join(strips)}, by {which}: below a prediction, what is wrong in red."
    )
    return {"overlays": (figures.save(drawn, folder / "figures" / "overlays.png"), caption)}


def _colours(study):
    return dict(zip(study.config.arms, figures.COLOURS, strict=False))


def _front(study):
    points, colours = measured.points(study), _colours(study)
    figure, axes = figures.grid(1, 2, width=5.2, height=4.0, sharey=True)
    for arm, part in points.groupby("arm", sort=False):
        part = part.sort_values("relative_macs")
        line = "-" if ARMS[arm].trains in ("prior", "slimmable") else ":"  # one network, or several
        for one, column in zip(axes, ("relative_macs", "rescaling_factor"), strict=True):
            if column == "rescaling_factor" and ARMS[arm].by_width:
                continue
            x, colour = part[column].to_numpy(), colours[arm]
            one.fill_between(x, part["low"], part["high"], color=colour, alpha=0.12, linewidth=0)
            one.plot(x, part["dice"], line, color=colour, linewidth=1.2, label=study.label(arm))
            shade = [colour if on or column != "relative_macs" else "0.75" for on in part["on_front"]]
            one.scatter(x, part["dice"], c=shade, s=26, zorder=3, edgecolors=colour, linewidths=0.8)
    axes[0].set(
        xlabel=f"MACs, relative to phi = {study.reference:g}", ylabel="test Dice", title="accuracy against cost"
    )
    axes[1].set(xlabel="rescaling factor phi", title="accuracy against the factor")
    figures.legend_below(figure, axes[0])
    return figure


def _budgets(study):
    figure, axes = figures.grid(1, 2, width=5.0, height=3.6, sharey=True)
    for arm, colour in _colours(study).items():
        if ARMS[arm].by_width:
            continue
        steps, dice = study.curve(arm)
        figures.band(axes[0], steps, dice, colour, study.label(arm))
        figures.band(axes[1], study.seconds_at(arm, steps), dice, colour, study.label(arm))
    axes[0].set(xlabel="steps of one network", ylabel="validation Dice", title="equal steps")
    axes[1].set(xlabel="seconds of one network, compilation first", title="equal seconds")
    figures.legend_below(figure, axes[0])
    return figure


def _transfer(study):
    arms = [arm for arm in study.config.arms if ARMS[arm].network == "hypernet" and ARMS[arm].trains == "prior"]
    if not arms:
        return None
    figure, axes = figures.grid(1, len(arms), width=4.4, height=3.8)
    factors = [f"{factor:g}" for factor in study.config.factors]
    for one, arm in zip(axes, arms, strict=True):
        (seeds,) = study.runs[arm].values()
        dice = np.mean([run["transfer/dice"] for run in seeds], 0)
        shown = one.imshow(dice, cmap="viridis", aspect="auto")
        for row, column in np.ndindex(*dice.shape):
            dark = dice[row, column] < (dice.min() + dice.max()) / 2
            one.text(column, row, f"{dice[row, column]:.2f}", ha="center", va="center",
                     color="white" if dark else "black", fontsize=8)  # fmt: skip
        one.grid(False)
        one.set(xlabel="run at phi", ylabel="generated for phi", title=study.label(arm))
        one.set_xticks(range(len(factors)), factors)
        one.set_yticks(range(len(factors)), factors)
        figure.colorbar(shown, ax=one, shrink=0.8)
    return figure


def _outside(study):
    arms = [arm for arm in study.config.arms if ARMS[arm].trains == "prior"]
    if not arms or not study.config.outside:
        return None
    figure, (axes,) = figures.grid(1, 1, width=5.2, height=3.6)
    colours = _colours(study)
    for arm in arms:
        seeds = study.runs[arm][Cell(arm)]
        inside = np.array([[np.nanmean(np.nanmean(d, 0)) for d in run["validation/dice"]] for run in seeds])
        x = np.concatenate([seeds[0]["factors"], study.config.outside])
        figures.band(axes, x, np.concatenate([inside, [run["outside/dice"] for run in seeds]], 1), colours[arm],
                     study.label(arm), marker="o", markersize=3)  # fmt: skip
    axes.axvspan(study.config.prior.low, study.config.prior.high, color="0.5", alpha=0.08, linewidth=0)
    axes.set(xlabel="rescaling factor phi (shaded: the prior)", ylabel="validation Dice")
    axes.legend(frameon=False, fontsize=8)
    return figure


def _differences(study):
    compared = measured.contrasts(study)
    named = next(iter(compared.values()))
    if not named:
        return None
    figure, (axes,) = figures.grid(1, 1, width=6.0, height=1.0 + 0.7 * len(named))
    for row, (c, colour) in enumerate(zip(named.values(), figures.COLOURS, strict=False)):
        figures.points(axes, row, c.differences, (c.low, c.high), colour)
    axes.axvline(0, color="0.5", linewidth=1)
    axes.axvline(-study.config.margin, color="0.5", linewidth=1, linestyle=":")
    axes.set_yticks(range(len(named)), list(named))
    axes.set(xlabel="difference in test Dice, mean over the compared factors", ylim=(len(named) - 0.5, -0.5))
    return figure


_FIGURES = {
    "front": (
        _front,
        "Test Dice against cost and factor: mean over seeds, band from the lowest to the highest seed; grey points are "
        "dominated: another one is at least as accurate at no higher cost.",
    ),
    "budgets": (_budgets, "Validation Dice along training, at equal steps and at equal seconds of one network."),
    "differences": (_differences, "Paired differences, every seed, with the t interval; dotted: the margin."),
    "transfer": (_transfer, "Weights generated for one factor, used at another: validation Dice, mean over seeds."),
    "outside": (_outside, "Beyond the prior: validation Dice at factors that were never drawn in training."),
}
