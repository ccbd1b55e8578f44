"""Run folders as frames."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hyperlab.errors import ConfigError, DataError, nearest
from hyperlab.results import folders
from hyperlab.results.columns import categories, column, join
from hyperlab.train import heartbeat

PROVENANCE = (
    "run", "study", "name", "status", "error", "started", "seconds", "digest", "fingerprint", "git", "dirty", "version",
    "jax", "device",
)  # fmt: skip
FINISHED, RUNNING, STOPPED, FAILED, BROKEN = STATUSES = ("finished", "running", "stopped", "failed", "broken")
VARIED = "varied"
FIRST, LAST = ("arm", "seed", "split", "task"), ("metric", "value", "n")  # of a study's columns
NAMED = ("arm", "seed", "metric", "value")  # are there without any results too


def results(root: str | os.PathLike, *, config: Sequence[str] | str = (), cache: bool | None = None) -> pd.DataFrame:
    """See `hyperlab.results.results`."""
    return both(root, config=config, cache=cache)[1]


def runs(root: str | os.PathLike, *, config: Sequence[str] | str = (), cache: bool | None = None) -> pd.DataFrame:
    """See `hyperlab.results.runs`."""
    return both(root, config=config, cache=cache)[0]


def both(
    root: str | os.PathLike, *, config: Sequence[str] | str = (), cache: bool | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The frames of `runs` and of `results`, from one reading."""
    if cache is not None:
        warnings.warn("cache= is without use: files are read each time", FutureWarning, stacklevel=4)
    root = Path(root).expanduser().absolute()
    if not root.is_dir():
        raise DataError(f"{root} is no folder; expected one with run folders below it")
    try:
        os.listdir(root)
    except OSError as error:
        raise DataError(f"{root} cannot be read: {error.strerror}") from error
    read = {run: folders.read(path) for run, path in folders.find(root).items()}
    records = {run: record for run, (record, _) in read.items()}
    tables = [pd.DataFrame() if table is None else table for _, table in read.values()]
    counts = np.array([len(table) for table in tables], int)
    # a run without results has one row all the same
    columns = join([table if len(table) else pd.DataFrame(index=[0]) for table in tables], NAMED)
    overview = _provenance(root, records, config)
    place = np.repeat(np.arange(len(records)), np.maximum(counts, 1))
    parts = {name: overview[name].array.take(place) for name in overview.columns}
    for name in (*FIRST, *sorted(columns.keys() - {*FIRST, *LAST}), *LAST):
        if name in columns:
            parts[_free(name, parts)] = columns[name]
    overview.insert(overview.columns.get_loc("seconds") + 1, "rows", counts)
    return overview, pd.DataFrame(parts, copy=False)  # the arrays are of nobody else


def _provenance(root: Path, records: dict[str, dict[str, Any]], config: Sequence[str] | str) -> pd.DataFrame:
    rows = []
    for run, record in records.items():
        status, error = _status(root / run, record)
        row = {"run": run, "name": (root / run).name, "status": status, "error": error or None}
        rows.append([{**record, **row}.get(name) for name in PROVENANCE])
    frame = pd.DataFrame(rows, columns=list(PROVENANCE), dtype=object)
    frame["started"] = pd.to_datetime(frame["started"], utc=True, errors="coerce", format="ISO8601")
    frame["seconds"] = frame["seconds"].astype(float)
    frame["dirty"] = frame["dirty"].astype("boolean")
    for name in PROVENANCE:
        if name not in ("started", "seconds", "dirty"):
            frame[name] = categories(frame[name])
    for key in _keys(records, config):
        frame[f"config.{key}"] = column(np.array([record["config"].get(key) for record in records.values()], object))
    return frame


def _status(path: Path, record: dict[str, Any]) -> tuple[str, str]:
    """The status, and why; that of a run whose end was not noted is asked anew each time."""
    if record["broken"]:
        return BROKEN, record["broken"]
    reason = record["exit_reason"]
    if reason is None:
        if heartbeat.is_alive(path):
            return RUNNING, ""
        return STOPPED, "it ended without a word" if record["started"] else "it never started"
    if reason == "finished":
        return FINISHED, ""
    kind, _, detail = reason.partition(": ")
    return (kind, detail) if kind in STATUSES else (STOPPED, reason)


def _keys(records: dict[str, dict[str, Any]], config: Sequence[str] | str) -> list[str]:
    """The keys of configs that become columns."""
    if config != VARIED:
        asked = [config] if isinstance(config, str) else list(config)
        known = {key for record in records.values() for key in record["config"]}
        if missing := next((key for key in asked if key not in known), None):
            raise ConfigError(f"no run has a config key {missing!r}; {nearest(missing, known or [VARIED])}")
        return asked
    seen: dict[tuple[str, str], set] = {}
    for record in records.values():
        for key, value in record["config"].items():
            seen.setdefault((record.get("study", ""), key), set()).add(repr(value))
    return list(dict.fromkeys(key for (_, key), values in seen.items() if len(values) > 1))


def _free(name: str, taken: dict[str, Any]) -> str:
    """A study's own column keeps its name unless it is one of those of runs."""
    return f"result_{name}" if name in taken else name
