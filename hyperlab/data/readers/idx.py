"""IDX files, the format of MNIST and of the sets that follow it: any dtype, any rank, gzipped or plain."""

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hyperlab.errors import DataError

# The third byte of the file names the type, the fourth the rank; everything is big-endian.
_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: str | Path) -> np.ndarray:
    """Reads one IDX file into an array in the machine's byte order.

    The file starts with two zero bytes, one byte for the type, one for the rank, then one 32-bit
    big-endian size for each axis, then the values. Whether it is gzipped is decided by its first
    bytes, not by its name.

    Args:
      path: the file.

    Returns:
      An array of the shape and dtype that the file states.

    Raises:
      DataError: the file is missing, empty, truncated, longer than it states, or not IDX.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
    >>> _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    >>> read_idx(file)
    array([7, 2, 1], dtype=uint8)
    """
    path = Path(path)
    content = _content(path)
    if len(content) < 4:
        raise DataError(f"{path} holds {len(content)} bytes, too few for an IDX header; download it again")
    if content[:2] != b"\0\0" or content[2] not in _DTYPES:
        raise DataError(
            f"{path} is not an IDX file: it starts with 0x{content[:4].hex()}, expected 0x0000, a type in "
            f"{[f'0x{code:02x}' for code in _DTYPES]} and a rank (an HTML page saved under this name?)"
        )
    dtype, rank = np.dtype(_DTYPES[content[2]]), content[3]
    start = 4 + 4 * rank
    if len(content) < start:
        raise DataError(f"{path} is truncated: {len(content)} bytes, its header of rank {rank} needs {start}")
    shape = tuple(np.frombuffer(content, ">u4", rank, 4).tolist())
    expected = math.prod(shape) * dtype.itemsize
    if len(content) - start != expected:
        kind = "truncated" if len(content) - start < expected else "longer than its header states"
        raise DataError(
            f"{path} is {kind}: {len(content) - start} bytes of values, shape {shape} {dtype.name} needs "
            f"{expected}; download it again"
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def find_file(folders: Sequence[str | Path], names: Sequence[str]) -> Path:
    """The first of several names, plain or with `.gz`, that exists in the first of several folders.

    Raises:
      DataError: none exists; the message lists the expected names and what the folder holds instead.
    """
    places = [Path(folder) for folder in folders]
    for folder in places:
        for name in names:
            for candidate in (folder / name, folder / f"{name}.gz"):
                if candidate.is_file():
                    return candidate
    expected = " or ".join(f"{name}[.gz]" for name in names)
    root = places[0]
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; expected one that holds {expected}")
    held = sorted(entry.name + "/" * entry.is_dir() for entry in root.iterdir())
    shown = ", ".join(held[:12]) + (f" and {len(held) - 12} more" if len(held) > 12 else "")
    raise DataError(f"{expected} is not in {root}, which holds: {shown or 'nothing'}")


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    content = path.read_bytes()
    if content[:2] != _GZIP_MAGIC:
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is truncated or damaged ({error}); download it again") from error
