"""Finished pruning studies on one page: the same methods over several networks, (data set, architecture) pairs.

Methods of one network stand on one axis only if they start from the same parents, seed by seed: from other parents the
order of methods can turn round, even of changes from the parent (Blalock et al., 2020, arXiv 2003.03033).
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hyperlab.errors import ConfigError, WorkdirError
from hyperlab.metrics import statistics
from hyperlab.report import sections
from hyperlab.report.finished import Finished
from hyperlab.report.page import Page
from hyperlab.report.tables import write_table
from hyperlab.studies.pruning import results as measured
from hyperlab.studies.pruning import rules as checklist
from hyperlab.studies.pruning import suite_figures as draw
from hyperlab.studies.pruning.arms import find
from hyperlab.studies.pruning.record import StudyRecord, is_toy
from hyperlab.studies.pruning.recorded import record

LATENCY, DEVICE = "measured_latency_seconds", "latency_device"


class Run(NamedTuple):
    """A finished run: what the page calls it, where it is, what it measured."""

    name: str
    folder: Path
    study: measured.Study


class Suite(NamedTuple):
    """Runs by network.

    Attributes:
      networks: `{"data set / architecture": runs}`, in the order in which they were given.
      across: the networks whose runs start from different parents.
    """

    networks: dict[str, list[Run]]
    across: tuple[str, ...]

    @property
    def runs(self) -> list[Run]:
        """All of them."""
        return [run for runs in self.networks.values() for run in runs]

    def label(self, network: str, run: Run, method: str) -> str:
        """What the page calls a method: with its run, where several runs of the network have it."""
        label = run.study.label(method)
        having = [one for one in self.networks[network] if label in map(one.study.label, one.study.runs)]
        return label if len(having) < 2 else f"{label} [{run.name}]"


def read(folders: Sequence[str | Path], *, across_parents: bool = False) -> Suite:
    """Finished run folders of the pruning study.

    Args:
      folders: of the runs.
      across_parents: put runs of one network on one axis although they start from different parents.

    Raises:
      ConfigError: a folder is given twice; runs of one network start from different parents or have different data.
      WorkdirError: a folder is of another study, or not finished.
    """
    paths = [Path(folder).expanduser().resolve() for folder in folders]
    for path, count in Counter(paths).items():
        if count > 1:
            raise ConfigError(f"{path} is given twice; a run is drawn once")
    names = Counter(path.name for path in paths)
    networks: dict[str, list[Run]] = {}
    for path in paths:
        study = _read(path)
        name = path.name if names[path.name] == 1 else str(path)
        network = f"{study.task['data']} / {study.task['architecture']}"
        networks.setdefault(network, []).append(Run(name, path, study))
    for network, runs in networks.items():
        if len({run.study.task["fingerprint"] for run in runs}) > 1:
            raise ConfigError(f"the runs of {network} have different data ({_named(runs)}); put them on separate pages")
    across = tuple(network for network, runs in networks.items() if _different_parents(runs))
    if across and not across_parents:
        raise ConfigError(
            f"the runs of {across[0]} start from different parents ({_named(networks[across[0]])}): methods on one "
            "axis must share them, seed by seed. Run all methods in one study, or give --across-parents, which marks "
            "every figure"
        )
    return Suite(networks, across)


def write(suite: Suite, out: Path) -> Path:
    """Writes `suite.csv`, `contrasts.csv`, `rules.csv`, `figures/` and `report.html`.

    Args:
      suite: of `read`.
      out: the folder, made where it is missing.

    Returns:
      The path of the page.
    """
    out.mkdir(parents=True, exist_ok=True)
    table, compared = tidy(suite), contrasts(suite)
    recorded = merged(suite, table)
    verdicts = checklist.table(checklist.check(recorded))
    write_table(out / "suite.csv", table)
    write_table(out / "contrasts.csv", compared.drop(columns="differences"))
    write_table(out / "rules.csv", verdicts)
    page = Page("The same pruning methods over several networks")
    page.paragraph(f"{checklist.suite_label(recorded)}. {_lead(suite)}", "lead")
    if suite.across:
        page.paragraph(
            f"Different parents on one axis, as was asked for: {', '.join(suite.across)}. Differences between runs "
            "there may be differences between parents; every figure carries a mark."
        )
    page.findings(_findings(compared) or ["No contrast was named in these runs."])
    page.figure(*draw.curves(out / "figures" / "curves.png", suite))
    for network, runs in suite.networks.items():
        page.heading(network)
        page.table(_scores(table[table["network"] == network]), _scores_note(runs))
    page.heading("Contrasts, named before each study ran")
    if len(compared):
        page.figure(*draw.contrasts(out / "figures" / "contrasts.png", compared, bool(suite.across)))
        page.table(_contrast_table(compared), "Paired by seed within a run; t intervals after Holm within a run.")
    page.heading("Sizes and speed")
    page.table(_sizes(suite, table), _sizes_note(table))
    page.heading("Rules of a fair evaluation")
    page.table(verdicts, "Decided for all runs together. What was not recorded is not met.")
    page.heading("Reproduce")
    for run in suite.runs:
        page.code(f"{run.name}\n{sections.reproduce(run.folder)}")
    return page.write(out / "report.html")


def tidy(suite: Suite) -> pd.DataFrame:
    """Test scores after the last step: one row for each network, run, method, compression and seed.

    `compression` is the requested one, 1 for what nothing is pruned of; `change` is from the seed's own point at 1.
    Columns of a measured latency are there where a run has one.
    """
    rows = []
    for network, runs in suite.networks.items():
        for run in runs:
            study = run.study
            common: dict[str, Any] = {
                "network": network,
                "data": study.task["data"],
                "architecture": study.task["architecture"],
            }
            common |= {"run": run.name, "metric": study.metric}
            for name, points in study.runs.items():
                start = study.at_one(name)
                for compression, seeds in points.items():
                    scores = study.score(name, compression)
                    for one, score, change in zip(seeds, scores, scores - start, strict=True):
                        row: dict[str, Any] = {"method": suite.label(network, run, name), "track": find(name).track}
                        row |= {"compression": compression, "seed": int(one["seed"]), "parent": str(one["parent"])}
                        for field in ("compression_ratio", "theoretical_speedup", LATENCY, DEVICE):
                            if f"size/{field}" in one:
                                row[field] = one[f"size/{field}"].item()
                        rows.append({**common, **row, "value": score, "change": change})
    return pd.DataFrame(rows)


def contrasts(suite: Suite) -> pd.DataFrame:
    """The contrasts that the runs' configs name, one row each; `differences` `[seeds]`."""
    rows = []
    for network, runs in suite.networks.items():
        for run in runs:
            for family, named in measured.contrasts(run.study).items():
                for name, one in named.items():
                    first, second = map(run.study.label, statistics.names_of(name))
                    rows.append(
                        {"network": network, "run": run.name, "at": family.split("/")[0],
                         "contrast": f"{first} - {second}", **one._asdict()}
                    )  # fmt: skip
    return pd.DataFrame(rows, columns=["network", "run", "at", "contrast", *statistics.Contrast._fields])


def merged(suite: Suite, table: pd.DataFrame) -> StudyRecord:
    """One record of all runs: what any of them lacks is lacking. Published curves are not drawn here."""
    records = [record(run.study) for run in suite.runs]
    devices = sorted(set(table[DEVICE].dropna())) if DEVICE in table else []
    return records[0]._replace(
        datasets=tuple(dict.fromkeys(data for one in records for data in one.datasets)),
        curves=tuple(curve for one in records for curve in one.curves),
        top=tuple(k for k in records[0].top if all(k in one.top for one in records)),
        columns=tuple(table.columns),
        controls=tuple(name for name in records[0].controls if all(name in one.controls for one in records)),
        parent_scores=tuple(dict.fromkeys(name for one in records for name in one.parent_scores)),
        latency_device=", ".join(devices),
        parents_overridden=bool(suite.across),
    )


# -- parts ----------------------------------------------------------------------------------------------------------


def _read(path: Path) -> measured.Study:
    if not path.is_dir():
        raise WorkdirError(f"{path} is no folder; expected the run folder of a finished pruning study")
    kind = Finished(path).config.get("study")
    if kind != "pruning":
        raise WorkdirError(f"{path} is a run of the study {kind!r}, expected one of 'pruning'")
    study = measured.read(path)
    name = study.task["data"]
    # The rules know toys by their names.
    hidden = study.task["toy"] and not is_toy(name)
    return dataclasses.replace(study, task={**study.task, "data": f"synthetic {name}"}) if hidden else study


def _different_parents(runs: Iterable[Run]) -> bool:
    """Whether two runs have different parents for a seed, or no seed in common."""
    found = [{int(one["seed"]): str(one["parent"]) for one in run.study.unpruned} for run in runs]
    for place, one in enumerate(found):
        for other in found[:place]:
            common = one.keys() & other.keys()
            if not common or any(one[seed] != other[seed] for seed in common):
                return True
    return False


def _named(runs: Iterable[Run]) -> str:
    return ", ".join(run.name for run in runs)


def _lead(suite: Suite) -> str:
    toys = [name for name, runs in suite.networks.items() if runs[0].study.task["toy"]]
    text = f"{len(suite.runs)} runs of {len(suite.networks)} networks: {'; '.join(suite.networks)}."
    return text + (f" Toys, on which methods may differ as they do nowhere else: {'; '.join(toys)}." if toys else "")


def _findings(compared: pd.DataFrame) -> list[str]:
    """Each contrast over all networks: how often it came out which way."""
    sentences = []
    for (at, name), rows in compared.groupby(["at", "contrast"], sort=False):
        counts = Counter(verdict.split(" with ")[0] for verdict in rows["verdict"])
        counted = ", ".join(f"{verdict} in {count}" for verdict, count in counts.items())
        runs = f"{len(rows)} run{'s' * (len(rows) > 1)} of {rows['network'].nunique()} network"
        sentences.append(f"At {at}, {name}: {counted}, of {runs}{'s' * (rows['network'].nunique() > 1)}.")
    return sentences


def _scores(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (track, method), group in table.groupby(["track", "method"], sort=False):
        row = {"method": method, "track": track}
        for compression, values in group.groupby("compression")["value"]:
            row[f"{compression:g}"] = _spread(values.to_numpy())
        rows.append(row)
    frame = pd.DataFrame(rows).fillna("-")
    return frame[["method", "track", *sorted(set(frame) - {"method", "track"}, key=float)]]


def _spread(values: np.ndarray) -> str:
    if len(values) == 1:
        return f"{values[0]:.4f} (n=1)"
    return f"{values.mean():.4f} ± {values.std(ddof=1):.4f} (n={len(values)})"


def _scores_note(runs: list[Run]) -> str:
    each = "; ".join(f"{run.name}: {run.study.task['examples_seen']:,} training examples" for run in runs)
    return (
        f"Test {runs[0].study.metric} after the last step by requested compression, mean ± sample standard deviation "
        f"over seeds; at 1, the same training without pruning. {each}, parents included."
    )


def _contrast_table(compared: pd.DataFrame) -> pd.DataFrame:
    shown = compared[["contrast", "at", "network", "run"]].copy()
    shown["mean difference"] = compared["mean"].map("{:+.4f}".format)
    shown["t interval"] = [f"[{low:+.4f}, {high:+.4f}]" for low, high in zip(compared.low, compared.high, strict=True)]
    shown["verdict"] = compared["verdict"]
    return shown.sort_values(["at", "contrast"], kind="stable")


def _sizes(suite: Suite, table: pd.DataFrame) -> pd.DataFrame:
    """At the middle of each run's compared compressions."""
    rows = []
    for run in suite.runs:
        at = table[(table["run"] == run.name) & (table["compression"] == measured.middle(run.study))]
        for method, group in at.groupby("method", sort=False):
            row = {"method": method, "network": group["network"].iloc[0]}
            for field in ("compression_ratio", "theoretical_speedup"):
                row[field.replace("_", " ")] = f"{group[field].mean():.3f}"
            if LATENCY in table:
                known = group[LATENCY].notna().any()
                row["latency, ms"] = f"{1e3 * group[LATENCY].mean():.3f}" if known else "-"
                row["measured on"] = ", ".join(sorted(set(group[DEVICE].dropna()))) if known else "-"
            rows.append(row)
    return pd.DataFrame(rows)


def _sizes_note(table: pd.DataFrame) -> str:
    text = (
        "Means over seeds at the middle of the compared compressions. The speedup is of multiply-accumulates on paper"
    )
    if LATENCY not in table:
        return f"{text}; no run measured a latency."
    return f"{text}; a latency is a measurement, of the device beside it."
