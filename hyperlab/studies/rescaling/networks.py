"""The network of an arm as pure functions: what is trained, what it is at one rescaling factor, and how that runs."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from hyperlab.hypernet import hypernetize, own_start
from hyperlab.hypernet.encodings import ENCODINGS, Rescaled
from hyperlab.hypernet.primary import start_keys
from hyperlab.models import FilmUNet, UNet
from hyperlab.studies.rescaling import slimmable
from hyperlab.studies.rescaling.arms import Arm

Params = Any


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """Three functions; every arm is one of these.

    Attributes:
      init: `key -> params`. The primary's part depends on the key alone, so arms that share a seed share it.
      prepare: `(params, factor [1]) -> prepared`: for a hypernetwork the generated parameters of the primary.
      run: `(prepared, images, sizes, canvases) -> logits`, see `UNet`.
      primary: the U-Net that runs in the end.
    """

    init: Callable[[jax.Array], Params]
    prepare: Callable[[Params, jax.Array], Any]
    run: Callable[..., jax.Array]
    primary: UNet


def build(
    arm: Arm, primary: UNet, example: Any, *, low: float, high: float, width: float = 1.0, **options: Any
) -> Network:
    """The network of an arm.

    Args:
      arm: which.
      primary: the U-Net.
      example: images, or their `jax.ShapeDtypeStruct`.
      low: of the prior; with `high` the range of the conditioning input, which is taken to [0, 1].
      high: of the prior.
      width: of a slimmable network: what is trained are the parameters of the primary, what runs are so many of its
        channels.
      **options: of `hypernetize`.

    >>> import jax.numpy as jnp
    >>> from hyperlab.studies.rescaling.arms import ARMS
    >>> images = jnp.ones((1, 8, 8, 1))
    >>> network = build(ARMS["sshn"], UNet((2, 2)), images, low=0.0, high=0.5, hidden=(4, 4))
    >>> params = network.init(jax.random.key(0))
    >>> network.run(network.prepare(params, jnp.array([0.25])), images, ((8, 8), (2, 2)), None).shape
    (1, 8, 8, 2)
    """

    running = slimmable.narrower(primary, width)

    def run(params, images, sizes, canvases):
        return running.apply({"params": params}, images, sizes, canvases=canvases)

    def init_primary(key):
        return own_start(primary, key, _concrete(example))["params"]

    if arm.network == "plain":
        if width == 1:
            return Network(init_primary, lambda params, factor: params, run, running)
        return Network(init_primary, lambda params, factor: slimmable.slim(params, primary, width), run, running)
    if arm.network == "film":
        module = FilmUNet(primary)
        encode = Rescaled(low, high, ENCODINGS.get(arm.encoding))

        def init_film(key):
            _, film_key = start_keys(key)
            params = module.init(film_key, encode(jnp.array([high])), _concrete(example))["params"]
            return {**params, "unet": init_primary(jax.random.clone(key))}

        def run_film(prepared, images, sizes, canvases):
            params, conditioning = prepared
            return module.apply({"params": params}, conditioning, images, sizes, canvases=canvases)

        return Network(init_film, lambda params, factor: (params, encode(factor)), run_film, primary)
    encoding = Rescaled(low, high, ENCODINGS.get(arm.encoding))
    model = hypernetize(
        primary,
        example,
        encoding=encoding,
        parametrization=arm.parametrization,
        initializer=arm.initializer,
        allow_extrapolation=True,  # factors beyond the prior are evaluated too
        **options,
    )
    middle = jnp.array([(low + high) / 2])
    return Network(
        lambda key: model.init(key)["params"],
        lambda params, factor: model.generate({"params": params}, middle if arm.blind else factor)["params"],
        run,
        primary,
    )


def _concrete(example: Any) -> jax.Array:
    return jnp.zeros(example.shape, example.dtype)
