"""Reading PyTorch's files, for which PyTorch is needed."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hyperlab.errors import DataError, require


def read_torch(path: str | os.PathLike) -> Any:
    """What a `.pt` or `.pth` file holds, with NumPy arrays in place of tensors.

    The file may hold tensors and plain containers alone: code in it is not run.

    Args:
      path: of the file.

    Returns:
      Containers as they were saved; tensors of bfloat16, which NumPy lacks, become float32.

    Raises:
      MissingExtraError: torch is not installed.
      DataError: no such file, or one that torch refuses.

    For instance `universeg_from_torch(read_torch("universeg_v1_nf64_ss64_STA.pt"))`.
    """
    torch = require("torch", "bench", "reading .pt files")
    if not Path(path).is_file():
        raise DataError(f"no file {os.fspath(path)!r}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(f"torch cannot read {os.fspath(path)!r}: {error}") from error

    def convert(value):
        if isinstance(value, torch.Tensor):
            value = value.detach()
            return np.asarray(value.float() if value.dtype == torch.bfloat16 else value)
        if isinstance(value, Mapping):
            return {key: convert(item) for key, item in value.items()}
        return [convert(item) for item in value] if isinstance(value, list | tuple) else value

    return convert(content)
