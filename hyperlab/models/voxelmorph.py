r"""VoxelMorph: a U-Net that registers a moving image to a fixed one.

$u = g(m, f; \theta)$ from the two images, concatenated; the moved image is $m \circ (Id + u)$. The network of the
published code: an encoder that halves the grid after each convolution, a decoder that doubles it and takes the
encoder's features, a few convolutions more, and a last one, `flow`, that starts near zero, so that training starts
at the identity.

Sources: Balakrishnan et al., VoxelMorph (2019), arXiv 1809.05231; Dalca et al. (2018), arXiv 1805.04605, for the
velocity field; Hoopes et al., HyperMorph (2021), arXiv 2101.01035, for the widths and the half-resolution field.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperlab.errors import ConfigError
from hyperlab.nn.conv import Conv
from hyperlab.nn.pool import max_pool
from hyperlab.nn.spatial_transformer import integrate, resize_field

PUBLISHED = {"encoder": (16, 32, 32, 32), "decoder": (32, 32, 32, 32, 32, 16, 16)}
SMALL = {"encoder": (8, 16, 16), "decoder": (16, 16, 16, 8)}  # for images of about 64 voxels and two CPU cores


class Registration(NamedTuple):
    """What a registration network gives: the map, and the field that it was made from.

    Attributes:
      displacement: `[batch, *spatial, dims]` in voxels of the images: what images and labels are warped by.
      velocity: `[batch, *coarse, dims]` in voxels of its own grid: what the last convolution gave and what is
        regularised; with integration a velocity, else the displacement before it was brought to the images' grid.
    """

    displacement: jax.Array
    velocity: jax.Array


class VoxelMorph(nn.Module):
    """The registration U-Net, in 2D or 3D by the rank of its inputs.

    Attributes:
      encoder: channels of the convolutions before each halving of the grid.
      decoder: channels of the convolutions before each doubling of the grid, and of those after the last one: at
        least as many as the encoder has.
      integration_steps: squarings of the velocity's integration; 0 for a displacement that may fold.
      field_downsize: 1 for a field at the images' resolution, 2 for half of it: the last doubling is left out,
        which halves the time of a step and more, and the field is brought to the images' grid linearly.
      negative_slope: of the leaky ReLU.
      kernel_size: of every convolution, along each axis.
      dtype: of the convolutions; parameters are float32, fields too.

    Call with `moving` and `fixed`, both `[batch, *spatial, channel]` of the same size, any size: images are padded
    with zeros to the next one that halves evenly, and the field is cut. Returns a `Registration`.

    >>> images = jnp.zeros((1, 20, 13, 1))
    >>> result, _ = VoxelMorph(**SMALL).init_with_output(jax.random.key(0), images, images)
    >>> result.displacement.shape, result.velocity.shape
    ((1, 20, 13, 2), (1, 12, 8, 2))
    """

    encoder: tuple[int, ...] = PUBLISHED["encoder"]
    decoder: tuple[int, ...] = PUBLISHED["decoder"]
    integration_steps: int = 7
    field_downsize: int = 2
    negative_slope: float = 0.2
    kernel_size: int = 3
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, moving: jax.Array, fixed: jax.Array) -> Registration:
        self._check(moving, fixed)
        dims, levels = moving.ndim - 2, len(self.encoder)
        size = moving.shape[1:-1]
        padded = [-(-n // 2**levels) * 2**levels for n in size]
        x = jnp.concatenate([moving, fixed], axis=-1).astype(self.dtype)
        x = jnp.pad(x, [(0, 0), *[(0, even - n) for n, even in zip(size, padded, strict=True)], (0, 0)])

        def conv(x, width, name):
            x = Conv(width, (self.kernel_size,) * dims, kernel_init=_KERNELS, dtype=self.dtype, name=name)(x)
            return nn.leaky_relu(x, self.negative_slope)

        skips = []
        for level, width in enumerate(self.encoder):
            x = conv(x, width, f"encoder_{level}")
            skips.append(x)
            x = max_pool(x, (2,) * dims)
        for index, width in enumerate(self.decoder):
            x = conv(x, width, f"decoder_{index}")
            if index < levels and not (self.field_downsize == 2 and index == levels - 1):
                x = jnp.concatenate([_doubled(x), skips[levels - 1 - index]], axis=-1)
        # A start near the identity, as published; local correlation may need a larger one (voxelmorph issue 527).
        flow = Conv(dims, (self.kernel_size,) * dims, kernel_init=nn.initializers.normal(1e-5), name="flow")
        velocity = flow(x.astype(jnp.float32))
        return Registration(displacement_of(velocity, size, self.integration_steps, self.field_downsize), velocity)

    def _check(self, moving, fixed) -> None:
        if moving.shape != fixed.shape or moving.ndim not in (4, 5):
            raise ConfigError(
                f"moving {moving.shape} and fixed {fixed.shape}: expected two batches of the same shape, "
                "[batch, *spatial, channel] with 2 or 3 spatial axes"
            )
        if not self.encoder or len(self.decoder) < len(self.encoder):
            raise ConfigError(
                f"decoder {self.decoder} needs at least one width for each of encoder {self.encoder}, which has at "
                "least one: each encoder level halves the grid, and a decoder convolution doubles it again"
            )
        if self.field_downsize not in (1, 2):
            raise ConfigError(f"field_downsize is {self.field_downsize}, expected 1 or 2 (half resolution)")


def displacement_of(
    velocity: jax.Array, size: tuple[int, ...], integration_steps: int = 7, field_downsize: int = 2
) -> jax.Array:
    """The displacement on the images' grid of a network's velocity; of `-velocity`, it is the inverse map's.

    Args:
      velocity: `[batch, *coarse, dims]` in voxels of the coarse grid, which may be padded at its far ends.
      size: of the images.
      integration_steps: 0 takes the velocity as the displacement.
      field_downsize: how much coarser its grid is.

    Returns:
      `[batch, *size, dims]` in voxels of the images.

    >>> displacement_of(jnp.ones((1, 4, 4, 2)), (7, 8)).shape
    (1, 7, 8, 2)
    """
    field = integrate(velocity.astype(jnp.float32), integration_steps)
    field = resize_field(field, tuple(n * field_downsize for n in field.shape[1:-1]))
    return field[:, *(slice(0, n) for n in size), :]


# The published network's layers start with fan-in scaled kernels and zero biases.
_KERNELS = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def _doubled(images: jax.Array) -> jax.Array:
    """Every voxel repeated twice along each spatial axis: nearest up-sampling by 2."""
    for axis in range(1, images.ndim - 1):
        images = jnp.repeat(images, 2, axis=axis)
    return images
