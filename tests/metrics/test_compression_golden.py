"""Sizes and multiply-accumulates, dense and not zero, that the reference implementation counts; exactly."""

from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab import trees
from hyperlab.metrics.compression import measure
from hyperlab.metrics.operations import macs_per_kernel

pytestmark = pytest.mark.fast
GOLDEN = dict(np.load(Path(__file__).parents[1] / "golden" / "pruning_small.npz"))
CASES = [key.removeprefix("metrics/") for key in GOLDEN if key.startswith("metrics/")]


class Net(nn.Module):
    """Two padded convolutions, each pooled, and two dense layers, named as there."""

    @nn.compact
    def __call__(self, x):
        for name, channels in (("conv1", 4), ("conv2", 8)):
            x = nn.max_pool(nn.relu(nn.Conv(channels, (3, 3), padding=1, name=name)(x)), (2, 2), (2, 2))
        x = nn.relu(nn.Dense(16, name="fc1")(x.reshape(x.shape[0], -1)))
        return nn.Dense(10, name="fc2")(x)


def ours(prefix):
    leaves = {}
    for key, array in GOLDEN.items():
        if key.startswith(prefix):
            path = key.removeprefix(prefix).replace(".weight", "/kernel").replace(".", "/")
            leaves[path] = array.transpose({4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[array.ndim])
    return leaves


@pytest.mark.parametrize("case", CASES)
def test_sizes_and_macs_are_those_of_the_reference(case):
    params = ours("param/")
    masks = {path: np.ones(leaf.shape, bool) for path, leaf in params.items()}
    masks |= {path: mask.astype(bool) for path, mask in ours(f"mask/{case}/").items()}
    images = jax.ShapeDtypeStruct((16, 8, 8, 1), jnp.float32)
    macs = macs_per_kernel(Net().apply, {"params": trees.nest(params)}, images, examples=16)
    found = measure(trees.nest(params), trees.nest(masks), macs=macs)
    assert [found.parameters, found.nonzero, found.macs, found.nonzero_macs] == GOLDEN[f"metrics/{case}"].tolist()
    assert found.nonzero_by_value == found.nonzero
