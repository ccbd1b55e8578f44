"""Arrays on disk as zarr version 3: compressed chunks with checksums, all of an array in one file, read by windows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def open_array(path: Path) -> Any:
    """A handle of an array; an index of it is read by `.read().result()`.

    Raises:
      Exception: what tensorstore's drivers pass on.
    """
    import tensorstore

    return tensorstore.open(_spec(path), open=True, read=True).result()


def write_array(path: Path, array: np.ndarray, chunk: Sequence[int], level: int = 5) -> None:
    """Writes an array; the same numbers become the same bytes.

    Args:
      path: the folder of the array; what is there is replaced.
      array: of whole numbers or floating point.
      chunk: the shape of what is compressed, checked and read at once.
      level: of zstd.

    Raises:
      Exception: what tensorstore's drivers pass on.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "image"
    >>> write_array(path, np.arange(100, dtype=np.float32).reshape(10, 10), (4, 4))
    >>> open_array(path)[3:5, 9:10].read().result().tolist()
    [[39.0], [49.0]]
    """
    import tensorstore

    sharding: dict[str, Any] = {
        "chunk_shape": list(chunk),
        "codecs": [{"name": "bytes"}, {"name": "zstd", "configuration": {"level": level}}, {"name": "crc32c"}],
        "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
    }
    if array.dtype.itemsize > 1:
        sharding["codecs"][0]["configuration"] = {"endian": "little"}
    whole = [-(-n // step) * step for n, step in zip(array.shape, chunk, strict=True)]  # one file holds all chunks
    metadata = {
        "shape": array.shape,
        "data_type": array.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": whole}},
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "fill_value": 0,
    }
    spec = {**_spec(path), "metadata": metadata}
    handle = tensorstore.open(spec, create=True, delete_existing=True).result()
    # it may read from the array until all is written, and makes no copy of it
    handle.write(array, can_reference_source_data_indefinitely=True).result()


def _spec(path: Path) -> dict[str, Any]:
    return {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}}
