"""Where a run's measurements go: the JSON-lines record first, and any number of views of it."""

import contextlib
import json
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from hyperlab import files
from hyperlab.errors import WorkdirError
from hyperlab.train.protocols import Writer

MetricWriter = Writer  # its name until it moved beside the other protocols
AGAIN = "start the run again in its folder, which writes it again"

log = logging.getLogger(__name__)


class NullWriter:
    """Writes nothing: what a process that is not the first one uses."""

    def scalars(self, step: int, values: Mapping[str, float], split: str = "train") -> None: ...
    def images(self, step: int, values: Mapping[str, np.ndarray], split: str = "train") -> None: ...
    def histograms(self, step: int, values: Mapping[str, np.ndarray], split: str = "train") -> None: ...
    def hparams(self, values: Mapping[str, Any], metrics: Sequence[str] = ()) -> None: ...
    def truncate_after(self, step: int) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class JsonLines(NullWriter):
    """One JSON object a line, `{"step", "split", "time", metric: value, ...}`: the primary record of scalars.

    What is not finite is written as null, which every JSON reader knows. The file is opened at the first
    row, so that a run that is refused leaves it alone. A checksum of it that `files.seal` noted is forgotten then.

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
        self.path = Path(path)
        self._file: TextIO | None = None

    def scalars(self, step: int, values: Mapping[str, float], split: str = "train") -> None:
        row = {"step": int(step), "split": split, "time": round(time.time(), 3)}
        row |= {name: _number(value) for name, value in values.items()}
        with self._named():
            if self._file is None:
                self._unseal()
                self._end_last_line()
                self._file = self.path.open("a")
            self._file.write(json.dumps(row, allow_nan=False) + "\n")

    def truncate_after(self, step: int) -> None:
        """Drops the rows of later steps, which a restart writes again, and a line that a kill cut off.

        Where other lines are damaged, the file is set aside with them, and the rows that can be read are kept.
        """
        self.close()
        self._unseal()
        lines = (files.read_bytes(self.path) or b"").splitlines(keepends=True)
        rows = [_parsed(line) for line in lines]
        kept = [line for line, row in zip(lines, rows, strict=True) if row is not None and row["step"] <= step]
        if None in rows[:-1]:
            number, aside = rows.index(None) + 1, files.set_aside(self.path).name
            log.warning("%s, line %s is damaged: set aside as %s", self.path, number, aside)
        if kept != lines:
            files.write_atomically(self.path, b"".join(kept))

    def flush(self) -> None:
        if self._file is not None:
            with self._named():
                self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            with self._named():
                file.close()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise WorkdirError(f"{self.path} cannot be written: {error.strerror or error}") from error

    def _unseal(self) -> None:
        files.unseal(self.path.parent, (self.path.name,))  # of a record that was finished once

    def _end_last_line(self) -> None:
        # A kill can leave half a line; the next row must not be glued to it.
        if (content := files.read_bytes(self.path)) and not content.endswith(b"\n"):
            files.write_atomically(self.path, content[: content.rfind(b"\n") + 1])


class MultiWriter:
    """Hands everything to several writers, in their order.

    A view that fails (a full disk, a lost network) is dropped with one warning and never ends a run; the
    first writer is the record, and its errors are raised. Without any nothing is written.
    """

    def __init__(self, writers: Sequence[Writer]):
        self._record, self._views = writers[:1], list(writers[1:])

    def scalars(self, step: int, values: Mapping[str, float], split: str = "train") -> None:
        self._all("scalars", step, values, split)

    def images(self, step: int, values: Mapping[str, np.ndarray], split: str = "train") -> None:
        self._all("images", step, values, split)

    def histograms(self, step: int, values: Mapping[str, np.ndarray], split: str = "train") -> None:
        self._all("histograms", step, values, split)

    def hparams(self, values: Mapping[str, Any], metrics: Sequence[str] = ()) -> None:
        self._all("hparams", values, metrics)

    def truncate_after(self, step: int) -> None:
        self._all("truncate_after", step)

    def flush(self) -> None:
        self._all("flush")

    def close(self) -> None:
        self._all("close")

    def _all(self, method: str, *arguments: Any) -> None:
        for record in self._record:
            getattr(record, method)(*arguments)
        for view in list(self._views):
            try:
                getattr(view, method)(*arguments)
            except Exception as error:
                self._views.remove(view)
                log.warning("%s gave up: %s", type(view).__name__, error)


def read_rows(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The rows of a JSON-lines record; null becomes NaN.

    The record of a finished study has a checksum beside it, and is read as it was written or not at all. Of another one
    the last line may be cut off, and is left out; a damaged line before it is left out with a warning.

    Raises:
      WorkdirError: the file is missing.
      DamagedError: it was changed since it was sealed.
    """
    path = Path(path)
    files.check_seal(path, AGAIN)
    content = files.read_bytes(path)
    if content is None:
        raise WorkdirError(f"{path} does not exist")
    lines = content.splitlines()
    parsed = [_parsed(line) for line in lines]
    for number in [number for number, row in enumerate(parsed[:-1]) if row is None]:
        shown = lines[number][:80].decode(errors="replace")
        log.warning("%s, line %s is damaged and left out: %r; %s", path, number + 1, shown, AGAIN)
    rows = [row for row in parsed if row is not None]
    return [{name: math.nan if value is None else value for name, value in row.items()} for row in rows]


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


def _number(value: Any) -> int | float | None:
    value = np.asarray(value).item()
    return value if isinstance(value, int) or math.isfinite(value) else None
