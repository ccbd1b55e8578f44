"""What a file's library raises becomes one error that names the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hyperlab.errors import DataError, HyperlabError, MissingExtraError

AGAIN = "copy or download it again"


@contextmanager
def reading(path: Any, fix: str = AGAIN) -> Iterator[None]:
    """Turns whatever a library raises over a damaged file into a `DataError`.

    Decoders pass on what their C code, zlib and NumPy raise, and a header that lies can ask for any amount of memory:
    there is no shorter list than all of it. hyperlab's own errors pass unchanged.

    Args:
      path: of the file, or another name for it.
      fix: what to do, the end of the message.

    Raises:
      DataError: anything went wrong inside.

    >>> with reading("a.png"):
    ...     raise EOFError("no more bytes")
    Traceback (most recent call last):
    hyperlab.errors.DataError: a.png is truncated or damaged (EOFError: no more bytes); copy or download it again
    """
    try:
        yield
    except (HyperlabError, MissingExtraError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        shown = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
        raise DataError(f"{path} is truncated or damaged ({shown}); {fix}") from error
