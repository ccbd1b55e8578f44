"""Units of work, kept in files: whatever ends a process, no finished unit is done again.

A unit is some runs of one arm: what was measured on them is one `.npz` file, written atomically. Another start in the
same run folder reads it in place of the work, if it is whole and was made of what decides it now (`train.basis`);
otherwise the work is done again. What it was made of and a checksum are in the file.
"""

import contextlib
import functools
import io
import json
import logging
import os
import re
import threading
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from hyperlab import files
from hyperlab.errors import DamagedError, WorkdirError
from hyperlab.train.basis import Basis
from hyperlab.train.protocols import Folder, Stop

Measurements = dict[str, np.ndarray]
Item = TypeVar("Item")
Result = TypeVar("Result")
RECORD = "__unit__"  # the key of what is known of a unit beside what was measured

log = logging.getLogger(__name__)


class UnitFiles:
    """The folder of a study's units.

    Attributes:
      writes: whether units are written; of processes that compute the same ones, one does.

    Args:
      folder: made if it is not there.
      basis: what decides the units now; None takes every whole unit for what its name says.

    >>> import tempfile
    >>> units = UnitFiles(Path(tempfile.mkdtemp()) / "units")
    >>> units.measure("mip/report", lambda: {"accuracy": np.ones(2)})["accuracy"]
    array([1., 1.])
    >>> units.measure("mip/report", lambda: 1 / 0)["accuracy"]
    array([1., 1.])
    """

    def __init__(self, folder: str | os.PathLike, basis: Basis | None = None):
        self.folder, self.basis, self.writes = Path(folder), basis, True
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkdirError(f"{self.folder} cannot be made: {error.strerror}") from error

    def path(self, name: str) -> Path:
        """The file of a unit, from its name."""
        return self.folder / (re.sub("[^A-Za-z0-9_.+-]", "--", name) + ".npz")

    def read(
        self, name: str, further: Mapping[str, Any] | None = None, beside: Sequence[str] = ()
    ) -> Measurements | None:
        """What was measured; None where the unit is not finished, damaged, or made of something else.

        A damaged file is set aside, under a name that is logged.

        Args:
          name: of the unit.
          further: what it depends on beside the config; None asks nothing of it.
          beside: files of the run folder that were written with it, without which it is not finished.

        Raises:
          WorkdirError: the file is there and cannot be read.
        """
        try:
            record, result = self._load(name)
        except DamagedError as error:
            log.warning("%s: set aside as %s and computed again", error, files.set_aside(self.path(name)).name)
            return None
        if result is None or (record and record.get("name") != name) or not self._whole(beside, record):
            return None
        return None if self.basis and self.basis.differences(record, further) else result

    def finished(self, name: str) -> tuple[dict[str, Any] | None, Measurements]:
        """What a unit was made of, None of an older version, and what was measured; for reports, which make nothing.

        Raises:
          WorkdirError: it is missing, or cannot be read.
          DamagedError: it is damaged.
        """
        try:
            record, result = self._load(name)
        except DamagedError as error:
            raise DamagedError(f"{error}; run the study again in its folder, which computes it again") from error
        if result is None:
            raise WorkdirError(f"{self.path(name)} is missing; run the study to its end first")
        return record, result

    def measure(
        self,
        name: str,
        compute: Callable[[], Measurements | None],
        *,
        further: Mapping[str, Any] | None = None,
        beside: Sequence[str] = (),
    ) -> Measurements | None:
        """Reads a unit, or computes it and keeps it.

        Args:
          name: of the unit; slashes are welcome.
          compute: does the work; None means that a stop was requested, and nothing is kept.
          further: what the unit depends on beside the config, as JSON: what was chosen for it, and is not in its name.
          beside: files, from the run folder, that `compute` writes.

        Raises:
          WorkdirError: the file cannot be read or written.
        """
        known = self.read(name, further, beside)
        if known is not None:
            return known
        result = compute()
        if result is None:
            return None
        result = {key: np.asarray(value) for key, value in result.items()}
        if self.writes:
            self.write(name, result, further=further, beside=beside)
        return result

    def write(
        self,
        name: str,
        result: Measurements,
        *,
        further: Mapping[str, Any] | None = None,
        beside: Sequence[str] = (),
    ) -> None:
        """Keeps what was measured, in place of what there was of this name; see `measure`."""
        record: dict[str, Any] = {"name": name, "checksum": _checksum(result), "beside": {}}
        record |= self.basis.record(further) if self.basis else {}
        for written in beside:
            content = files.read_bytes(self.folder.parent / written)
            record["beside"][written] = None if content is None else files.checksum(content)
        packed = io.BytesIO()
        arrays: dict[str, Any] = {RECORD: np.array(json.dumps(record)), **result}
        np.savez_compressed(packed, **arrays)
        files.write_atomically(self.path(name), packed.getvalue())

    def stamp(self, further: Mapping[str, Any] | None = None) -> str:
        """Digits that tell work on one unit from work on another of its name, for what is kept while it goes on."""
        return files.checksum(json.dumps(self.basis.record(further)).encode())[:8] if self.basis else ""

    def survey(self) -> str:
        """How many units are of use, in a sentence; empty where all of them are."""
        reasons: dict[str, None] = {}
        total = other = damaged = 0
        for path in sorted(self.folder.glob("*.npz")):
            total += 1
            try:
                with path.open("rb") as opened, np.load(opened) as saved:
                    record = json.loads(str(saved[RECORD])) if RECORD in saved else None
                differing = self.basis.differences(record) if self.basis else []
            except Exception:  # whatever a damaged file leads to; it is named when it is read
                damaged += 1
                continue
            other += bool(differing)
            reasons |= dict.fromkeys(differing)
        if not (other or damaged):
            return ""
        parts = [f"kept {total - other - damaged} of {total} units"]
        if other:
            shown = [*reasons][:6] + ([f"{len(reasons) - 6} more"] if len(reasons) > 6 else [])
            one = other == 1
            parts.append(
                f"{other} {'was' if one else 'were'} made with other settings ({', '.join(shown)}) and "
                f"{'is' if one else 'are'} computed again"
            )
        return "; ".join(parts + ([f"{damaged} damaged"] if damaged else []))

    def _load(self, name: str) -> tuple[dict[str, Any] | None, Measurements | None]:
        """What a unit was made of, and what was measured; both None where there is no file."""
        path = self.path(name)
        content = files.read_bytes(path)
        if content is None:
            return None, None
        try:
            with np.load(io.BytesIO(content)) as saved:
                result = dict(saved)
            record = json.loads(str(result.pop(RECORD))) if RECORD in result else None
            if record is not None and record["checksum"] != _checksum(result):
                raise ValueError("its checksum differs")
        except Exception as error:  # whatever a damaged file leads to: errors of zipfile, zlib, numpy
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:100]
            raise DamagedError(f"{path} is damaged ({reason})") from error
        return record, result

    def _whole(self, beside: Sequence[str], record: Mapping[str, Any] | None) -> bool:
        """Whether the files that belong to a unit are there, as they were written; a damaged one is set aside."""
        for name in beside:
            path = self.folder.parent / name
            content = files.read_bytes(path)
            if content is None or (record is not None and name not in record["beside"]):
                return False  # what is there was not written with this unit
            if not (_is_archive(content) if record is None else files.checksum(content) == record["beside"][name]):
                log.warning("%s is damaged: set aside as %s and made again", path, files.set_aside(path).name)
                return False
        return True


def _checksum(result: Mapping[str, np.ndarray]) -> str:
    parts = []
    for key in sorted(result):
        array = np.asarray(result[key])
        parts += [f"{key}:{array.dtype.str}:{array.shape};".encode(), np.ascontiguousarray(array).tobytes()]
    return files.checksum(b"".join(parts))


def _is_archive(content: bytes) -> bool:
    """Whether all members of an `.npz` of an older version, which has no other checksum, are whole."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.testzip() is None
    except Exception:  # as above
        return False


def memoize_method(method: Callable) -> Callable:
    """A method whose results are kept by their arguments, with the object and no longer than it.

    Threads that ask for the same at once wait for one of them to compute it; what raised is tried again.
    `functools.cache` would keep every study of a process, with its compiled programs: a process of many studies (a
    sweep, a test suite) runs out of memory mappings, and ends.

    >>> class Squares:
    ...     @memoize_method
    ...     def of(self, n):
    ...         print("made")
    ...         return n * n
    >>> squares = Squares()
    >>> squares.of(3), squares.of(3)
    made
    (9, 9)
    """
    name, lock = f"_memoized_{method.__qualname__}", threading.Lock()

    @functools.wraps(method)
    def call(self, *args):
        with lock:
            own, results = self.__dict__.setdefault(name, {}).setdefault(args, (threading.RLock(), []))
        with own:
            if not results:
                results.append(method(self, *args))
        return results[0]

    return call


kept = memoize_method  # its name of before


def in_parallel(
    measure: Callable[[Item], Result], items: Iterable[Item], *, workers: int = 0, stop: Stop
) -> list[Result]:
    """Applies `measure` to every item, several at a time: one compiles or waits while another computes.

    Args:
      measure: a function of one item.
      items: in the order of the results.
      workers: how many at a time; 0 is one for each of at most four cores on a CPU, otherwise 1.
      stop: asked to stop the others when one fails.

    Raises:
      Exception: whatever `measure` raised first.
    """
    cores = len(os.sched_getaffinity(0)) if jax.default_backend() == "cpu" else 1
    with ThreadPoolExecutor(workers or min(4, cores)) as pool:
        futures = [pool.submit(measure, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            stop.request("an arm failed")
            pool.shutdown(cancel_futures=True)
            raise


class Counter:
    """The progress that one of several runs in work shows to the loop: it adds its steps to those of the study.

    Args:
      folder: the run folder, which notes when the first step was done.
      advance: told how many steps were done since it was last told.

    Attributes:
      begun: steps that an earlier start had done.
      done: steps that were done in all.
    """

    def __init__(self, folder: Folder, advance: Callable[[int], None]):
        self._folder, self._advance = folder, advance
        self.begun = self.done = 0

    def resume(self, done: int) -> None:
        """Steps that an earlier start has done."""
        self._advance(done)
        self.begun = self.done = done

    def update(self, done: int, **shown: float) -> None:
        """Steps that this run has done."""
        self._folder.mark("first_step")
        self._advance(done - self.done)
        self.done = done

    def pause(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Nothing is paused: other runs go on."""
        return contextlib.nullcontext()
