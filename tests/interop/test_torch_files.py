"""PyTorch's files: tensors become arrays; what is missing is named."""

import sys

import numpy as np
import pytest

from hyperlab.errors import DataError, MissingExtraError
from hyperlab.interop import read_torch

pytestmark = pytest.mark.fast


def test_without_torch_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"hyperlab\[bench\]"):
        read_torch(tmp_path / "weights.pt")


def test_tensors_of_nested_containers_become_arrays(tmp_path):
    torch = pytest.importorskip("torch")
    kernel = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    torch.save({"model": {"kernel": kernel, "half": kernel.data.bfloat16()}, "rates": [0.1]}, tmp_path / "weights.pt")
    content = read_torch(tmp_path / "weights.pt")
    assert content["rates"] == [0.1]
    for name in ("kernel", "half"):
        np.testing.assert_array_equal(content["model"][name], np.arange(6, dtype=np.float32).reshape(2, 3))


def test_files_that_cannot_be_read_are_refused(tmp_path):
    pytest.importorskip("torch")
    (tmp_path / "text.pt").write_text("no tensors")
    for name, message in (("none.pt", "no file"), ("text.pt", "cannot read")):
        with pytest.raises(DataError, match=message):
            read_torch(tmp_path / name)
