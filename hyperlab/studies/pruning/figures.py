"""Figures of the pruning study: scores against compression and speedup, what is kept where, contrasts."""

from pathlib import Path

import numpy as np

from hyperlab.report import figures, overlay
from hyperlab.studies.pruning import results as measured
from hyperlab.studies.pruning.arms import DENSE, TRACKS, control_of

Figures = dict[str, tuple[Path, str]]
_NAMES = {
    "compression": "compression (parameters before / after)",
    "speedup": "theoretical speedup (MACs before / after)",
}


def all_figures(folder: Path, study: measured.Study, compared, published=()) -> Figures:
    """Draws what the study has measured; see the captions.

    Args:
      folder: where PNG and PDF files go.
      study: a finished study.
      compared: its contrasts.
      published: curves of others, `(against compression, against speedup)`, drawn faint behind one's own.
    """
    drawn = {}
    for number, track in enumerate(study.tracks):
        drawn[f"track_{number}"] = _track(folder / f"track_{number}.png", study, track)
    if any(published):
        drawn["published"] = _published(folder / "published.png", study, published)
    drawn["contrasts"] = figures.contrasts(
        folder / "contrasts.png", compared, "difference of the mean test score; every point is a seed"
    )
    drawn["kept"] = _kept(folder / "kept.png", study)
    drawn["reached"] = _reached(folder / "reached.png", study)
    return drawn


def _style(study: measured.Study, track: str) -> dict[str, dict]:
    """Colour and marker of each method; controls are dashed or dotted, in the colour of what they are like."""
    marks = figures.marks([name for one in study.tracks for name in study.of_track(one) if control_of(name) is None])
    style = {}
    for name in study.of_track(track):
        masks, like = control_of(name) or (name, "")
        line = "-" if not like else ":" if masks == "random" else "--"
        style[name] = {**marks.get(like or name, {"color": "#555555", "marker": "o"}), "linestyle": line}
    return style


def _track(path: Path, study: measured.Study, track: str) -> tuple[Path, str]:
    figure, axes = figures.grid(1, 2, width=5.2, height=5.0, sharey=True)
    for one, axis in zip(axes, measured.AXES, strict=True):
        for name, style in _style(study, track).items():
            _curve(one, *study.curve(name, axis), study.label(name), **style)
        tuned = study.score(DENSE[track], 1.0)
        one.plot(1, tuned.mean(), "k*", markersize=9, label=study.label(DENSE[track]), zorder=5)
        _doubling(one, study, axis)
    axes[0].set_ylabel(f"test {study.metric}")
    figures.legend_below(figure, axes[0])
    seeds = study.config.report_seeds
    bars = f"bars are sample standard deviations over {seeds} seeds" if seeds > 1 else "n = 1, no bars"
    return figures.save(figure, path), (
        f"{TRACKS[track]}: test {study.metric} against compression and against theoretical speedup, means over seeds; "
        f"{bars}. Dashed and dotted: controls with the shares of the method in the same colour. The star has seen the "
        "same training without any pruning."
    )


def _curve(axes, x: np.ndarray, scores: np.ndarray, label: str, scale: float = 1.0, **style) -> None:
    axes.plot(x, scale * scores.mean(0), label=label, markersize=3, linewidth=1.4, **style)
    if len(scores) > 1:
        sd = scale * scores.std(0, ddof=1)
        axes.errorbar(x, scale * scores.mean(0), sd, fmt="none", ecolor=style["color"], alpha=0.5, capsize=2)


def _doubling(axes, study: measured.Study, axis: str) -> None:
    """An x axis on which every doubling is as long, with the requested compressions as its numbers."""
    ticks = [1.0, *study.config.compressions]
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlabel(_NAMES[axis])


def _published(path: Path, study: measured.Study, published) -> tuple[Path, str]:
    figure, axes = figures.grid(1, 2, width=5.2, height=6.0, sharey=True)
    track = study.tracks[0]
    for one, axis, curves in zip(axes, measured.AXES, published, strict=True):
        for name, style in _style(study, track).items():
            if control_of(name) is None:
                x, scores = study.curve(name, axis)
                _curve(one, x, scores - scores[:, :1], study.label(name), overlay.POINTS, **style)
        if curves:
            overlay.draw(one, curves)
        _doubling(one, study, axis)
        one.legend(fontsize=6, loc="lower left")
    axes[0].set_ylabel(f"change of test {study.metric} from the point at 1, in points")
    return figures.save(figure, path), (
        "Change from each curve's own point at 1, before published curves of other parents, networks, data and "
        "pipelines, faint: they place these results in a landscape and are not comparable with them."
    )


def _kept(path: Path, study: measured.Study) -> tuple[Path, str]:
    """Kept fraction of each prunable kernel, at the middle of the compared compressions."""
    compression = measured.middle(study)
    kernels = [name for name in study.task["prunable"] if len(study.task["shapes"][name]) > 1]
    order = {name: place for place, name in enumerate(study.task["kernel_macs"])}
    kernels.sort(key=lambda name: order.get(name, len(order)))
    figure, (axes,) = figures.grid(1, 1, width=max(7.0, 0.3 * len(kernels)), height=4.2)
    for track in study.tracks:
        for name, style in _style(study, track).items():
            if control_of(name):
                continue
            shares = [
                np.mean([float(one[f"kept/{k}"]) for one in study.runs[name][compression]])
                / np.prod(study.task["shapes"][k])
                for k in kernels
            ]
            axes.plot(shares, markersize=3, linewidth=1, label=study.label(name), **style)
    axes.set_yscale("log")
    axes.set_xticks(range(len(kernels)), kernels, rotation=90, fontsize=6)
    axes.set_ylabel("share kept")
    figure.legend(fontsize=6, loc="outside right upper")
    return figures.save(figure, path), (
        f"Share of each prunable kernel that is kept at compression {compression:g}, in the order of the network; "
        "methods with the same masks lie on one another."
    )


def _reached(path: Path, study: measured.Study) -> tuple[Path, str]:
    figure, (axes,) = figures.grid(1, 1, width=7.0, height=3.2)
    for track in study.tracks:
        for name, style in _style(study, track).items():
            if control_of(name):
                continue
            points = study.compressions(name)
            error = [study.size(name, one, "compression_ratio").mean() / one - 1 for one in points]
            axes.plot(points, error, markersize=3, linewidth=1, label=study.label(name), **style)
    _doubling(axes, study, "compression")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xlabel("requested compression")
    axes.set_ylabel("relative error of the compression")
    figure.legend(fontsize=6, loc="outside right upper")
    return figures.save(figure, path), (
        "How far the reached compression is from the requested one: masks are counted exactly, layerwise shares round "
        "once for each tensor, channels go as a whole. Controls keep the shares of their method and are left out."
    )
