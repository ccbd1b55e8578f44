"""Reading PyTorch's files, for which PyTorch is needed."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hyperlab.errors import DataError, reading, require


def read_torch(path: str | os.PathLike) -> Any:
    """What a `.pt` or `.pth` file holds, with NumPy arrays in place of tensors.

    The file may hold tensors and plain containers alone: code in it is not run.

    Args:
      path: of the file.

    Returns:
      Containers as they were saved; tensors of types that NumPy lacks (bfloat16, float8) become float32, sparse ones
      dense, quantised ones what their numbers stand for.

    Raises:
      MissingExtraError: torch is not installed.
      DataError: no such file, or one that torch refuses; a tensor that has no values (on the meta device).

    For instance `universeg_from_torch(read_torch("universeg_v1_nf64_ss64_STA.pt"))`.
    """
    torch = require("torch", "bench", "reading .pt files")
    if not Path(path).is_file():
        raise DataError(f"no file {os.fspath(path)!r}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(f"torch cannot read {os.fspath(path)!r}: {error}") from error

    with reading(path, "save it again with torch.save(model.state_dict(), path)"):
        return _converted(torch, content)


def _converted(torch: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _converted(torch, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_converted(torch, item) for item in value]
    if not isinstance(value, torch.Tensor):
        return value
    value = value.detach()
    if value.is_quantized:
        value = value.dequantize()
    if value.layout != torch.strided:
        value = value.to_dense()
    if value.is_floating_point() and value.dtype not in (torch.float16, torch.float32, torch.float64):
        value = value.float()
    return np.asarray(value.resolve_conj().resolve_neg())
