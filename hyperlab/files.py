"""Files that are there whole or not at all, that show when they were damaged, and that are set aside then.

Everything that the library writes goes through `writing`: the content is written under another name, handed to the
disk, and put in its place in one move. So neither a kill nor a full disk leaves half a file, and one that cannot be
written is named.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from hyperlab.errors import DamagedError, InUseError, WorkdirError

PART = ".part-"  # what the name of a file begins with that is being written
CHECKSUM = "checksum"  # the key of a sealed JSON file
SEALS = "checksums.json"
LOCK = ".lock"


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A name to write a file under, which takes the place of `path` when the block ends without an error.

    Args:
      path: of the file; folders above it are made.

    Yields:
      A path in the same folder, with the same suffix.

    Raises:
      WorkdirError: the file cannot be written; whatever was at `path` is there as before.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "table.csv"
    >>> with writing(path) as partial:
    ...     _ = partial.write_text("arm,value")
    >>> path.read_text(), len(list(path.parent.iterdir()))
    ('arm,value', 1)
    """
    path = Path(path)
    partial = path.with_name(f"{PART}{os.getpid()}-{threading.get_ident()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        to_disk(partial)
        partial.replace(path)
        to_disk(path.parent)  # the move itself
    except OSError as error:
        raise WorkdirError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_atomically(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Writes a file so that a kill leaves the old or the new one, never half of one.

    Raises:
      WorkdirError: it cannot be written.
    """
    with writing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def to_disk(path: Path) -> None:
    """Returns when the disk has a file's content, or a folder's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def clear_partial(folder: Path) -> None:
    """Removes what kills left half written in a folder that nobody else writes to."""
    for pattern in (f"{PART}*", ".*.part"):  # the second one is that of older versions
        for left in folder.glob(pattern):
            with contextlib.suppress(OSError):
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def locked(folder: Path) -> TextIO:
    """Holds a folder, which is made if it is not there, until what is returned is closed; reading needs no lock.

    Of processes that write to a folder one holds it. The kernel frees it, however the process ends; the file stays.

    Returns:
      The open lock file, which `with` closes.

    Raises:
      InUseError: another process holds it.
      WorkdirError: it cannot be written.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with locked(folder):
    ...     locked(folder)
    Traceback (most recent call last):
      ...
    hyperlab.errors.InUseError: ... is in use by another process; wait for it or choose another
    >>> locked(folder).close()
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a")
    except OSError as error:
        raise WorkdirError(f"{folder} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise InUseError(f"{folder} is in use by another process; wait for it or choose another") from error
    return lock


def set_aside(path: Path) -> Path:
    """Renames a damaged file, or folder, to `NAME.damaged-1` or the next free number, and returns its new path.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for _ in range(2):
    ...     write_atomically(folder / "a.npz", b"")
    ...     set_aside(folder / "a.npz").name
    'a.npz.damaged-1'
    'a.npz.damaged-2'
    """
    number = 1
    while (target := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    try:
        path.rename(target)
    except OSError as error:
        raise WorkdirError(f"{path} is damaged and cannot be set aside: {error.strerror}") from error
    return target


def read_bytes(path: Path) -> bytes | None:
    """The content of a file; None where there is none.

    Raises:
      WorkdirError: it cannot be read, which says nothing of its content.
    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise WorkdirError(f"{path} cannot be read: {error.strerror}") from error


def checksum(content: bytes) -> str:
    """32 hexadecimal digits that another content does not have.

    >>> checksum(b"")
    'cae66941d9efbd404e4d88758ea67670'
    """
    return hashlib.blake2b(content, digest_size=16).hexdigest()


# -- JSON ---------------------------------------------------------------------------------------------------------


def write_json(path: Path, content: Any, *, sealed: bool = False) -> None:
    """Writes a JSON file.

    Args:
      path: of the file.
      content: what JSON can hold.
      sealed: with a checksum inside, of a mapping, by which `read_json` sees that it was changed since.
    """
    if sealed:
        content = {**content, CHECKSUM: _seal(content)}
    write_atomically(path, json.dumps(content, indent=1) + "\n")


def read_json(path: Path, way_out: str = "copy it again") -> Any:
    """The content of a JSON file, a seal left out; None where there is none.

    Args:
      path: of the file.
      way_out: what to do about a damaged one, for the error.

    Raises:
      DamagedError: it is no JSON, or not what was sealed.
      WorkdirError: it cannot be read.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "run.json"
    >>> write_json(path, {"seed": 0}, sealed=True)
    >>> read_json(path)
    {'seed': 0}
    >>> write_atomically(path, path.read_text().replace("0,", "1,"))
    >>> read_json(path)
    Traceback (most recent call last):
      ...
    hyperlab.errors.DamagedError: ... is damaged (it was changed since it was written); copy it again
    """
    content = read_bytes(path)
    if content is None:
        return None
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged (no JSON: {str(error)[:100]}); {way_out}") from error
    if isinstance(found, dict) and CHECKSUM in found and found.pop(CHECKSUM) != _seal(found):
        raise DamagedError(f"{path} is damaged (it was changed since it was written); {way_out}")
    return found


def read_object(path: Path, way_out: str = "copy it again") -> dict[str, Any] | None:
    """As `read_json`, of a file that holds a mapping."""
    found = read_json(path, way_out)
    if found is not None and not isinstance(found, dict):
        raise DamagedError(f"{path} is damaged (it holds a {type(found).__name__}, expected an object); {way_out}")
    return found


def _seal(content: Any) -> str:
    plain = json.loads(json.dumps(content))  # keys are text, tuples lists: as it will be read
    return checksum(json.dumps(plain, sort_keys=True).encode())


# -- checksums of files beside them -------------------------------------------------------------------------------


def seal(folder: Path, names: Iterator[str] | list[str], **more: Any) -> None:
    """Notes the checksums of files of a folder in `checksums.json` there, and what else is known of them.

    Args:
      folder: of the files.
      names: of the files from there; a file that is missing is left out.
      **more: kept beside, for instance what the files were made by.
    """
    try:
        known = read_object(folder / SEALS) or {}
    except DamagedError:
        known = {}
    sums = {name: checksum(content) for name in names if (content := read_bytes(folder / name)) is not None}
    known = {**known, **more, "files": {**known.get("files", {}), **sums}}
    write_json(folder / SEALS, known, sealed=True)


def unseal(folder: Path, suffixes: tuple[str, ...]) -> None:
    """Forgets the checksums of a folder's files of some suffixes, which are about to be written again."""
    known = seals(folder)
    kept = {name: value for name, value in known.get("files", {}).items() if not name.endswith(suffixes)}
    if kept != known.get("files", {}):
        write_json(folder / SEALS, {**known, "files": kept}, sealed=True)


def seals(folder: Path) -> dict[str, Any]:
    """What `seal` noted; empty where nothing can be read."""
    try:
        return read_object(folder / SEALS) or {}
    except WorkdirError:
        return {}


def check_seal(path: Path, way_out: str) -> None:
    """Refuses a file that is not what was sealed; one that was never sealed is as good as it reads.

    Raises:
      DamagedError: it was changed since.
    """
    known, content = seals(path.parent).get("files", {}).get(path.name), read_bytes(path)
    if known is not None and content is not None and checksum(content) != known:
        raise DamagedError(f"{path} is damaged (it was changed since it was written); {way_out}")


def orbax_of_this_process(folder: str | Path) -> Any:
    """Options of orbax for files of which the other processes of a run know nothing: it waits for none of them.

    Args:
      folder: which files; the names of orbax's barriers are made of it.

    Returns:
      `orbax.checkpoint.options.MultiprocessingOptions`.
    """
    import jax
    import orbax.checkpoint as ocp  # takes about a second to import

    index = jax.process_index()
    prefix = f"{index}-{zlib.crc32(str(folder).encode())}"
    return ocp.options.MultiprocessingOptions(
        primary_host=index, active_processes={index}, barrier_sync_key_prefix=prefix
    )
