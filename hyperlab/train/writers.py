"""Where a run's measurements go: the JSON-lines record first, and any number of views of it."""

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hyperlab.errors import WorkdirError


class MetricWriter(Protocol):
    """What a loop or a study may ask of a writer; a view may ignore what it cannot show."""

    def scalars(self, step: int, values: Mapping[str, float], split: str = "train") -> None: ...
    def images(self, step: int, values: Mapping[str, np.ndarray], split: str = "train") -> None: ...
    def histograms(self, step: int, values: Mapping[str, np.ndarray], split: str = "train") -> None: ...
    def hparams(self, values: Mapping[str, Any], metrics: Sequence[str] = ()) -> None: ...
    def truncate_after(self, step: int) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class NullWriter:
    """Writes nothing: what a process that is not the first one uses."""

    def scalars(self, step, values, split="train"): ...
    def images(self, step, values, split="train"): ...
    def histograms(self, step, values, split="train"): ...
    def hparams(self, values, metrics=()): ...
    def truncate_after(self, step): ...
    def flush(self): ...
    def close(self): ...


class JsonLines(NullWriter):
    """One JSON object a line, `{"step", "split", "time", metric: value, ...}`: the primary record of scalars.

    What is not finite is written as null, which every JSON reader knows. The file is opened at the first
    row, so that a run that is refused leaves it alone.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "metrics.jsonl"
    >>> writer = JsonLines(path)
    >>> for step in range(3):
    ...     writer.scalars(step, {"loss": 1.0 / (step + 1)})
    >>> writer.truncate_after(1)
    >>> writer.close()
    >>> [row["step"] for row in read_rows(path)]
    [0, 1]
    """

    def __init__(self, path: str | os.PathLike):
        self.path, self._file = Path(path), None

    def scalars(self, step: int, values: Mapping[str, float], split: str = "train") -> None:
        row = {"step": int(step), "split": split, "time": round(time.time(), 3)}
        row |= {name: _number(value) for name, value in values.items()}
        if self._file is None:
            self._end_last_line()
            self._file = self.path.open("a")
        self._file.write(json.dumps(row, allow_nan=False) + "\n")

    def truncate_after(self, step: int) -> None:
        """Drops the rows of later steps, which a restart writes again, and a line that a kill cut off."""
        self.close()
        if not self.path.exists():
            return
        lines = self.path.read_text().splitlines(keepends=True)
        kept = [line for line in lines if (row := _parsed(line)) is not None and row["step"] <= step]
        if kept != lines:
            partial = self.path.with_suffix(".part")
            partial.write_text("".join(kept))
            partial.replace(self.path)

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _end_last_line(self) -> None:
        # A kill can leave half a line; the next row must not be glued to it.
        if self.path.exists() and (content := self.path.read_bytes()) and not content.endswith(b"\n"):
            self.path.write_bytes(content[: content.rfind(b"\n") + 1])


class MultiWriter:
    """Hands everything to several writers, in their order.

    A view that fails (a full disk, a lost network) is dropped with one warning and never ends a run; the
    first writer is the record, and its errors are raised.
    """

    def __init__(self, writers: Sequence[MetricWriter]):
        self._record, *self._views = writers

    def scalars(self, step, values, split="train"):
        self._all("scalars", step, values, split)

    def images(self, step, values, split="train"):
        self._all("images", step, values, split)

    def histograms(self, step, values, split="train"):
        self._all("histograms", step, values, split)

    def hparams(self, values, metrics=()):
        self._all("hparams", values, metrics)

    def truncate_after(self, step):
        self._all("truncate_after", step)

    def flush(self):
        self._all("flush")

    def close(self):
        self._all("close")

    def _all(self, method: str, *arguments) -> None:
        getattr(self._record, method)(*arguments)
        for view in list(self._views):
            try:
                getattr(view, method)(*arguments)
            except Exception as error:
                self._views.remove(view)
                import logging

                logging.getLogger(__name__).warning("%s gave up: %s", type(view).__name__, error)


def read_rows(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The rows of a JSON-lines record; null becomes NaN, and a last line that was cut off is left out.

    Raises:
      WorkdirError: the file is missing, or a line before the last is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise WorkdirError(f"{path} does not exist")
    lines = path.read_text().splitlines()
    rows = [_parsed(line) for line in lines]
    for number, row in enumerate(rows[:-1], 1):
        if row is None:
            raise WorkdirError(f"{path}, line {number} is damaged: {lines[number - 1][:80]!r}")
    rows = [row for row in rows if row is not None]
    return [{name: math.nan if value is None else value for name, value in row.items()} for row in rows]


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None


def _number(value: Any) -> int | float | None:
    value = np.asarray(value).item()
    return value if isinstance(value, int) or math.isfinite(value) else None
