"""Figures of the uncertainty study: which there are, and maps beside images."""

from pathlib import Path
from typing import Any

import numpy as np

from hyperlab.report import figures
from hyperlab.report.sections import Contrasts
from hyperlab.studies.uncertainty import figures_of_answers, figures_of_changes, side_by_side
from hyperlab.studies.uncertainty.arms import leading
from hyperlab.studies.uncertainty.results import Study

Figures = dict[str, tuple[Path, str]]


def all_figures(folder: Path, study: Study, compared: Contrasts) -> Figures:
    """Draws what the study has measured; see the captions.

    Args:
      folder: where PNG and PDF files go.
      study: a finished study.
      compared: its contrasts.
    """
    config, drawn = study.config, {}
    if study.several:
        drawn["maps"] = maps(folder / "maps.png", study, leading(study.several))
    if side_by_side.sources(study):
        drawn["sources"] = sources(folder / "sources.png", study)
    if compared:
        drawn["contrasts"] = figures.contrasts(
            folder / "contrasts.png", compared, "difference, higher is better; every point is a seed"
        )
    drawn["calibration"] = figures_of_answers.calibration(folder / "calibration.png", study)
    drawn["coverage"] = figures_of_answers.coverage(folder / "coverage.png", study)
    drawn["score"] = figures_of_answers.score(folder / "score_against_dice.png", study)
    if len(config.dropout_rates) > 1:
        drawn["rates"] = figures_of_changes.rates(folder / "rates.png", study)
    if study.several:
        drawn["draws"] = figures_of_answers.draws(folder / "draws.png", study)
    if config.data.shifts and config.data.severities:
        drawn["shifts"] = figures_of_changes.shifts(folder / "shifts.png", study)
    drawn["features"] = figures_of_changes.features(folder / "features.png", study)
    if len(config.train_shares) > 1 or len(config.data.borders) > 1:
        drawn["kinds"] = figures_of_changes.kinds(folder / "kinds.png", study)
    return drawn


def maps(path: Path, study: Study, arm: str) -> tuple[Path, str]:
    """The epistemic and aleatoric maps of an arm beside images, masks and errors."""
    run, images, labels = study.runs[study.chosen(arm)][0], study.images["shown/images"], study.images["shown/labels"]
    count = len(run["shown/epistemic"])
    figure, axes = figures.grid(count, 6, width=1.5, height=1.55)
    top = {name: max(float(run[f"shown/{name}"].max()), 1e-6) for name in ("epistemic", "aleatoric")}
    for row in range(count):
        wrong = run["shown/predicted"][row] != labels[row]
        columns: tuple[tuple[str, np.ndarray, dict[str, Any]], ...] = (
            ("image", _as_picture(images[row]), {"cmap": "gray"}),
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


def sources(path: Path, study: Study) -> tuple[Path, str]:
    """The map of every source of uncertainty on the same images, each beside its own errors."""
    arms, images, labels = side_by_side.sources(study), study.images["shown/images"], study.images["shown/labels"]
    count, columns = len(images), 2 + 2 * len(arms)
    drawn, axes = figures.grid(count, columns, width=1.25, height=1.4)
    for axis in axes:
        axis.set_axis_off()
    axes = axes.reshape(count, columns)
    for row in range(count):
        axes[row, 0].imshow(_as_picture(images[row]), cmap="gray")
        axes[row, 1].imshow(labels[row], cmap="gray", vmin=0)
    axes[0, 0].set_title("image", fontsize=7)
    axes[0, 1].set_title("truth", fontsize=7)
    tops = []
    for place, arm in enumerate(arms):
        run = study.runs[study.chosen(arm)][0]
        values, predicted = run[f"shown/{study.map(arm)}"], run["shown/predicted"]
        tops.append(max(float(values.max()), 1e-6))
        for row in range(count):
            axes[row, 2 + 2 * place].imshow(values[row], cmap="magma", vmin=0, vmax=tops[-1])
            axes[row, 3 + 2 * place].imshow(predicted[row] != labels[row], cmap="gray", vmin=0, vmax=1)
        axes[0, 2 + 2 * place].set_title(study.label(arm), fontsize=7)
        axes[0, 3 + 2 * place].set_title("its errors", fontsize=7)
    scales = ", ".join(f"{study.label(arm)} {top:.2f}" for arm, top in zip(arms, tops, strict=True))
    return figures.save(drawn, path), (
        f"The {study.config.judging['map']} map of every source of uncertainty on the same test images, first seed, "
        f"black 0, each to its own largest value in nats ({scales}); beside it white where its mask is wrong."
    )


def _as_picture(image: np.ndarray) -> np.ndarray:
    return image if image.shape[-1] == 3 else image[..., 0]
