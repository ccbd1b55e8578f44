"""Units of work, kept in files: whatever ends a process, no finished unit is done again.

A unit is some runs of one arm: what was measured on them is one `.npz` file, written atomically. Another start in the
same run folder reads it in place of the work.
"""

import contextlib
import functools
import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

Measurements = dict[str, np.ndarray]


class UnitFiles:
    """The folder of a study's units.

    Args:
      folder: made if it is not there.

    >>> import tempfile
    >>> units = UnitFiles(Path(tempfile.mkdtemp()) / "units")
    >>> units.measure("mip/report", lambda: {"accuracy": np.ones(2)})["accuracy"]
    array([1., 1.])
    >>> units.measure("mip/report", lambda: 1 / 0)["accuracy"]
    array([1., 1.])
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """The file of a unit, from its name."""
        return self.folder / (re.sub("[^A-Za-z0-9_.+-]", "--", name) + ".npz")

    def read(self, name: str) -> Measurements | None:
        """What was measured; None where the unit is not finished."""
        path = self.path(name)
        if not path.exists():
            return None
        with np.load(path) as saved:
            return dict(saved)

    def measure(self, name: str, compute: Callable[[], Measurements | None]) -> Measurements | None:
        """Reads a unit, or computes it and keeps it.

        Args:
          name: of the unit; slashes are welcome.
          compute: does the work; None means that a stop was requested, and nothing is kept.
        """
        known = self.read(name)
        if known is not None:
            return known
        result = compute()
        if result is None:
            return None
        result = {key: np.asarray(value) for key, value in result.items()}
        path = self.path(name)
        partial = path.with_suffix(".part")
        with partial.open("wb") as file:
            np.savez_compressed(file, **result)
        partial.replace(path)
        return result


def kept(method: Callable) -> Callable:
    """A method whose results are kept by their arguments, with the object and no longer than it.

    `functools.cache` would keep every study of a process, with its compiled programs: a process of many studies (a
    sweep, a test suite) runs out of memory mappings, and ends.

    >>> class Squares:
    ...     @kept
    ...     def of(self, n):
    ...         print("made")
    ...         return n * n
    >>> squares = Squares()
    >>> squares.of(3), squares.of(3)
    made
    (9, 9)
    """
    name = f"_kept_{method.__name__}"

    @functools.wraps(method)
    def call(self, *args):
        results = self.__dict__.setdefault(name, {})
        if args not in results:
            results[args] = method(self, *args)
        return results[args]

    return call


def in_parallel(measure: Callable[[Any], Any], items: Iterable[Any], *, workers: int = 0, stop: Any) -> list[Any]:
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
    """

    def __init__(self, folder: Any, advance: Callable[[int], None]):
        self._folder, self._advance, self._seen = folder, advance, 0

    def update(self, done: int, **shown: float) -> None:
        """Steps that this run has done."""
        self._folder.mark("first_step")
        self._advance(done - self._seen)
        self._seen = done

    def pause(self, name: str) -> contextlib.AbstractContextManager:
        """Nothing is paused: other runs go on."""
        return contextlib.nullcontext()
