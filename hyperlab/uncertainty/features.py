"""Are the feature maps of a layer independent? Correlations between channels, and what is left without some of them.

The mean |R| over all pixels is driven by background and by dead channels. So correlations are taken within the
foreground and within the background, over equally many pixels, between live channels alone, with dropout off. They are
read beside the Dice at that rate, an untrained network's, and the accuracy that is left when the same share of
channels is removed. The definition is this library's: that of the malaria paper (arXiv 1912.00262) is not known.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import entr
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from hyperlab import trees
from hyperlab.errors import ConfigError, DataError

ALIVE = 1e-6
PIXELS = 4096


class Independence(NamedTuple):
    """How much the channels of a layer repeat each other.

    Attributes:
      mean_absolute: the mean of |R_ij| over pairs of live channels; NaN with fewer than two.
      above_half: the share of these pairs with |R_ij| > 0.5.
      effective_rank: exp(entropy of the eigenvalues of R over their sum), from 1 to the number of live channels.
      live: channels with a standard deviation of at least 1e-6.
      channels: all channels.
      pixels: how many the correlations are taken over; of N pixels, independent channels give about sqrt(2 / (pi N)).
    """

    mean_absolute: Float[Array, ""]
    above_half: Float[Array, ""]
    effective_rank: Float[Array, ""]
    live: Int[Array, ""]
    channels: int
    pixels: int


def capture(
    module: nn.Module,
    variables: PyTree,
    images: Float[Array, "n *spatial channel"],
    layers: str | Sequence[str],
    **options: Any,
) -> dict[str, Float[Array, "n ..."]]:
    """The outputs of some submodules for a batch of images, by path.

    Args:
      module: a Linen module.
      variables: its variables.
      images: `[n, *spatial, channel]`.
      layers: one path pattern or an ordered list, as `trees.select` takes them, over the paths of submodules.
      **options: further arguments of `module.apply`, for instance `train=False`.

    Returns:
      `{path: [n, *spatial, C]}`; a submodule that is called more than once gives the output of its last call.

    Raises:
      PatternError: a pattern matches no submodule.

    >>> net = nn.Sequential([nn.Conv(2, (3, 3)), nn.relu, nn.Conv(1, (1, 1))])
    >>> images = jnp.ones((1, 4, 4, 1))
    >>> variables = net.init(jax.random.key(0), images)
    >>> {path: value.shape for path, value in capture(net, variables, images, "layers_0").items()}
    {'layers_0': (1, 4, 4, 2)}
    """
    paths = _calls(module, variables, images, options)
    chosen = set(trees.select(paths, layers, "submodules"))

    def wanted(called: nn.Module, method: str) -> bool:
        return method == "__call__" and "/".join(called.path) in chosen

    _, state = module.apply(variables, images, capture_intermediates=wanted, mutable=["intermediates"], **options)
    outputs = {}
    for path in (path for path in paths if path in chosen):
        node = state["intermediates"]
        for part in path.split("/"):
            node = node[part]
        outputs[path] = node["__call__"][-1]
    return outputs


def region_pixels(
    activations: Float[Array | np.ndarray, "n *coarse C"],
    labels: Shaped[Array | np.ndarray, " n *spatial"],
    *,
    pixels: int = PIXELS,
    seed: int = 0,
) -> dict[str, Float[np.ndarray, "N C"]]:
    """Activations at as many pixels of the foreground as of the background.

    Where the layer is coarser than the labels, a place of it stands for the block of labels under it, and only
    blocks of one kind count.

    Args:
      activations: `[n, *coarse, C]`; each coarse size divides that of the labels.
      labels: int or bool `[n, *spatial]`, 0 for background.
      pixels: at most so many of each, drawn without replacement.
      seed: of the draw.

    Returns:
      `foreground` and `background`, `[N, C]` each, with the same N.

    Raises:
      DataError: sizes do not divide, or one of both has fewer than two pixels.

    >>> found = region_pixels(np.arange(8.0).reshape(1, 8, 1), np.array([[1, 1, 0, 0, 0, 0, 1, 1]]))
    >>> {name: values.shape for name, values in found.items()}
    {'foreground': (4, 1), 'background': (4, 1)}
    """
    activations, labels = np.asarray(activations), np.asarray(labels)
    coarse, fine = activations.shape[1:-1], labels.shape[1:]
    same = len(coarse) == len(fine) and len(activations) == len(labels)
    if not same or any(f % c for c, f in zip(coarse, fine, strict=True)):
        raise DataError(f"activations have shape {activations.shape}, labels {labels.shape}; sizes must divide")
    blocks = [size for c, f in zip(coarse, fine, strict=True) for size in (c, f // c)]
    share = (labels > 0).reshape(len(labels), *blocks).mean(tuple(range(2, 2 + 2 * len(coarse), 2)))
    places = {"foreground": np.flatnonzero(share == 1), "background": np.flatnonzero(share == 0)}
    count = min(pixels, *(len(place) for place in places.values()))
    if count < 2:
        sizes = {name: len(place) for name, place in places.items()}
        raise DataError(f"pure places of the layer: {sizes}, expected at least 2 of each for a correlation")
    flat, random = activations.reshape(-1, activations.shape[-1]), np.random.default_rng(seed)
    return {name: flat[random.choice(place, count, replace=False)] for name, place in places.items()}


def correlation(activations: Float[Array, "N C"]) -> tuple[Float[Array, "C C"], Bool[Array, " C"]]:
    """Pearson's correlations between channels over pixels, and which channels are alive; may be jitted.

    Args:
      activations: `[N, C]`.

    Returns:
      R `[C, C]`, 0 in rows and columns of dead channels; live, bool `[C]`.

    >>> r, live = correlation(jnp.array([[1.0, -1.0, 5.0], [2.0, -2.0, 5.0], [3.0, -3.0, 5.0]]))
    >>> r.round(3).tolist(), live.tolist()
    ([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 0.0]], [True, True, False])
    """
    centred = activations.astype(jnp.float32)
    centred = centred - centred.mean(0, keepdims=True)
    spread = jnp.sqrt(jnp.square(centred).mean(0))
    live = spread >= ALIVE
    scaled = jnp.where(live, 1 / jnp.where(live, spread, 1), 0)[None] * centred
    r = jnp.matmul(scaled.T, scaled, precision="highest") / activations.shape[0]
    return jnp.clip(r, -1, 1), live


def independence(activations: Float[Array, "N C"]) -> Independence:
    """How much channels repeat each other over some pixels; may be jitted.

    Args:
      activations: `[N, C]`, for instance of `region_pixels`.

    >>> column = jnp.arange(4.0)[:, None]
    >>> result = independence(jnp.concatenate([column, -column, 2 * column], 1))
    >>> float(result.mean_absolute.round(4)), float(result.effective_rank.round(3))
    (1.0, 1.0)

    (Roy and Vetterli, 2007, "The effective rank", for the exponential of the entropy.)
    """
    r, live = correlation(activations)
    pair = live[:, None] & live[None] & ~jnp.eye(live.size, dtype=bool)
    count, absolute = pair.sum(), jnp.where(pair, jnp.abs(r), 0)
    pairs = jnp.where(count > 0, count, jnp.nan)
    eigenvalues = jnp.maximum(jnp.linalg.eigvalsh(r), 0)
    total = eigenvalues.sum()
    rank = jnp.exp(entr(eigenvalues / jnp.where(total > 0, total, 1)).sum())
    return Independence(
        absolute.sum() / pairs,
        (absolute > 0.5).sum() / pairs,
        jnp.where(total > 0, rank, jnp.nan),
        live.sum(),
        live.size,
        activations.shape[0],
    )


def without_channels(
    module: nn.Module, layers: str | Sequence[str], share: float, **options: Any
) -> Callable[[Array, Any, Array], Array]:
    """The forward pass with a share of the channels of some layers removed, drawn anew for each key.

    Exactly round(share * C) channels of each layer's output are 0, the same for the whole batch; the others are
    divided by the share that remains, so that sums over channels keep their expectation. What is left of the accuracy
    is comparable between networks, whatever they were trained with.

    Args:
      module: a Linen module.
      layers: path patterns over submodules, as in `capture`.
      share: of the channels, from 0 to less than 1.
      **options: further arguments of `module.apply`, for instance `train=False`.

    Returns:
      A function `(key, variables, images) -> logits`, which may be jitted and mapped over keys.

    Raises:
      ConfigError: a share outside its range.

    >>> net, images = nn.Sequential([nn.Conv(4, (1, 1)), nn.Conv(1, (1, 1))]), jnp.ones((1, 2, 2, 1))
    >>> variables = net.init(jax.random.key(0), images)
    >>> forward = without_channels(net, "layers_0", 0.0)
    >>> bool((forward(jax.random.key(1), variables, images) == net.apply(variables, images)).all())
    True
    """
    if not 0 <= share < 1:
        raise ConfigError(f"share is {share}, expected 0 or more and less than 1")

    def forward(key: jax.Array, variables: PyTree, images: jax.Array) -> jax.Array:
        paths = _calls(module, variables, images, options)
        places = {path: place for place, path in enumerate(trees.select(paths, layers, "submodules"))}

        def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            output = call(*args, **kwargs)
            place = places.get("/".join(context.module.path))
            if context.method_name != "__call__" or place is None:
                return output
            channels = output.shape[-1]
            removed = round(share * channels)
            if removed == channels:
                raise ConfigError(f"a share of {share} removes all {channels} channels of {context.module.path}")
            order = jax.random.permutation(jax.random.fold_in(key, place), channels)
            kept = (order >= removed) * (channels / (channels - removed))
            return output * kept.astype(output.dtype).reshape((1,) * (output.ndim - 1) + (-1,))

        with nn.intercept_methods(intercept):
            logits: Any = module.apply(variables, images, **options)
        return logits

    return forward


def _calls(module: nn.Module, variables: PyTree, images: Any, options: dict[str, Any]) -> list[str]:
    """Paths of the submodules that a forward pass calls, in the order of their calls, without computing anything."""
    paths: dict[str, None] = {}

    def note(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if context.method_name == "__call__" and context.module.path:
            paths["/".join(context.module.path)] = None
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(lambda given, batch: module.apply(given, batch, **options), variables, images)
    return list(paths)
