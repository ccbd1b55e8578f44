"""Run folders below a root, and what one of them says: where it comes from, what became of it, its results.

Nothing here raises on what a folder holds: what cannot be read becomes the reason why the run is `broken`.
"""

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from hyperlab.errors import DamagedError, DataError, HyperlabError, WorkdirError
from hyperlab.files import CHECKSUM, check_seal, read_object
from hyperlab.train import config as configs
from hyperlab.train.run_folder import CONFIG, RUN

TABLE = "results.csv"
AGAIN = "start the run again in its folder"
# Large folders of a run, in which no other run lies.
OWN = {"checkpoints", "figures", "generated", "network", "networks", "profile", "tasks", "units"}
# Columns that are measures, of studies whose table has no column `metric`.
MEASURES = ("dice", "ged", "ged_usual", "best", "mean", "diversity", "coverage", "frequency_error", "hungarian")


def find(root: Path) -> dict[str, Path]:
    """Every run folder below a root, or the root itself, by its path from there (`.` for the root), in order.

    >>> find(Path("no/such/folder"))
    {}
    """
    found: dict[str, Path] = {}

    def closed(error: OSError) -> None:
        if isinstance(error, FileNotFoundError):
            return
        path = Path(error.filename)
        found[str(path.relative_to(root))] = path  # it may hold a run: what cannot be seen is said

    for place, folders, names in os.walk(root, onerror=closed):
        path, is_run = Path(place), RUN in names or (CONFIG in names and _names_a_study(Path(place) / CONFIG))
        if is_run:
            found[str(path.relative_to(root))] = path
        folders[:] = [name for name in folders if name[0] != "." and not (is_run and name in OWN)]
    return dict(sorted(found.items()))


def read(path: Path) -> tuple[dict[str, Any], pd.DataFrame | None]:
    """What a run folder says.

    Args:
      path: the folder.

    Returns:
      A record that JSON can hold (`exit_reason` is None where no end was noted, `broken` is empty or the reason,
      `config` holds the leaves by dotted key), and the table of results as `tidy` leaves it, None without one.
    """
    record: dict[str, Any] = {"broken": "", "config": {}, "exit_reason": None, "started": None}
    try:
        config = _json(path / CONFIG)
        record["config"] = {key: _leaf(value) for key, value in configs.flat(config).items()}
        record["study"] = str(config["study"])
        if (path / RUN).exists():
            noted = _json(path / RUN)
            if noted.get("config", config) != config:
                raise DataError(f"{CONFIG} is another than {RUN} says; {AGAIN}")
            record |= _provenance(noted)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, HyperlabError) as error:
        record["broken"] = _reason(error)
        return record, None
    try:
        check_seal(path / TABLE, f"hyperlab report {path.name} writes it again")
        table = tidy(pd.read_csv(path / TABLE, low_memory=False))
    except FileNotFoundError:
        if record["exit_reason"] == "finished":
            record["broken"] = f"it finished, but {TABLE} is missing"
        return record, None
    except (OSError, ValueError, WorkdirError) as error:  # pandas' own errors of parsing are ValueErrors
        record["broken"] = f"{TABLE}: {_reason(error)}"
        return record, None
    return record, table


def tidy(table: pd.DataFrame) -> pd.DataFrame:
    """A table of results with `metric` and `value`: as it is, or with its measures one below the other.

    Raises:
      DataError: it has neither `metric` and `value` nor a measure that is known, or values that are no numbers.

    >>> tidy(pd.DataFrame({"arm": ["tyche"], "seed": [100], "ged": [0.3], "best": [0.7]})).values.tolist()
    [['tyche', 100, 'ged', 0.3], ['tyche', 100, 'best', 0.7]]
    """
    if {"metric", "value"} <= set(table.columns):
        if not pd.api.types.is_numeric_dtype(table["value"]):
            raise DataError("the column value holds text, expected numbers")
        return table
    measures = [name for name in MEASURES if name in table.columns]
    if not measures:
        raise DataError(f"columns {', '.join(table.columns[:8])}; expected metric and value, or one of {MEASURES}")
    others = [name for name in table.columns if name not in measures]
    return table.melt(others, measures, "metric", "value")


def _names_a_study(path: Path) -> bool:
    """Other programs call their files config.json too."""
    try:
        return "study" in _json(path)
    except (OSError, ValueError, HyperlabError):
        return False


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path.name} is no JSON: {error}") from error
    if isinstance(content, dict) and CHECKSUM in content:
        try:
            content = read_object(path, AGAIN)
        except DamagedError as error:
            raise DataError(str(error).replace(str(path), path.name)) from error
    if not isinstance(content, dict):
        raise DataError(f"{path.name} holds a {type(content).__name__}, expected an object")
    return content


def _provenance(record: dict[str, Any]) -> dict[str, Any]:
    starts = record["starts"]
    last, devices = starts[-1], starts[-1].get("devices") or {}
    git, count = last.get("git") or {}, devices.get("count", 1)
    ended = [start for start in starts if "ended" in start]
    return {
        "digest": last.get("config_digest"),
        "fingerprint": ", ".join(f"{name}={value}" for name, value in sorted((record.get("data") or {}).items()))
        or None,
        "git": (git.get("commit") or "")[:10] or None,
        "dirty": git.get("dirty"),
        "version": last.get("hyperlab"),
        "jax": (last.get("packages") or {}).get("jax"),
        "device": f"{devices.get('kind')}{f' x {count}' if count > 1 else ''}" if devices else None,
        "started": starts[0].get("started"),
        "seconds": sum((_time(s["ended"]) - _time(s["started"])).total_seconds() for s in ended) if ended else None,
        "exit_reason": last.get("exit_reason"),
    }


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _leaf(value: Any) -> Any:
    """A leaf of a config as a cell: lists as the tuples that a command line takes."""
    return repr(tuple(value)) if isinstance(value, list) else value if not isinstance(value, dict) else repr(value)


def _reason(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{Path(error.filename).name} is missing"
    shown = str(error) if isinstance(error, HyperlabError) else f"{type(error).__name__}: {error}"
    return (shown.splitlines() or [type(error).__name__])[0][:300]
