"""The reference implementation's numbers, from a copy of its golden vectors."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab.errors import ParameterTreeError
from hyperlab.hypernet.initializers import INITIALIZERS, HeadContext
from hyperlab.hypernet.spec import ParamSpec, Record
from hyperlab.interop import hyperlight_from_torch

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "mip_hypernet.npz")
ORDER = ["conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "fc.weight", "fc.bias"]
TARGET = {name: GOLDEN[f"theta/0/{name}"].shape for name in ORDER}
STATE = {key.removeprefix("hypernet/"): GOLDEN[key] for key in GOLDEN if key.startswith("hypernet/")}

pytestmark = pytest.mark.fast


def test_generated_parameters_match_the_reference():
    hypernet, params = hyperlight_from_torch(STATE, TARGET, encoding="cos|sin")
    for row, gamma in enumerate(GOLDEN["gamma"]):
        theta = hypernet.apply({"params": params}, jnp.asarray(gamma))
        for name in ORDER:
            np.testing.assert_allclose(theta[name], GOLDEN[f"theta/{row}/{name}"], atol=1e-5)


def test_initial_spread_of_each_head_matches_the_reference():
    # The golden numbers are sample deviations of finite draws: 16 rows x n_k numbers each.
    spec = ParamSpec(tuple(Record(name, tuple(shape)) for name, shape in TARGET.items()))
    context = HeadContext(spec, 16, np.sqrt(2), jnp.ones(16), {})
    std = INITIALIZERS.get("fan_out").head_std(context)
    for record in spec:
        spread = 4 / np.sqrt(2 * 16 * record.size)
        assert float(std[record.path]) == pytest.approx(GOLDEN[f"init_std/{record.path}"], rel=spread)


def test_prefixes_are_accepted():
    prefixed = {f"hypernet.model.{key}": value for key, value in STATE.items()}
    _, params = hyperlight_from_torch(prefixed, TARGET)
    assert jax.tree.map(jnp.shape, params)["hidden_0"]["kernel"] == (4, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {"extra.weight": np.ones(1)}, "extra.weight"),
        (lambda s: {k: v for k, v in s.items() if k != "block1_lin.bias"}, "hidden_1.bias"),
        (lambda s: s | {"output.weight": np.ones((3, 16)), "output.bias": np.ones(3)}, "426 numbers"),
        (lambda s: s | {"block1_lin.weight": np.ones((16, 7))}, "takes 7"),
    ],
)
def test_wrong_state_dicts_are_refused(change, message):
    with pytest.raises(ParameterTreeError, match=message):
        hyperlight_from_torch(change(STATE), TARGET)
