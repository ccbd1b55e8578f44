"""The rows of a sweep: their names, their configs, and what is on disk of each."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections

from hyperlab import launch
from hyperlab.errors import ConfigError
from hyperlab.sweep.algebra import Overrides
from hyperlab.train import heartbeat

LONGEST = 120  # characters of a folder's name; file systems take 255 bytes, and files inside have paths too
DIGEST = 8


class Row(NamedTuple):
    """One run of a sweep.

    Attributes:
      index: its place in the table, from 0: what `--only` takes.
      name: its folder inside the sweep's.
      overrides: what is special about it, by dotted key.
      config: the whole of it, resolved.
    """

    index: int  # type: ignore[assignment] # hides the method of tuples
    name: str
    overrides: Overrides
    config: ml_collections.ConfigDict

    def state(self, workdir: Path, stale_after: float = heartbeat.STALE_AFTER) -> heartbeat.State:
        """What is on disk of it; see `train.heartbeat.State`."""
        return heartbeat.state(Path(workdir) / self.name, self.config, stale_after=stale_after)


def name_of(overrides: Overrides) -> str:
    """The folder of a row, from what is special about it; a long name ends in a digest of the whole.

    >>> name_of({"gamma.dim": 4, "primary.widths": (64, 64)}), name_of({})
    ('gamma.dim=4,primary.widths=64x64', 'default')
    >>> name_of({"data.root": "/a/long/path" * 20})[-20:]
    'g_path_a_lo-d460921b'
    """

    def text(value: Any) -> str:
        shown = "x".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
        return "".join(c if c.isascii() and c.isalnum() or c in "._+-" else "_" for c in shown)

    name = ",".join(f"{key}={text(value)}" for key, value in overrides.items()) or "default"
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(repr(overrides).encode()).hexdigest()[:DIGEST]
    return f"{name[: LONGEST - DIGEST - 1]}-{digest}"


def apply(config: ml_collections.ConfigDict, overrides: Overrides) -> ml_collections.ConfigDict:
    """A copy of a config with a row's values; an unknown key is an error, as on the command line."""
    config = ml_collections.ConfigDict(config).copy_and_resolve_references()
    for key, value in overrides.items():
        launch.override(config, key, value if isinstance(value, str) else repr(value))
    return config


def table(config: ml_collections.ConfigDict, rows: Iterable[Overrides]) -> list[Row]:
    """The rows of a sweep over a config, all checked before the first one runs.

    Raises:
      ConfigError: an unknown key or a value of the wrong type, no rows, or two rows that would share a folder.
    """
    found: dict[str, Row] = {}
    for index, overrides in enumerate(rows):
        name = name_of(overrides)
        if name in found:
            raise ConfigError(
                f"rows {found[name].index} and {index} of the sweep would share the folder {name!r}: "
                f"{found[name].overrides} and {overrides}; give each row once (chain leaves out equal rows)"
            )
        found[name] = Row(index, name, dict(overrides), apply(config, overrides))
    if not found:
        raise ConfigError("the sweep has no rows: sweep() yielded nothing")
    return list(found.values())


def shown(rows: Iterable[Row], workdir: Path | None, stale_after: float = heartbeat.STALE_AFTER) -> str:
    """The table as text, one line a row: index, state, name, overrides, and why where a row failed.

    Args:
      rows: from `table`.
      workdir: the folder of the sweep; None is a sweep that is nowhere yet, all of whose rows are new.
      stale_after: see `train.heartbeat.is_alive`.
    """
    rows = list(rows)
    states = [heartbeat.State("new") if workdir is None else row.state(workdir, stale_after) for row in rows]
    width = min(max(len(row.name) for row in rows), 60)
    lines = [f"{'row':>4}  {'state':<8} {'name':<{width}}  overrides"]
    for row, state in zip(rows, states, strict=True):
        overrides = ", ".join(f"{key}={value!r}" for key, value in row.overrides.items()) or "-"
        detail = f"  # {state.detail}" if state.detail else ""
        lines.append(f"{row.index:4d}  {state.name:<8} {row.name:<{width}}  {overrides}{detail}")
    return "\n".join(lines)
