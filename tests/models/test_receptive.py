import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab.models import DropoutUNet, UNet
from hyperlab.models.receptive import receptive_field

SIDE = 64


@pytest.mark.parametrize(
    "net",
    [
        UNet((2, 2, 2), convs_per_block=1, skip="none", activation="gelu"),
        DropoutUNet((2, 2), kernel_size=4, skip="add", activation="gelu"),
    ],
    ids=["no skips", "skips"],
)
def test_it_is_what_an_output_depends_on(net):
    """Every row of an image is changed in turn: which rows of the output change?"""
    image = jax.random.normal(jax.random.key(1), (1, SIDE, 4, 1))
    variables = jax.tree.map(jnp.abs, jax.jit(net.init)(jax.random.key(0), image))  # no influence cancels another
    changed = image + 1e3 * jnp.eye(SIDE)[:, :, None, None]
    outputs = np.asarray(jax.jit(net.apply)(variables, jnp.concatenate([changed, image])))
    depends = (np.abs(outputs[:-1] - outputs[-1:]) > 1e-3).any((2, 3))
    middle = depends[:, SIDE // 2 : SIDE // 2 + 2 ** (len(net.widths) - 1)].T
    rows = [np.flatnonzero(row) for row in middle]
    assert max(row[-1] - row[0] + 1 for row in rows) == receptive_field(net) < SIDE
