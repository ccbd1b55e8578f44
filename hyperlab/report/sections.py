"""Parts that the reports of all studies share: contrasts, tuning, limits, how to reproduce a run, numbers as text."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hyperlab.files import read_object
from hyperlab.metrics import statistics
from hyperlab.metrics.bounds import Bounds
from hyperlab.report.page import Page

Contrasts = Mapping[str, Mapping[str, statistics.Contrast]]


def contrast_rows(compared: Contrasts, group: str | None = "optimizer") -> pd.DataFrame:
    """One row for each contrast of each family `group/metric`, for instance `sgd/accuracy`.

    Args:
      compared: `{family: {contrast: Contrast}}`.
      group: what a group is called; None where families are metrics alone.
    """
    rows = []
    for family, named in compared.items():
        of, _, metric = family.rpartition("/")
        for name, c in named.items():
            values = {"mean": c.mean, "low": c.low, "high": c.high, "p": c.p, "n": c.n, "verdict": c.verdict}
            grouped = {} if group is None else {group: of}
            rows.append({**grouped, "metric": metric, "contrast": name, **values, "label": c.label})
    return pd.DataFrame(rows)


def contrast_table(compared: Contrasts, group: str = "optimizer") -> pd.DataFrame:
    """The contrasts as text, with Holm's t interval and a bootstrap of the median where there are seeds enough."""
    rows = []
    for family, named in compared.items():
        of, _, metric = family.rpartition("/")
        for name, c in named.items():
            boot = statistics.bootstrap(c.differences) if c.n >= statistics.FEWEST_UNITS_OF_A_BOOTSTRAP else None
            rows.append(
                {
                    "contrast": name,
                    group: of,
                    "metric": metric,
                    "mean difference": f"{c.mean:+.4g}",
                    "t interval (Holm)": f"[{c.low:+.4g}, {c.high:+.4g}]",
                    "median difference, bootstrap": f"{boot.estimate:+.4g} [{boot.low:+.4g}, {boot.high:+.4g}]"
                    if boot
                    else "-",
                    "p (Holm)": f"{c.p:.2g}",
                    "verdict": f"{c.verdict}{f' ({c.label})' if c.label else ''}",
                }
            )
    return pd.DataFrame(rows)


def cut_note(count: int, bounds: Bounds) -> str:
    """The sentence about intervals that were cut at what is possible, to stand after others; empty where none was.

    Args:
      count: of intervals that were cut.
      bounds: the least and the most that was possible.

    >>> cut_note(2, (-1.0, 1.0))
    ' 2 intervals were cut at -1 or 1: nothing beyond is possible, and so few seeds say little.'
    >>> cut_note(0, (-1.0, 1.0))
    ''
    """
    if not count:
        return ""
    many = "1 interval was" if count == 1 else f"{count} intervals were"
    return f" {many} cut at {bounds[0]:g} or {bounds[1]:g}: nothing beyond is possible, and so few seeds say little."


def look(seeds: int) -> str:
    """What is added where too few seeds are reported for a claim.

    >>> look(3), look(5)
    (' (a look: no claim)', '')
    """
    return " (a look: no claim)" if seeds < statistics.FEWEST_SEEDS else ""


def tuned(choice: Mapping[str, Any], score: str = "") -> dict[str, str]:
    """The learning rate of a choice and what was tried, as cells of a table.

    Args:
      choice: of `choices.json`, see `studies.tuning.Choice.record`.
      score: what a column with the score of every rate is called; none where empty.
    """
    cells = {
        "learning rate": f"{choice['learning_rate']:.3g}",
        "at the edge": "yes" if choice["at_edge"] else "no",
        "trials": str(choice["trials"]),
    }
    tried = ", ".join(f"{one['learning_rate']:.3g}: {one['score']:.3f}" for one in choice["tuning"]) if score else ""
    return cells | ({score: tried} if score else {})


def edges(labels: Iterable[str]) -> list[str]:
    """The sentence about arms whose best rate is at the edge of what was tried, if there are any."""
    named = list(labels)
    if not named:
        return []
    return [
        f"Best learning rate at the edge of what was tried ({', '.join(named)}): a wider grid may hold a better one."
    ]


def rest(page: Page, figures: Mapping[str, tuple[Path, str]]) -> None:
    """The figures that have no place of their own."""
    page.heading("Figures")
    for path, caption in figures.values():
        page.figure(path, caption)


def end(page: Page, folder: Path, limits: Iterable[str], config: Any) -> Page:
    """The end of every report: what it cannot say, and how to run it again."""
    page.heading("What this can and cannot say")
    for sentence in limits:
        page.paragraph(sentence)
    page.heading("Reproduce")
    page.code(reproduce(folder))
    page.code(json.dumps(config if isinstance(config, dict) else config.to_dict(), indent=1, sort_keys=True))
    return page


def reproduce(folder: Path) -> str:
    """Command, commit, machine and versions of the last start of a run folder; what networks computed in."""
    record = read_object(Path(folder) / "run.json", "run the study again in its folder, which begins a new one") or {}
    precision, lines = (record.get("config") or {}).get("precision", "float32"), []
    for start in record.get("starts", [])[-1:]:
        git = start.get("git") or {}
        lines.append(start.get("command", ""))
        lines.append(f"hyperlab {start.get('hyperlab')}, commit {git.get('commit', 'of an installed package')}")
        lines.append(f"{'with uncommitted changes, ' if git.get('dirty') else ''}config {start.get('config_digest')}")
        machine, devices = start.get("machine", {}), start.get("devices", {})
        lines.append(
            f"{machine.get('cpu')}, {machine.get('cores')} cores; {devices.get('count')} x {devices.get('kind')}"
        )
        if precision != "float32":
            lines.append(f"networks computed in {precision}; parameters, sums and losses are float32")
        packages = start.get("packages", {})
        lines.append(
            ", ".join(f"{name} {packages[name]}" for name in ("jax", "flax", "optax", "numpy") if name in packages)
        )
    return "\n".join(lines)


def number(value: float | None) -> str:
    """Three significant digits, or a dash where there is nothing."""
    return "-" if value is None or not np.isfinite(value) else f"{value:.3g}"


def spread(values: np.ndarray) -> str:
    """The mean over seeds and the sample standard deviation.

    >>> spread(np.array([0.5, 0.7])), spread(np.array([0.5]))
    ('0.6000 ± 0.1414', '0.5000 (n=1)')
    """
    if len(values) == 1:
        return f"{values[0]:.4f} (n=1)"
    return f"{values.mean():.4f} ± {values.std(ddof=1):.4f}"
