"""The spacing of TIFF files in a JSON file beside them, as nnU-Net keeps it: `{"spacing": [...]}`."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from hyperlab.errors import DataError


def gives_spacing(path: Path) -> bool:
    """Whether a file is JSON with a field `spacing`; other programs keep other things in such files."""
    return _field(path) is not None


def spaces_volumes(path: Path | None) -> bool:
    """Whether a file gives the spacing of volumes; two numbers are those of an image, and no file is none."""
    given = None if path is None else _field(path)
    return given is not None and not (isinstance(given, list) and len(given) == 2)


def read_spacing(path: Path, axes: int) -> tuple[float, ...]:
    """The distance between neighbours along each axis, in the order of the array's axes.

    Args:
      path: the JSON file.
      axes: of the image; where a TIFF file of one slice is an image of two axes, the last two of three numbers count.

    Raises:
      DataError: the file does not give one positive number for each axis.
    """
    given = _field(path)
    numbers = isinstance(given, list) and all(type(step) in (int, float) and 0 < step < np.inf for step in given)
    if not numbers or len(given) not in ((2, 3) if axes == 2 else (axes,)):
        raise DataError(f"{path} gives the spacing {given!r}; expected one positive number for each of {axes} axes")
    return tuple(map(float, given[-axes:]))


def _field(path: Path) -> Any:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError, OSError):
        return None
    return content.get("spacing") if isinstance(content, dict) else None
