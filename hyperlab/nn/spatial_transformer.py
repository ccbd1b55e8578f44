r"""Spatial transformer: sampling an image along a displacement field, and the algebra of such fields.

A field $u$ holds displacements in voxels, one component for each spatial axis in the order of the axes, and stands
for the map $\phi(x) = x + u(x)$. Images are pulled back along it, $(m \circ \phi)(x) = m(x + u(x))$. Coordinates are
voxel indices: the first voxel's centre is 0, the last one's n - 1.

Sources: Jaderberg et al., Spatial Transformer Networks (2015), arXiv 1506.02025; Arsigny et al., A Log-Euclidean
Framework for Statistics on Diffeomorphisms (2006), for scaling and squaring.
"""

import itertools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Shaped

from hyperlab.errors import ConfigError, nearest
from hyperlab.nn.resize import resize

BORDERS = ("clamp", "zero")
METHODS = ("linear", "nearest")


def coordinates(shape: tuple[int, ...]) -> Float[Array, "*shape dims"]:
    """The voxel indices of a grid, float32 `[*shape, dims]`: the identity map.

    >>> coordinates((2, 2)).tolist()
    [[[0.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]]]
    """
    return jnp.stack(jnp.meshgrid(*(jnp.arange(n, dtype=jnp.float32) for n in shape), indexing="ij"), axis=-1)


def warp(
    images: Shaped[Array, "batch *spatial channel"],
    displacement: Float[Array, "batch *spatial dims"],
    *,
    border: str = "clamp",
    method: str = "linear",
) -> Shaped[Array, "batch *spatial channel"]:
    """Images sampled at displaced voxels: `result(x) = images(x + displacement(x))`.

    The gradient with respect to the displacement is made of gathered values; that with respect to the images is a
    scatter, which is slow on a CPU and is computed only where it is asked for. So keep the moving image out of what
    is differentiated.

    Args:
      images: `[batch, *spatial, channel]`, 1, 2 or 3 spatial axes, any dtype with `nearest`.
      displacement: `[batch, *spatial, dims]` in voxels.
      border: `clamp` repeats the outermost voxels; `zero` falls to 0 within one voxel outside of the grid.
      method: `linear` or `nearest`; the latter has no gradient with respect to the displacement.

    Returns:
      `[batch, *spatial, channel]`.

    Raises:
      ConfigError: shapes do not fit, or an unknown border or method.

    >>> row = jnp.arange(4.0).reshape(1, 4, 1)
    >>> warp(row, jnp.full((1, 4, 1), 0.5)).ravel().tolist()
    [0.5, 1.5, 2.5, 3.0]
    >>> warp(row, jnp.full((1, 4, 1), 1.0), border="zero").ravel().tolist()
    [1.0, 2.0, 3.0, 0.0]
    """
    _check(images, displacement)
    for given, valid, what in ((border, BORDERS, "border"), (method, METHODS, "method")):
        if given not in valid:
            raise ConfigError(f"{what} is {given!r}; {nearest(given, valid)}")
    points = coordinates(displacement.shape[1:-1])[None] + displacement
    if border == "zero":
        images = jnp.pad(images, [(0, 0), *[(1, 1)] * displacement.shape[-1], (0, 0)])
        points = points + 1
    # float32: a coordinate has to tell apart hundreds of voxels and their fractions.
    last = jnp.array([n - 1 for n in images.shape[1:-1]], jnp.float32).reshape((1,) * (points.ndim - 1) + (-1,))
    points = jnp.clip(points.astype(jnp.float32), 0, last)
    if method == "nearest":
        return _gather(images, jnp.floor(points + 0.5).astype(jnp.int32), (0,) * displacement.shape[-1])
    return _linear(images, points, last)


def warp_labels(
    labels: Integer[Array, " batch *spatial"],
    displacement: Float[Array, "batch *spatial dims"],
    *,
    border: str = "clamp",
    method: str = "nearest",
    classes: int | None = None,
) -> Integer[Array, " batch *spatial"]:
    """A label map sampled at displaced voxels.

    Args:
      labels: int `[batch, *spatial]`.
      displacement: `[batch, *spatial, dims]` in voxels.
      border: as in `warp`; label 0 lies outside with `zero`.
      method: `nearest`, or `linear`: the class whose indicator, sampled linearly, is largest (the lower label wins
        a tie), which moves a border by less than a voxel where `nearest` jumps.
      classes: number of label values, needed with `linear`.

    Returns:
      int `[batch, *spatial]`.

    >>> warp_labels(jnp.array([[0, 1, 2]]), jnp.full((1, 3, 1), 1.0)).tolist()
    [[1, 2, 2]]
    """
    if method != "linear":
        return warp(labels[..., None], displacement, border=border, method=method)[..., 0]
    if classes is None:
        raise ConfigError("classes (the number of label values) is needed to sample labels with method='linear'")
    shares = warp(jax.nn.one_hot(labels, classes), displacement, border=border)
    if border == "zero":  # what lies outside is background
        shares = shares.at[..., 0].add(1 - shares.sum(-1))
    return jnp.argmax(shares, axis=-1).astype(labels.dtype)


def compose(
    outer: Float[Array, "batch *spatial dims"], inner: Float[Array, "batch *spatial dims"]
) -> Float[Array, "batch *spatial dims"]:
    r"""The displacement of one map after another: $\phi_{outer} \circ \phi_{inner}$, both `[batch, *spatial, dims]`.

    $u(x) = u_{inner}(x) + u_{outer}(x + u_{inner}(x))$; an outer field goes on beyond the grid as it ends there.
    Warping an image by the composition is warping it by `outer` first and the result by `inner`.

    >>> compose(jnp.full((1, 4, 1), 1.0), jnp.full((1, 4, 1), 0.5)).ravel().tolist()
    [1.5, 1.5, 1.5, 1.5]
    """
    return inner + warp(outer, inner)


def integrate(velocity: Float[Array, "batch *spatial dims"], steps: int = 7) -> Float[Array, "batch *spatial dims"]:
    r"""The displacement after unit time along a stationary velocity field, by scaling and squaring.

    $u_0 = v / 2^{steps}$, then `steps` times $u \leftarrow u \circ u$. The map is a diffeomorphism as far as the
    sampling is fine enough; `integrate(-velocity)` is its inverse.

    Args:
      velocity: `[batch, *spatial, dims]`, in voxels per unit time.
      steps: squarings; 0 returns the velocity.

    Returns:
      `[batch, *spatial, dims]`, in voxels.

    >>> integrate(jnp.full((1, 5, 1), 2.0)).ravel().tolist()
    [2.0, 2.0, 2.0, 2.0, 2.0]
    """
    if steps < 0:
        raise ConfigError(f"integration steps are {steps}, expected 0 or more")
    return jax.lax.fori_loop(0, steps, lambda _, u: compose(u, u), velocity / 2**steps)


def resize_field(
    displacement: Float[Array, "batch *spatial dims"], size: tuple[int, ...]
) -> Float[Array, "batch *size dims"]:
    """A field on a grid of another size over the same extent: sampled linearly, displacements in the new voxels.

    Args:
      displacement: `[batch, *spatial, dims]` in voxels of its own grid.
      size: of the new grid.

    Returns:
      `[batch, *size, dims]` in voxels of the new grid.

    >>> resize_field(jnp.full((1, 2, 1), 1.0), (4,)).ravel().tolist()
    [2.0, 2.0, 2.0, 2.0]
    """
    spatial = displacement.shape[1:-1]
    if tuple(size) == spatial:
        return displacement
    ratios = jnp.array([new / old for new, old in zip(size, spatial, strict=True)], displacement.dtype)
    return resize(displacement, size) * ratios.reshape((1,) * (displacement.ndim - 1) + (-1,))


def jacobian_determinant(displacement: Float[Array, "batch *spatial dims"]) -> Float[Array, " batch *cells"]:
    r"""$\det(I + \nabla u)$ from forward differences: the signed size of each voxel's image.

    Forward differences see a fold between two neighbours; central ones would skip every other voxel.

    Args:
      displacement: `[batch, *spatial, dims]` in voxels, at least 2 voxels along each axis.

    Returns:
      `[batch, *(spatial - 1)]`; 1 for the identity, at most 0 where the map folds.

    >>> jacobian_determinant(jnp.zeros((1, 3, 3, 2)))[0].tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    dims = displacement.shape[-1]
    _check(displacement, displacement)
    # gradient[j][..., i] = d u_i / d x_j; every difference starts at the same corner of the cell.
    corner = (slice(None), *(slice(0, n - 1) for n in displacement.shape[1:-1]))
    columns = []
    for axis in range(dims):
        difference = jnp.diff(displacement, axis=axis + 1)
        kept = [slice(None) if index == axis + 1 else cut for index, cut in enumerate(corner)]
        columns.append(difference[tuple(kept)])
    jacobian = [[columns[j][..., i] + (i == j) for j in range(dims)] for i in range(dims)]
    return _determinant(jacobian)


def folding(displacement: Float[Array, "batch *spatial dims"]) -> Float[Array, " batch"]:
    """The share of voxels at which a field folds, `[batch]` in 0..1: a determinant of the Jacobian of at most 0.

    >>> folding(-2 * coordinates((4, 4))[None]).tolist(), folding(jnp.zeros((1, 4, 4, 2))).tolist()
    ([0.0], [0.0])
    >>> folding(coordinates((4, 4))[None] * jnp.array([-2.0, 0.0]).reshape(1, 1, 1, 2)).tolist()
    [1.0]
    """
    determinant = jacobian_determinant(displacement)
    return jnp.mean((determinant <= 0).astype(jnp.float32), axis=range(1, determinant.ndim))


def _linear(images: jax.Array, points: jax.Array, last: jax.Array) -> jax.Array:
    base = jnp.minimum(jnp.floor(points), jnp.maximum(last - 1, 0))
    fraction, base = points - base, base.astype(jnp.int32)
    corners = []
    for corner in itertools.product((0, 1), repeat=points.shape[-1]):
        parts = [fraction[..., i] if high else 1 - fraction[..., i] for i, high in enumerate(corner)]
        corners.append(math.prod(parts[1:], start=parts[0])[..., None] * _gather(images, base, corner))
    kept = images.dtype if jnp.issubdtype(images.dtype, jnp.floating) else jnp.float32
    return sum(corners[1:], start=corners[0]).astype(kept)


def _gather(images: jax.Array, base: jax.Array, corner: tuple[int, ...]) -> jax.Array:
    """`images` at `base + corner`, which lies inside except along axes of one voxel, where the corner is 0."""
    spatial = images.shape[1:-1]
    index, stride = jnp.zeros(base.shape[:-1], jnp.int32), 1
    for axis in reversed(range(len(spatial))):
        index = index + (base[..., axis] + min(corner[axis], spatial[axis] - 1)) * stride
        stride *= spatial[axis]
    flat = images.reshape(images.shape[0], -1, images.shape[-1])
    return jax.vmap(lambda rows, places: rows.at[places].get(mode="promise_in_bounds"))(flat, index)


def _determinant(m: list[list[jax.Array]]) -> jax.Array:
    if len(m) == 1:
        return m[0][0]
    if len(m) == 2:
        return m[0][0] * m[1][1] - m[0][1] * m[1][0]
    minors = [_determinant([[row[k] for k in range(3) if k != j] for row in m[1:]]) for j in range(3)]
    return m[0][0] * minors[0] - m[0][1] * minors[1] + m[0][2] * minors[2]


def _check(images: jax.Array, displacement: jax.Array) -> None:
    dims = displacement.ndim - 2
    if dims not in (1, 2, 3) or displacement.shape[-1] != dims:
        raise ConfigError(
            f"a displacement has shape {displacement.shape}, expected [batch, *spatial, dims] with 1 to 3 spatial axes "
            "and one component for each"
        )
    if images.shape[:-1] != displacement.shape[:-1]:
        raise ConfigError(
            f"images {images.shape} and displacement {displacement.shape} must agree in batch and spatial size; "
            "resize_field brings a field to another grid"
        )
