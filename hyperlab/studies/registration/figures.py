"""The figures of the registration study."""

from pathlib import Path
from typing import Any

import numpy as np

from hyperlab.metrics.defined import mean_defined
from hyperlab.report import figures


def all_figures(folder: Path, config, data, arms: dict, compared: dict) -> dict[str, tuple[Path, str]]:
    """Draws everything: `{name: (path, caption)}`, in the order of the report."""
    drawn = {
        "overview": (
            _overview(config, arms),
            "Against the regularisation weight: Dice, share of folded voxels, loss over the identity's (and end-point "
            "error where the warp is known). Curves: one network for all weights, median and range over seeds. Points: "
            "a network of its own for each weight, every seed.",
        ),
        "contrasts": (_contrasts(compared), "Paired differences, every seed, with the mean and its t interval."),
        "classes": (_classes(config, data, arms), "Dice of each class against the weight, mean over seeds."),
        "example": (
            _example(config, data, arms),
            "The first test pair, registered by each arm's first seed: contours are the warped labels (colour) and "
            "those of the fixed image (white); beside it the difference to the fixed image, and the warped grid.",
        ),
        "subjects": (_subjects(arms), "Dice gained over the identity, every subject, at the weight of each arm."),
        "tuning": (_tuning(arms), "Tuning: validation loss over the identity's against the learning rate."),
    }
    return figures.save_all(((name, *one) for name, one in drawn.items()), folder)


def _overview(config, arms):
    known = arms["identity"].endpoint_error is not None
    figure, axes = figures.grid(1, 4 if known else 3, width=3.6, height=3.4)
    panels = [("mean Dice", lambda arm: arm.mean_dice), ("folded voxels, %", lambda arm: 100 * arm.folding.mean(-1))]
    panels.append(("loss / identity's loss", lambda arm: arm.loss))
    if known:
        panels.append(("end-point error, voxels", lambda arm: arm.endpoint_error.mean(-1)))
    for one, (title, values) in zip(axes, panels, strict=True):
        for colour, arm in _coloured(arms):
            y = values(arm)
            x = arm.weight[: y.shape[1]]
            if arm.name == "identity":
                one.axhline(float(y[0, 0]), color="0.5", linestyle=":", linewidth=1, label=arm.label)
            elif arm.name == "separate":
                for row in y:
                    one.plot(x, row, "o", color=colour, alpha=0.5, markersize=4)
                one.plot(x, np.median(y, 0), "_", color=colour, markersize=16, markeredgewidth=2, label=arm.label)
            elif arm.name == "pairwise":
                one.plot(x, y[0], "x", color=colour, label=arm.label)
            else:
                figures.band(one, x, y, colour, arm.label)
        one.set(title=title, xlabel="regularisation weight")
    # A weight of 0.99 may cost a multiple of the identity: the panel stays with what is comparable.
    axes[2].set_ylim(0, min(1.5, axes[2].get_ylim()[1]))
    axes[1].set_ylim(0, max(0.1, axes[1].get_ylim()[1]))
    figures.legend_below(figure, axes[0])
    return figure


def _contrasts(compared: dict):
    if not any(compared.values()):
        return None
    figure, axes = figures.grid(1, len(compared), width=5.0, height=2.2)
    for one, (family, named) in zip(axes, compared.items(), strict=True):
        for row, contrast in enumerate(named.values()):
            figures.points(one, -row, contrast.differences, (contrast.low, contrast.high), figures.COLOURS[row])
        one.axvline(0, color="0.5", linewidth=1)
        one.set_yticks([-row for row in range(len(named))], list(named))
        one.set_title(family, fontsize=10)
    return figure


def _classes(config, data, arms):
    names = data["classes"][1:]
    figure, axes = figures.grid(1, len(names), width=3.0, height=2.8, sharex=True)
    for index, (one, name) in enumerate(zip(axes, names, strict=True)):
        for colour, arm in _coloured(arms):
            dice = mean_defined(arm.dice[..., index], -1).mean(0)
            style = {"identity": ":", "separate": "o", "pairwise": "x"}.get(arm.name, "-")
            one.plot(arm.weight, dice, style, color=colour, label=arm.label, markersize=5)
        one.set(title=name, xlabel="regularisation weight")
    figures.legend_below(figure, axes[0])
    return figure


def _example(config, data, arms):
    shown = [(colour, arm) for colour, arm in _coloured(arms) if arm.example]
    if not shown:
        return None
    given = config["weights"]
    weights = given if len(given) <= 3 else [given[0], given[len(given) // 2], given[-1]]
    first = shown[0][1].example
    figure, axes = figures.grid(len(shown) + (len(shown) == 1), 1 + 2 * len(weights), width=1.9, height=2.0)
    axes = axes.reshape(-1, 1 + 2 * len(weights))
    levels = np.arange(len(data["classes"]) - 1) + 0.5
    for one in axes.ravel():
        one.set_axis_off()
    _image(axes[0, 0], first["moving"], "moving")
    _image(axes[1, 0], first["fixed"], "fixed")
    axes[1, 0].contour(first["fixed_labels"], levels, colors="white", linewidths=0.6)
    for row, (_, arm) in zip(axes, shown, strict=False):
        for column, weight in enumerate(weights):
            at = arm.weight.tolist().index(weight)
            image, error = row[1 + 2 * column], row[2 + 2 * column]
            moved = arm.example["moved"][at]
            _image(image, moved, f"{arm.label}" if not column else f"weight {weight:g}")
            image.contour(first["fixed_labels"], levels, colors="white", linewidths=0.6)
            image.contour(arm.example["moved_labels"][at], levels, colors="#d55e00", linewidths=0.8)
            shades = error.imshow(moved - first["fixed"], cmap="RdBu", vmin=-0.5, vmax=0.5)
            _grid(error, arm.example["displacement"][at])
            error.set_title(f"weight {weight:g}" if not column else "", fontsize=8)
    figure.colorbar(
        shades,  # type: ignore[possibly-undefined]  # there are arms and weights
        ax=axes[:, -1].tolist(),
        shrink=0.5,
        label="moved minus fixed",
    )
    return figure


def _image(axes: Any, image: np.ndarray, title: str) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=1)
    axes.set_title(title, fontsize=8)
    axes.set_axis_off()


def _grid(axes: Any, field: np.ndarray, lines: int = 14) -> None:
    """The lines of the fixed image's grid where the warp takes them."""
    rows, columns = np.meshgrid(*(np.arange(n) for n in field.shape[:-1]), indexing="ij")
    y, x = rows + field[..., 0], columns + field[..., 1]
    step = max(1, max(field.shape[:-1]) // lines)
    for index in range(0, field.shape[0], step):
        axes.plot(x[index], y[index], color="0.2", linewidth=0.4)
    for index in range(0, field.shape[1], step):
        axes.plot(x[:, index], y[:, index], color="0.2", linewidth=0.4)
    axes.set(xlim=(-0.5, field.shape[1] - 0.5), ylim=(field.shape[0] - 0.5, -0.5))


def _subjects(arms):
    identity = arms["identity"]
    start = mean_defined(identity.dice[0, 0], -1)
    shown = [(colour, arm) for colour, arm in _coloured(arms) if arm.name != "identity"]
    figure, (axes,) = figures.grid(1, 1, width=7.0, height=0.4 * len(shown) + 1)
    for row, (colour, arm) in enumerate(reversed(shown)):
        gain = mean_defined(arm.at(arm.dice, arm.choice["weight"]), -1).mean(0) - start
        jitter = np.linspace(-0.25, 0.25, len(gain))
        axes.plot(gain, row + jitter, "o", color=colour, alpha=0.5, markersize=4)
        axes.plot(mean_defined(gain), row, "|", color="black", markersize=14, markeredgewidth=2)
    axes.axvline(0, color="0.5", linewidth=1)
    axes.set_yticks(range(len(shown)), [f"{arm.label} (weight {arm.choice['weight']:g})" for _, arm in reversed(shown)])
    axes.set_xlabel("Dice gained over the identity: every subject, and their mean")
    return figure


def _tuning(arms):
    figure, (axes,) = figures.grid(1, 1, width=6.0)
    for colour, arm in _coloured(arms):
        tried = arm.choice.get("tuning", [])
        for index, single in enumerate(tried if tried and isinstance(tried[0], list) else [tried]):
            for initializer in dict.fromkeys(t.get("initializer") for t in single):
                line = sorted((t["learning_rate"], -t["score"]) for t in single if t.get("initializer") == initializer)
                chosen = initializer == arm.choice.get("initializer")
                axes.plot(
                    *zip(*line, strict=True),
                    marker="o" if chosen else None,
                    alpha=1 if chosen else 0.3,
                    color=colour,
                    markersize=3,
                    label=arm.label if chosen and not index else None,
                )
    axes.set(xscale="log", xlabel="learning rate", ylabel="validation loss / identity's", ylim=(0, 1.3))
    axes.legend(frameon=False, fontsize=8)
    return figure


def _coloured(arms):
    return list(zip(("#8c8c8c", *figures.COLOURS[:7], *figures.COLOURS[8:]), arms.values(), strict=False))
