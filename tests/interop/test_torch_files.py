"""PyTorch's files: tensors become arrays; what is missing is named."""

import sys

import numpy as np
import pytest

from hyperlab.errors import DataError, MissingExtraError, ParameterTreeError
from hyperlab.interop import (
    classifier_from_torch,
    hyperlight_from_torch,
    read_torch,
    tyche_from_torch,
    universeg_from_torch,
)

pytestmark = pytest.mark.fast


def _hyperlight(state):
    return hyperlight_from_torch(state, {"w": (3,)})


def test_without_torch_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"hyperlab\[bench\]"):
        read_torch(tmp_path / "weights.pt")


@pytest.mark.slow
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


@pytest.mark.filterwarnings("ignore")  # torch warns of what it will change
def test_tensors_that_numpy_does_not_know_become_those_that_it_does(tmp_path):
    torch = pytest.importorskip("torch")
    plain = torch.tensor([[0.5, 0], [0, 2]])
    kinds = {
        "sparse": plain.to_sparse(), "csr": plain.to_sparse_csr(), "float8": plain.to(torch.float8_e4m3fn),
        "quantised": torch.quantize_per_tensor(plain, 0.5, 3, torch.quint8), "turned": plain.T.contiguous().T,
    }  # fmt: skip
    torch.save(kinds, tmp_path / "a.pt")
    for name, array in read_torch(tmp_path / "a.pt").items():
        np.testing.assert_array_equal(array, plain.numpy(), err_msg=name)
    torch.save({"w": torch.empty(3, device="meta")}, tmp_path / "b.pt")
    with pytest.raises(DataError, match=r"b.pt is truncated or damaged .* save it again with"):
        read_torch(tmp_path / "b.pt")


@pytest.mark.parametrize(
    "given",
    [[1, 2], 3, None, {0: np.ones(2)}, {"model": {"w": "text"}}, {"w": np.array([{}])}, {"w": np.ones(2) * 1j}, {}],
)
@pytest.mark.parametrize("convert", [universeg_from_torch, tyche_from_torch, classifier_from_torch, _hyperlight])
def test_what_is_no_state_dict_is_refused(convert, given):
    with pytest.raises(ParameterTreeError):
        convert(given)
