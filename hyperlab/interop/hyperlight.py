"""Checkpoints of HyperLight, the PyTorch library of the MIP authors, as hyperlab hypernetworks.

HyperLight keeps theta0 in the bias of its last linear layer; here that becomes the head's bias, so that the
result is the same function of gamma. Source: arXiv 2304.07645; HyperLight 0.0.5.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from hyperlab.errors import ParameterTreeError
from hyperlab.hypernet.network import HyperNetwork
from hyperlab.hypernet.spec import ParamSpec, Record
from hyperlab.interop.in_context import state_of

_KEY = re.compile(r"(?:(?:.*\.)?)(?:block(?P<index>\d+)_lin|(?P<output>output))\.(?P<kind>weight|bias)")
_ENCODINGS = {None: "raw", "cos|sin": "cos_sin", "z|1-z": "z_1mz"}


def hyperlight_from_torch(
    state_dict: Mapping[str, Any],
    target: Mapping[str, Sequence[int]],
    encoding: str | None = "cos_sin",
    activation: str = "leaky_relu",
) -> tuple[HyperNetwork, dict]:
    """A HyperLight hypernetwork from its state dict.

    Args:
      state_dict: numpy-convertible arrays by key: `block<i>_lin.weight`, `block<i>_lin.bias`, `output.weight`,
        `output.bias`, with any prefix; weights are `[out, in]`.
      target: `{name: shape}` of what is generated, in HyperLight's insertion order, in PyTorch's layout.
      encoding: ours (`cos_sin`, `z_1mz`, `raw`) or HyperLight's name (`cos|sin`, `z|1-z`, None).
      activation: of the hidden layers.

    Returns:
      `(hypernet, params)`; `hypernet.apply({"params": params}, gamma)` gives `{name: array}` in the shapes of
      `target`.

    Raises:
      ParameterTreeError: missing or unknown keys, or sizes that do not fit together; each is named.

    >>> state = {"output.weight": np.ones((3, 2)), "output.bias": np.zeros(3)}
    >>> hypernet, params = hyperlight_from_torch(state, {"fc.bias": (3,)})
    >>> hypernet.apply({"params": params}, jnp.array([0.0]))["fc.bias"]
    Array([1., 1., 1.], dtype=float32)
    """
    layers: dict[str, dict[str, np.ndarray]] = {}
    unknown = []
    for key, value in state_of(state_dict).items():
        match = _KEY.fullmatch(key)
        if match is None:
            unknown.append(key)
            continue
        name = "head" if match["output"] else f"hidden_{match['index']}"
        if value.ndim != (2 if match["kind"] == "weight" else 1):
            raise ParameterTreeError(f"{key!r} has shape {value.shape}; weights have 2 dimensions and biases 1")
        layers.setdefault(name, {})[match["kind"]] = value.astype(np.float32)
    if unknown:
        raise ParameterTreeError(f"unexpected keys {sorted(unknown)}; expected block<i>_lin.* and output.*")
    names = [f"hidden_{i}" for i in range(len(layers) - ("head" in layers))] + ["head"]
    missing = [f"{n}.{kind}" for n in names for kind in ("weight", "bias") if kind not in layers.get(n, {})]
    if missing:
        raise ParameterTreeError(f"the state dict lacks {missing} (head is `output`, hidden_<i> `block<i>_lin`)")

    spec = ParamSpec(tuple(Record(name, tuple(shape)) for name, shape in target.items()))
    outputs, sizes = layers["head"]["weight"].shape[0], [math.prod(s) for s in target.values()]
    if outputs != spec.size:
        raise ParameterTreeError(f"output has {outputs} rows, but the target shapes hold {sum(sizes)} numbers")
    for before, after in zip(names, names[1:], strict=False):
        if layers[before]["weight"].shape[0] != layers[after]["weight"].shape[1]:
            raise ParameterTreeError(
                f"{before} has {layers[before]['weight'].shape[0]} outputs, "
                f"{after} takes {layers[after]['weight'].shape[1]}"
            )
    hypernet = HyperNetwork(
        spec,
        encoding=_ENCODINGS.get(encoding, encoding or "raw"),
        hidden=tuple(layers[name]["weight"].shape[0] for name in names[:-1]),
        activation=activation,
        head_bias="own",
    )
    params = {
        name: {"kernel": jnp.asarray(layer["weight"].T), "bias": jnp.asarray(layer["bias"])}
        for name, layer in layers.items()
    }
    padding = spec.packed_size - spec.size
    params["head"] = {
        "kernel": jnp.pad(params["head"]["kernel"], ((0, 0), (0, padding))),
        "bias": jnp.pad(params["head"]["bias"], (0, padding)),
    }
    return hypernet, params
