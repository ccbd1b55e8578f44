"""Errors that teach: what was given, what was expected, where, and the nearest valid name.

Every error that hyperlab raises on bad input derives from `HyperlabError`, so that a script can catch
them all and a traceback can be told from a bug. One class per kind of mistake.
"""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

AGAIN = "copy or download it again"


class HyperlabError(ValueError):
    """Base class of every error that names a mistake in what was given."""


class ConfigError(HyperlabError):
    """A config key is unknown, has the wrong type or a value outside its range."""


class PatternError(HyperlabError):
    """A path pattern selects nothing, or a parameter is covered by no rule."""


class GammaError(HyperlabError):
    """A conditioning input has the wrong size, the wrong names or a value outside its range."""


class ParameterTreeError(HyperlabError):
    """A parameter tree differs in paths, shapes or dtypes from the one that is expected."""


class MemoryGuardError(HyperlabError):
    """An operation would allocate more bytes than it is allowed to."""


class DataError(HyperlabError):
    """A data file is missing, truncated, of the wrong shape, or leaks between splits."""


class WorkdirError(HyperlabError):
    """A run folder holds another config, another data set, or cannot be written."""


class InUseError(WorkdirError):
    """Another process holds the folder."""


class DamagedError(WorkdirError):
    """A file of a run was cut off or changed since it was written."""


class CheckpointError(HyperlabError):
    """A checkpoint cannot be restored onto the state that was asked for."""


class MeshError(HyperlabError):
    """A batch or an array does not divide by the devices that should hold it."""


class DistributedError(HyperlabError):
    """The processes of a run cannot find each other."""


class NonFiniteError(HyperlabError):
    """A loss or a parameter became NaN or infinite."""


class MissingExtraError(ImportError):
    """An optional dependency is not installed."""


def nearest(name: str, names: Iterable[str], count: int = 3) -> str:
    """A phrase that lists the valid names closest to `name`.

    Args:
      name: what was given.
      names: the valid names.
      count: how many to list at most.

    Returns:
      For instance `"did you mean 'encoder/conv_0/kernel'?"`, or a list of all names when there are few.

    >>> nearest("cos_sine", ["raw", "cos_sin", "fourier"])
    "did you mean 'cos_sin'?"
    >>> nearest("x", ["raw", "cos_sin"])
    "valid: 'cos_sin', 'raw'"
    """
    names = sorted(set(names))
    close = difflib.get_close_matches(name, names, n=count, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    shown = ", ".join(repr(n) for n in names[:8])
    return f"valid: {shown}" + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def require(module: str, extra: str, feature: str) -> Any:
    """Imports an optional dependency, or says what is missing, for what, and how to get it.

    Args:
      module: the module's name, for instance `"torch"`.
      extra: the extra of hyperlab that brings it, for instance `"bench"`.
      feature: what needs it, in words that end a sentence.

    Returns:
      The imported module.

    Raises:
      MissingExtraError: the module is not installed.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{module!r} is needed for {feature} and is not installed; run: pip install 'hyperlab[{extra}]'"
        ) from error


@contextmanager
def reading(path: Any, fix: str = AGAIN, error: type[HyperlabError] = DataError) -> Iterator[None]:
    """What a library raises over a damaged file becomes one error that names the file.

    Decoders pass on what their C code, zlib and NumPy raise, and a header that lies can ask for any amount of memory:
    there is no shorter list than all of it. hyperlab's own errors pass unchanged.

    Args:
      path: of the file, or another name for it.
      fix: what to do, the end of the message.
      error: the class to raise.

    Raises:
      HyperlabError: of that class; anything went wrong inside.

    >>> with reading("a.png"):
    ...     raise EOFError("no more bytes")
    Traceback (most recent call last):
    hyperlab.errors.DataError: a.png is truncated or damaged (EOFError: no more bytes); copy or download it again
    """
    try:
        yield
    except (HyperlabError, MissingExtraError):
        raise
    except Exception as cause:
        reason = " ".join(str(cause).split())[:200]
        shown = f"{type(cause).__name__}: {reason}" if reason else type(cause).__name__
        raise error(f"{path} is truncated or damaged ({shown}); {fix}") from cause
