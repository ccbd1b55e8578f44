"""Run folders as frames: what is new is read, what is known comes from the cache."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hyperlab.errors import ConfigError, DataError, nearest
from hyperlab.results import cache as caches
from hyperlab.results import columns as tables
from hyperlab.results import folders
from hyperlab.results.columns import Columns
from hyperlab.train import heartbeat

PROVENANCE = (
    "run", "study", "name", "status", "error", "started", "seconds", "digest", "fingerprint", "git", "dirty", "version",
    "jax", "device",
)  # fmt: skip
FINISHED, RUNNING, STOPPED, FAILED, BROKEN = STATUSES = ("finished", "running", "stopped", "failed", "broken")
VARIED = "varied"
FIRST, LAST = ("place", "arm", "seed", "split", "task"), ("metric", "value", "n")  # of a study's columns
NAMED = ("place", "arm", "seed", "metric", "value")  # are there without any results too


def results(root: str | os.PathLike, *, config: Sequence[str] | str = (), cache: bool = True) -> pd.DataFrame:
    """See `hyperlab.results.results`."""
    return both(root, config=config, cache=cache)[1]


def runs(root: str | os.PathLike, *, config: Sequence[str] | str = (), cache: bool = True) -> pd.DataFrame:
    """See `hyperlab.results.runs`."""
    return both(root, config=config, cache=cache)[0]


def both(
    root: str | os.PathLike, *, config: Sequence[str] | str = (), cache: bool = True
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The frames of `runs` and of `results`, from one reading."""
    root, records, columns = _load(root, cache)
    table = _provenance(root, records, config)
    counts = np.bincount(columns["place"].astype(np.int64), minlength=len(records))
    place = columns.pop("place").astype(np.int64)
    without = np.setdiff1d(np.arange(len(records)), place)
    if len(without):
        columns = tables.join([columns, {}], [len(place), len(without)])
        place = np.concatenate([place, without])
        order = np.argsort(place, kind="stable")
        place, columns = place[order], tables.take(columns, order)
    parts = {name: table[name].array.take(place) for name in table.columns}
    parts |= {_free(name, parts): tables.series(column) for name, column in columns.items()}
    table.insert(table.columns.get_loc("seconds") + 1, "rows", counts)
    return table, pd.DataFrame(parts, copy=False)  # the arrays are of nobody else


def _load(root: str | os.PathLike, cache: bool) -> tuple[Path, dict[str, dict[str, Any]], Columns]:
    """The records by run, and the columns of all results with `place`, the run that each row is of."""
    root = Path(root).expanduser().absolute()
    if not root.is_dir():
        raise DataError(f"{root} is no folder; expected one with run folders below it")
    try:
        os.listdir(root)
    except OSError as error:
        raise DataError(f"{root} cannot be read: {error.strerror}") from error
    found = folders.find(root)
    known, columns = (caches.read(root) if cache else None) or ({}, {name: np.zeros(0) for name in NAMED})
    fresh = {run for run, folder in found.items() if run in known and known[run]["marks"] == folder.marks}
    if fresh == known.keys() == found.keys():
        return root, known, columns
    records, pieces, lengths = {}, [], []
    for place, (run, folder) in enumerate(found.items()):
        if run in fresh:
            records[run] = known[run]
            continue
        record, table = folders.read(folder.path)
        records[run] = record | {"marks": folder.marks}
        if table is not None and len(table):
            pieces.append(tables.of_frame(table) | {"place": np.full(len(table), float(place))})
            lengths.append(len(table))
    # rows that are known, of runs that did not change, under the numbers that the runs have now
    places = {run: place for place, run in enumerate(found)}
    numbers = np.array([places[run] if run in fresh else -1 for run in known] + [-1], float)
    now = numbers[columns["place"].astype(np.int64)]
    kept = tables.take(columns | {"place": now}, now >= 0)
    columns = tables.join([kept, *pieces], [len(kept["place"]), *lengths])
    columns = tables.take(columns, np.argsort(columns["place"], kind="stable"))
    columns = tables.canonical(columns, FIRST, LAST, NAMED)
    if cache and "." not in found:  # nothing is left in a run's own folder
        caches.write(root, records, columns)
    return root, records, columns


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
            frame[name] = tables.series(tables.of_values(frame[name]))
    for key in _keys(records, config):
        values = pd.Series([record["config"].get(key) for record in records.values()], dtype=object).infer_objects()
        frame[f"config.{key}"] = tables.series(tables.of_frame(values.to_frame())["0"])
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
