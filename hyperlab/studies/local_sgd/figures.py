"""Figures of the local SGD study: scores against communication and predicted time, drift, scale, contrasts."""

from pathlib import Path

import numpy as np

from hyperlab.report import figures
from hyperlab.studies.local_sgd import results as measured
from hyperlab.studies.local_sgd.arms import Cell

Figures = dict[str, tuple[Path, str]]


def all_figures(folder: Path, study: measured.Study, compared) -> Figures:
    """Draws what the study has measured; see the captions."""
    drawn = {
        "communication": _communication(folder / "communication.png", study),
        "time": _time(folder / "time.png", study),
    }
    if compared:
        drawn["contrasts"] = figures.contrasts(
            folder / "contrasts.png", compared, "difference of the test score; every point is a seed"
        )
    if any(study.drift(cell, "cosine") is not None for cell in study.runs):
        drawn["drift"] = _drift(folder / "drift.png", study)
    if len(study.config.replicas) > 1:
        drawn["scale"] = _scale(folder / "scale.png", study)
    drawn["predictions"] = _predictions(folder / "predictions.png", study)
    return drawn


def _colour(study: measured.Study, arm: str) -> str:
    return figures.COLOURS[study.arms.index(arm) % len(figures.COLOURS)]


def _marker(study: measured.Study, arm: str) -> str:
    # more arms than colours: the second round of colours has another marker
    return "os"[study.arms.index(arm) // len(figures.COLOURS) % 2]


def _lines(axes, study: measured.Study, replicas: int, x) -> None:
    """One line an arm, one point an H, with the spread over seeds; synchronous training also as a band."""
    for arm in study.arms:
        cells = study.of(arm, replicas)
        if not cells:
            continue
        scores = np.stack([study.score(cell) for cell in cells], 1)
        at, colour = [x(cell) for cell in cells], _colour(study, arm)
        axes.plot(at, scores.mean(0), label=study.label(arm), marker=_marker(study, arm), markersize=4, color=colour)
        if len(scores) > 1:
            axes.errorbar(at, scores.mean(0), scores.std(0, ddof=1), fmt="none", ecolor=colour, alpha=0.4, capsize=2)
    synchronous = study.cell("synchronous", 1, replicas)
    if synchronous is not None:
        score = study.score(synchronous)
        axes.axhspan(score.min(), score.max(), color=_colour(study, "synchronous"), alpha=0.08, linewidth=0)
    figures.stretch_towards_one(axes)


def _spread(study: measured.Study) -> str:
    seeds = study.config.report_seeds
    bars = f"bars are sample standard deviations over {seeds} seeds" if seeds > 1 else "n = 1, no bars"
    return f"{bars}; the band is the range of synchronous training"


def _sending(study: measured.Study) -> list[int]:
    """The numbers of replicas to draw against what is sent: one alone sends nothing, and is drawn only by itself."""
    return [count for count in study.config.replicas if count > 1] or list(study.config.replicas)


def _communication(path: Path, study: measured.Study) -> tuple[Path, str]:
    counts = _sending(study)
    figure, axes = figures.grid(1, len(counts), width=max(4.2, 7.0 / len(counts)), height=4.6, sharey=True)
    for one, replicas in zip(axes, counts, strict=True):
        _lines(one, study, replicas, lambda cell: study.sent(cell)["bytes_per_step"] / 1e3)
        if replicas > 1:  # a logarithm has no place for nothing
            one.set_xscale("log")
            shown = [cell for arm in ("synchronous", "local") for cell in study.of(arm, replicas)]
            ticks = sorted({study.sent(cell)["bytes_per_step"] / 1e3 for cell in shown})
            one.set_xticks(ticks, [f"{tick:,.0f}" if tick >= 100 else f"{tick:.3g}" for tick in ticks], minor=False)
            one.set_xticks([], minor=True)
        one.set_xlabel("kB that each replica sends a step")
        one.set_title(f"{replicas} replicas, global batch {replicas * study.config.batch_size}", fontsize=9)
    axes[0].set_ylabel(f"test {study.metric}")
    figures.legend_below(figure, axes[-1])
    return figures.save(figure, path), (
        f"Test {study.metric} against communication by the ring formula, mean over the steps; each point is an H, "
        f"from {max(study.config.periods)} on the left to {min(study.config.periods)} on the right; {_spread(study)}."
    )


def _time(path: Path, study: measured.Study) -> tuple[Path, str]:
    links, counts = list(study.task["links"]), _sending(study)
    figure, axes = figures.grid(len(counts), len(links), width=3.6, height=3.6, sharey=True)
    for place, one in enumerate(axes):
        replicas, link = counts[place // len(links)], links[place % len(links)]
        _lines(one, study, replicas, lambda cell, link=link: _run_seconds(study, cell, link))
        one.set_xlabel("predicted seconds of the training")
        one.set_title(f"{_link(study, link)}, {replicas} replicas", fontsize=8)
        if place % len(links) == 0:
            one.set_ylabel(f"test {study.metric}")
    figures.legend_below(figure, axes[0])
    compute = study.task["compute_seconds"]
    return figures.save(figure, path), (
        f"Test {study.metric} against predicted time, at the numbers of replicas that were trained: "
        f"{1e3 * compute:.3g} ms of compute a step ({_measured(study)}), an all-reduce takes bytes over bandwidth plus "
        f"latency, nothing overlaps; {_spread(study)}."
    )


def _measured(study: measured.Study) -> str:
    return "given" if study.config.cost.compute_seconds else "measured on this machine, one replica alone"


def _run_seconds(study: measured.Study, cell: Cell, link: str) -> float:
    sent = study.sent(cell)
    return sent["step_seconds"][link] * sent["steps"]


def _link(study: measured.Study, name: str) -> str:
    bandwidth, latency = study.task["links"][name]
    return f"{name}: {8 * bandwidth / 1e9:g} Gbit/s, {1e3 * latency:g} ms"


def _drift(path: Path, study: measured.Study) -> tuple[Path, str]:
    period, replicas = study.largest
    figure, axes = figures.grid(1, 3, width=4.0, height=4.0)
    for arm in study.arms:
        cell = study.cell(arm, period, replicas)
        for one, name in zip(axes, ("distance_mean", "cosine"), strict=False):
            found = None if cell is None else study.drift(cell, name)
            if found is not None and np.isfinite(found[1]).any():
                figures.band(one, *found, _colour(study, arm), study.label(arm))
        ends = [(c, far) for c in study.of(arm, replicas) if (far := study.drift(c, "distance_mean")) is not None]
        if ends:
            last = [values.mean() for _, (_, values) in ends]
            axes[2].plot([c.period for c, _ in ends], last, marker=_marker(study, arm), color=_colour(study, arm))
    axes[0].set_ylabel("distance to the mean / its norm")
    axes[1].set_ylabel("cosine of two replicas' moves")
    axes[2].set_ylabel("distance, mean over the training")
    axes[2].set_xlabel("H")
    axes[2].set_xscale("log", base=2)
    for one in axes[:2]:
        one.set_xlabel("step")
    for one in (axes[0], axes[2]):
        one.set_yscale("log")
    figures.legend_below(figure, axes[0])
    return figures.save(figure, path), (
        f"How far {replicas} replicas are apart at the end of a round, before they are averaged: left and middle at "
        f"H = {period}, median and range over seeds; right, against H. A cosine near 0: they move at random relative "
        "to one another; near 1: alike."
    )


def _scale(path: Path, study: measured.Study) -> tuple[Path, str]:
    table = measured.gaps(study)
    period = study.largest[0]
    figure, axes = figures.grid(1, 2, width=4.6, height=3.8)
    for arm in study.arms:
        rows = table[(table["arm"] == arm) & (table["period"] == period)].sort_values("replicas")
        colour = _colour(study, arm)
        if len(rows):
            axes[0].errorbar(
                rows["replicas"], rows["gap"], rows["sd"], marker=_marker(study, arm), color=colour, capsize=2,
                label=study.label(arm),
            )  # fmt: skip
    cells = [study.cell("synchronous", 1, count) for count in study.config.replicas]
    scores = [(cell.replicas, study.score(cell)) for cell in cells if cell is not None]
    if scores:
        spread = [s.std(ddof=1) if len(s) > 1 else np.nan for _, s in scores]
        axes[1].errorbar([count for count, _ in scores], [s.mean() for _, s in scores], spread, marker="o")
    axes[0].axhline(0, color="black", linewidth=0.8)
    axes[0].set_ylabel(f"{study.metric} minus synchronous")
    axes[1].set_ylabel(f"synchronous: test {study.metric}")
    for one in axes:
        one.set_xscale("log", base=2)
        one.set_xlabel("replicas (the global batch grows with them)")
    figures.legend_below(figure, axes[0])
    return figures.save(figure, path), (
        f"The gap to synchronous training with as many replicas, at H = {period}, against their number; on the right "
        "what synchronous training itself loses. Bars are standard deviations over seeds of paired differences."
    )


def _predictions(path: Path, study: measured.Study) -> tuple[Path, str]:
    table = measured.predictions(study)
    table = table[table["arm"] == ""]
    links = list(study.task["links"])
    figure, axes = figures.grid(1, len(links), width=3.6, height=3.0, sharey=True)
    for one, link in zip(axes, links, strict=True):
        for place, (period, rows) in enumerate(table[table["link"] == link].groupby("period")):
            colour = figures.COLOURS[place % len(figures.COLOURS)]
            one.plot(rows["replicas"], 1e3 * rows["seconds"], color=colour, label=f"H = {period}")
        one.set_xscale("log", base=2)
        one.set_yscale("log")
        one.set_xlabel("replicas")
        one.set_title(_link(study, link), fontsize=8)
    axes[0].set_ylabel("predicted ms of a step")
    axes[0].legend(fontsize=7)
    return figures.save(figure, path), (
        "Predicted time of a step for 2 to 1024 replicas, each with the same local batch, that send float32; of arms "
        "that send less it is in predictions.csv. Accuracy is not drawn: it is known only at the numbers of replicas "
        "that were trained."
    )
