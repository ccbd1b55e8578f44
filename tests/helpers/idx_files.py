"""Writes IDX files as their users have them, for the tests of the reader and of the sets."""

import gzip
import struct

import numpy as np

CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}


def content(array):
    header = bytes([0, 0, CODES[array.dtype.name], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_set(folder, train=60, test=30, classes=10, size=28, seed=0, suffix=".gz", **replace):
    """Random images under the official names; `replace` names arrays that stand for the random ones."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    arrays = {}
    for part, n in (("train", train), ("t10k", test)):
        arrays[f"{part}_images"] = rng.integers(0, 256, (n, size, size), np.uint8)
        arrays[f"{part}_labels"] = (np.arange(n) % classes).astype(np.uint8)
    for name, array in (arrays | replace).items():
        part, kind = name.split("_")
        path = folder / f"{part}-{kind}-idx{3 if kind == 'images' else 1}-ubyte{suffix}"
        path.write_bytes(gzip.compress(content(array)) if suffix else content(array))
    return arrays | replace
