"""Figures of the uncertainty study: maps beside images, calibration, coverage, dropout rates, shifts, feature maps."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hyperlab.data.shifts import SHIFTS
from hyperlab.report import figures
from hyperlab.studies.uncertainty import find
from hyperlab.studies.uncertainty import results as measured
from hyperlab.studies.uncertainty import sources as doubt
from hyperlab.uncertainty import selective

Figures = dict[str, tuple[Path, str]]


def all_figures(folder: Path, study: measured.Study, compared) -> Figures:
    """Draws what the study has measured; see the captions.

    Args:
      folder: where PNG and PDF files go.
      study: a finished study.
      compared: its contrasts.
    """
    drawn = {}
    sampled = [arm for arm in study.arms if find(arm).answers != "pass"]
    if sampled:
        first = "spatial" if "spatial" in sampled else sampled[0]
        drawn["maps"] = _maps(folder / "maps.png", study, first)
    if doubt.sources(study):
        drawn["sources"] = doubt.figure(folder / "sources.png", study)
    if compared:
        drawn["contrasts"] = figures.contrasts(
            folder / "contrasts.png", compared, "difference, higher is better; every point is a seed"
        )
    drawn["calibration"] = _calibration(folder / "calibration.png", study)
    drawn["coverage"] = _coverage(folder / "coverage.png", study)
    drawn["score"] = _score(folder / "score_against_dice.png", study)
    if len(study.config.dropout_rates) > 1:
        drawn["rates"] = _rates(folder / "rates.png", study)
    if sampled:
        drawn["draws"] = _draws(folder / "draws.png", study)
    if any(part.partition("/")[0] in SHIFTS for part in study.data["parts"]):
        drawn["shifts"] = _shifts(folder / "shifts.png", study)
    drawn["features"] = _features(folder / "features.png", study)
    if len(study.config.train_shares) > 1 or len(study.config.data.borders) > 1:
        drawn["kinds"] = _kinds(folder / "kinds.png", study, sampled)
    return drawn


def _maps(path: Path, study: measured.Study, arm: str) -> tuple[Path, str]:
    run, images, labels = study.runs[study.chosen(arm)][0], study.images["shown/images"], study.images["shown/labels"]
    count = len(run["shown/epistemic"])
    figure, axes = figures.grid(count, 6, width=1.5, height=1.55)
    top = {name: max(float(run[f"shown/{name}"].max()), 1e-6) for name in ("epistemic", "aleatoric")}
    for row in range(count):
        wrong = run["shown/predicted"][row] != labels[row]
        image = images[row] if images.shape[-1] == 3 else images[row, ..., 0]
        columns = (
            ("image", image, {"cmap": "gray"}),
            ("truth", labels[row], {"cmap": "gray", "vmin": 0}),
            ("mean probability", run["shown/foreground"][row], {"cmap": "gray", "vmin": 0, "vmax": 1}),
            ("epistemic", run["shown/epistemic"][row], {"cmap": "magma", "vmin": 0, "vmax": top["epistemic"]}),
            ("aleatoric", run["shown/aleatoric"][row], {"cmap": "magma", "vmin": 0, "vmax": top["aleatoric"]}),
            ("error", wrong, {"cmap": "gray", "vmin": 0, "vmax": 1}),
        )
        for axis, (name, values, look) in zip(axes[6 * row : 6 * row + 6], columns, strict=True):
            axis.imshow(values, **look)
            axis.set_axis_off()
            if row == 0:
                axis.set_title(name, fontsize=8)
    return figures.save(figure, path), (
        f"{study.label(arm).capitalize()}, first seed, the first test images. Epistemic: mutual information, black 0 "
        f"to {top['epistemic']:.2f} nats; aleatoric: expected entropy, to {top['aleatoric']:.2f} nats; white pixels of "
        "the last column are wrong."
    )


def _calibration(path: Path, study: measured.Study) -> tuple[Path, str]:
    marks = figures.marks(study.arms)
    figure, (left, right) = figures.grid(1, 2, width=4.4, height=3.8)
    left.plot([0.5, 1], [0.5, 1], color="black", linewidth=0.8)
    for arm in study.arms:
        confidence, accuracy, share = (
            np.nan_to_num(study.each(study.chosen(arm), "test", f"reliability/{name}")).mean(0)
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


def _coverage(path: Path, study: measured.Study) -> tuple[Path, str]:
    marks = figures.marks(study.arms)
    figure, (axes,) = figures.grid(1, 1, width=5.6, height=4.0)
    for arm in study.arms:
        point = study.chosen(arm)
        scores, dice = (study.each(point, "test", name) for name in (f"score/{study.map(arm)}", "dice"))
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
        "the Dice itself; dashed: an order by lot; black: the Dice that is asked for."
    )


def _curve(scores: np.ndarray, dice: np.ndarray) -> selective.DiceCoverage:
    known = ~np.isnan(dice)
    return selective.dice_coverage(scores[known], dice[known])


def _score(path: Path, study: measured.Study) -> tuple[Path, str]:
    figure, axes = figures.grid(1, len(study.arms), width=2.6, height=2.8, sharey=True)
    for axis, arm in zip(axes, study.arms, strict=True):
        point = study.chosen(arm)
        for index in range(len(study.runs[point])):
            scores, dice = (study.each(point, "test", n)[index] for n in (f"score/{study.map(arm)}", "dice"))
            axis.scatter(
                scores, dice, s=7, alpha=0.5, color=figures.COLOURS[index % len(figures.COLOURS)], linewidths=0
            )
        rho = study.value(point, "test", f"spearman/{study.map(arm)}")
        axis.set_title(f"{study.label(arm)}\nSpearman {measured.means(rho[None])[0]:+.2f}", fontsize=8)
        axis.set_xlabel(f"{study.map(arm)}, nats", fontsize=8)
    axes[0].set_ylabel("Dice")
    return figures.save(figure, path), (
        f"The score of every test image ({study.config.judging['score']} of the map) against its Dice; a colour is a "
        "seed."
    )


def _rates(path: Path, study: measured.Study) -> tuple[Path, str]:
    panels: dict[str, Callable] = {
        "Dice": lambda point: study.metric(point, "dice"),
        "negative log likelihood, nats": lambda point: -study.metric(point, "likelihood"),
        "AUROC of errors in the band": lambda point: study.metric(point, "error_detection"),
        "mean |correlation|": study.correlation,
    }
    marks = figures.marks(study.arms)
    figure, axes = figures.grid(1, 4, width=2.9, height=3.0)
    for axis, (name, of) in zip(axes, panels.items(), strict=True):
        for arm in study.arms:
            points = study.curve(arm)
            values = np.stack([of(point) for point in points])
            if len(points) == 1:
                axis.axhline(values.mean(), label=study.label(arm), linewidth=1.2, color=marks[arm]["color"])
                continue
            x = [point.dropout_rate for point in points]
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


def _draws(path: Path, study: measured.Study) -> tuple[Path, str]:
    panels = {"dice": "Dice", "nll": "negative log likelihood, nats", "ece_top_label": "ECE, top label"}
    panels[f"auroc/band/{study.config.judging['map']}"] = "AUROC of errors in the band"
    drawn = [arm for arm in study.arms if find(arm).answers == "draws"]
    marks = figures.marks(study.arms)
    figure, axes = figures.grid(1, 4, width=2.9, height=3.0)
    for axis, (measure, name) in zip(axes, panels.items(), strict=True):
        for arm in drawn:
            point = study.chosen(arm)
            values = np.stack([study.value(point, "test", measure, str(count)) for count in study.config.draws])
            axis.plot(study.config.draws, measured.means(values), label=study.label(arm), markersize=4, **marks[arm])
            if not measure.startswith("auroc"):
                one = study.value(point, "test", measure, "pass").mean()
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


def _shifts(path: Path, study: measured.Study) -> tuple[Path, str]:
    table, marks = measured.shifts(study), figures.marks(study.arms)
    names = list(dict.fromkeys(table["shift"]))
    figure, axes = figures.grid(2, len(names), width=2.7, height=2.6, sharex=True, sharey="row")
    axes = axes.reshape(2, len(names))
    for column, shift in enumerate(names):
        rows = table[table["shift"] == shift]
        for arm in study.arms:
            one = rows[rows["arm"] == arm]
            axes[0, column].plot(one["severity"], one["map"], markersize=4, label=study.label(arm), **marks[arm])
            inside = study.value(study.chosen(arm), "test", "dice").mean()
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


def _features(path: Path, study: measured.Study) -> tuple[Path, str]:
    figure, axes = figures.grid(1, 3, width=3.6, height=2.9, sharey=True)
    arms = [arm for arm in study.arms if study.probed(arm)]
    rows = ["untrained", *arms]
    for axis, region in zip(axes[:2], ("foreground", "background"), strict=True):
        for row, arm in enumerate(rows):
            runs = study.untrained if arm == "untrained" else study.runs[study.chosen(arm)]
            values = [float(one[f"probe/{region}/mean_absolute"]) for one in runs]
            axis.plot(values, [row] * len(values), "o", markersize=4, alpha=0.6, color=figures.COLOURS[row % 10])
            axis.plot(np.mean(values), row, "k|", markersize=14)
        axis.set_xlabel(f"mean |correlation|, {region}", fontsize=8)
    for row, arm in enumerate(rows[1:], 1):
        point = study.chosen(arm)
        kept = np.array([np.nanmean(one["probe/kept_dice"]) for one in study.runs[point]])
        whole = study.value(point, "test", "dice", "pass")
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


def _kinds(path: Path, study: measured.Study, arms: list[str]) -> tuple[Path, str]:
    """Does the epistemic part fall with data, and do blurred borders move the aleatoric part alone?"""
    shares, borders = sorted(study.config.train_shares), sorted(study.config.data.borders)
    panels = [name for name, values in (("share", shares), ("border", borders)) if len(values) > 1]
    figure, axes = figures.grid(1, len(panels), width=4.2, height=3.2)
    marks = figures.marks(study.arms)
    for axis, panel in zip(axes, panels, strict=True):
        for arm in arms:
            for name, line in (("epistemic", "-"), ("aleatoric", "--")):
                if panel == "share":
                    x = shares
                    y = [study.value(study.chosen(arm, share), "test", f"score/{name}").mean() for share in shares]
                else:
                    x = borders
                    y = [study.value(study.chosen(arm), f"border/{b:g}", f"score/{name}").mean() for b in borders]
                axis.plot(x, y, label=f"{study.label(arm)}, {name}", linestyle=line, markersize=4, **marks[arm])
        axis.set_yscale("log")
        axis.set_xlabel("share of the training images" if panel == "share" else "width of the border, pixels")
    axes[0].set_ylabel("mean image score, nats")
    figures.legend_below(figure, axes[0])
    return figures.save(figure, path), (
        "What is called epistemic should fall with more training images and stay where borders are blurred; what is "
        "called aleatoric should do the opposite."
    )
