"""The figures of the stability study."""

from pathlib import Path
from typing import Any

import numpy as np

from hyperlab.metrics import statistics
from hyperlab.report import figures
from hyperlab.studies.stability.results import Arms, Compared, of_optimizer
from hyperlab.studies.stability.tasks import Wording

MAIN = ("plain", "default", "encoding", "additive", "mip")  # the comparison; the rest are controls


def all_figures(
    folder: Path, config: dict[str, Any], wording: Wording, arms: Arms, compared: Compared
) -> dict[str, tuple[Path, str]]:
    """Draws everything: `{name: (path, caption)}`, in the order of the report."""
    made = {}
    for optimizer in config["optimizers"]:
        chosen = of_optimizer(arms, optimizer)
        suffix = f" ({optimizer})" if len(config["optimizers"]) > 1 else ""
        for name, (draw, caption) in _FIGURES.items():
            figure = draw(config, wording, chosen)
            if figure is not None:
                made[f"{optimizer}_{name}"] = (
                    figures.save(figure, folder / f"{optimizer}_{name}.png"),
                    caption.format(score=wording.score) + suffix,
                )
        figure = _contrasts(compared[optimizer])
        if figure is not None:
            path = figures.save(figure, folder / f"{optimizer}_contrasts.png")
            made[f"{optimizer}_contrasts"] = (
                path,
                f"Paired differences, every seed, with the t interval{suffix}.",
            )
    return made


def _overview(config, wording, arms):
    main = _main(arms)
    figure, (norm, gradient, score) = figures.grid(1, 3, width=4.2, height=3.4)
    for colour, arm in main:
        if "probe/norm" in arm.runs:
            figures.band(norm, arm.gammas, arm.runs["probe/norm"][:, 0], colour, arm.label)
        smooth = _smooth(arm.runs["curve/gradient_theta"])
        figures.band(gradient, np.arange(smooth.shape[1]), smooth, colour, arm.label)
        figures.band(score, arm.steps, arm.runs["curve/score"], colour, arm.label)
    norm.set(title="norm of generated weights, before training", xlabel="gamma", ylim=(0, None))
    gradient.set(title="gradient norm at the weights", xlabel="step", yscale="log")
    score.set(title=f"test {wording.score}", xlabel="step", ylim=(0, 1))
    score.axhline(config["target_score"], color="0.5", linestyle=":", linewidth=1)
    score.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def _norm_against_gamma(config, wording, arms):
    shown = [(colour, arm) for colour, arm in _main(arms) if "probe/norm" in arm.runs]
    if not shown:
        return None
    figure, axes = figures.grid(1, len(shown), width=3.0, height=3.0, sharex=True)
    for one, (colour, arm) in zip(axes, shown, strict=True):
        figures.band(one, arm.gammas, arm.runs["probe/norm"][:, 0], "0.45", "before training", linestyle="--")
        figures.band(one, arm.gammas, arm.runs["probe/norm"][:, -1], colour, "after training")
        one.set(title=f"{arm.label} ({arm.choice['initializer']})", xlabel="gamma", ylim=(0, None))
        one.legend(frameon=False, fontsize=8)
    axes[0].set_ylabel("norm of theta")
    return figure


def _gradient_norm(config, wording, arms):
    figure, (theta, omega) = figures.grid(1, 2, width=5.0)
    for colour, arm in _main(arms):
        for axes, key in ((theta, "gradient_theta"), (omega, "gradient_omega")):
            smooth = _smooth(arm.runs[f"curve/{key}"])
            figures.band(axes, np.arange(smooth.shape[1]), smooth, colour, arm.label)
    theta.set(title="gradient norm at theta", xlabel="step", yscale="log")
    omega.set(title="gradient norm at omega (plain: its parameters)", xlabel="step", yscale="log")
    theta.legend(frameon=False, fontsize=8)
    return figure


def _score(config, wording, arms):
    main, rest = _main(arms), _rest(arms)
    figure, axes = figures.grid(1, 2 if rest else 1, width=5.0, height=3.6, sharey=True)
    for one, group, title in zip(axes, (main, rest), ("the comparison", "controls and normalisation"), strict=False):
        for colour, arm in group:
            figures.band(one, arm.steps, arm.runs["curve/score"], colour, arm.label)
        one.axhline(config["target_score"], color="0.5", linestyle=":", linewidth=1)
        one.set(title=title, xlabel="step", ylim=(0, 1))
        one.legend(frameon=False, fontsize=8, loc="lower right")
    axes[0].set_ylabel(f"test {wording.score}")
    return figure


def _time_to_target(config, wording, arms):
    figure, (axes,) = figures.grid(1, 1, width=6.0)
    for index, (_, arm) in enumerate(_main(arms) + _rest(arms)):
        curve = statistics.kaplan_meier(arm.time, arm.reached)
        times = np.append(curve.times, arm.steps[-1])
        share = np.append(1 - curve.survival, 1 - curve.survival[-1])
        style = "-" if arm.cell.arm in MAIN else "--"
        axes.step(times, share, style, where="post", color=figures.COLOURS[index % 10], label=arm.label)
    axes.set(xlabel="step", ylabel=f"share of runs at {wording.score} {config['target_score']:g}", ylim=(0, 1.02))
    axes.legend(frameon=False, fontsize=8, bbox_to_anchor=(1, 1), loc="upper left")
    return figure


def _learning_rate(config, wording, arms):
    figure, axes = figures.grid(1, 2 if _rest(arms) else 1, width=5.0, sharey=True)
    for one, group in zip(axes, (_main(arms), _rest(arms)), strict=False):
        for colour, arm in group:
            tried = arm.choice["tuning"]
            for initializer in dict.fromkeys(t["initializer"] for t in tried):
                line = sorted((t["learning_rate"], t["score"]) for t in tried if t["initializer"] == initializer)
                best = initializer == arm.choice["initializer"]
                one.plot(
                    *zip(*line, strict=True),
                    marker="o" if best else None,
                    color=colour,
                    alpha=1 if best else 0.3,
                    markersize=3,
                    label=arm.label if best else None,
                )
        one.set(xscale="log", xlabel="learning rate", ylim=(0, 1))
        one.legend(frameon=False, fontsize=8)
    axes[0].set_ylabel(f"mean validation {wording.score} along the run")
    return figure


def _final_score(config, wording, arms):
    figure, (axes,) = figures.grid(1, 1, width=7.0, height=0.32 * len(arms) + 1)
    shown = _main(arms) + _rest(arms)
    for row, (colour, arm) in enumerate(reversed(shown)):
        axes.plot(arm.score, np.full(len(arm.score), row), "o", color=colour, alpha=0.5, markersize=4)
        axes.plot(np.median(arm.score), row, "|", color="black", markersize=14, markeredgewidth=2)
    axes.set_yticks(range(len(shown)), [arm.label for _, arm in reversed(shown)])
    axes.set(xlabel=f"final test {wording.score}, every run and the median")
    return figure


def _contrasts(compared: dict[str, dict[str, statistics.Contrast]]):
    if not any(compared.values()):
        return None
    figure, axes = figures.grid(1, len(compared), width=5.0, height=2.4)
    for one, (metric, named) in zip(axes, compared.items(), strict=True):
        for row, contrast in enumerate(named.values()):
            figures.points(one, -row, contrast.differences, (contrast.low, contrast.high), figures.COLOURS[row])
        one.axvline(0, color="0.5", linewidth=1)
        one.set_yticks([-row for row in range(len(named))], list(named))
        one.set(title=f"difference in {metric}")
    return figure


_FIGURES = {
    "overview": (_overview, "The study in one picture: proportionality, gradients, convergence."),
    "norm_against_gamma": (_norm_against_gamma, "Norm of the generated weights against gamma."),
    "gradient_norm": (_gradient_norm, "Gradient norm along training, median of 5 steps, band over seeds."),
    "score": (_score, "Test {score} against step: median and range over seeds."),
    "time_to_target": (_time_to_target, "Share of runs that have reached the target (Kaplan-Meier)."),
    "learning_rate": (
        _learning_rate,
        "Tuning seeds and validation split: sensitivity to the learning rate; faint lines are other initialisers.",
    ),
    "final_score": (_final_score, "Final test {score}."),
}


def _main(arms):
    present = [arms[name] for name in MAIN if name in arms]
    return list(zip(figures.COLOURS[: len(present)], present, strict=True))


def _rest(arms):
    present = [arm for name, arm in arms.items() if name not in MAIN]
    return [(figures.COLOURS[(len(MAIN) + i) % 10], arm) for i, arm in enumerate(present)]


def _smooth(norms: np.ndarray, window: int = 5) -> np.ndarray:
    """Running median, so that a band shows the course and not every batch."""
    if norms.shape[1] < window:
        return norms
    return np.median(np.lib.stride_tricks.sliding_window_view(norms, window, axis=1), axis=-1)
