"""The networks of the study: how each is initialised and trained, applied once, and drawn from.

All have the same face, so that one `trial.Trial` trains and samples them. What differs from step to step or from
point to point, and is no parameter, is given beside the parameters: dropout rates, examples, the scale of a noise.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from hyperlab import losses, uncertainty
from hyperlab.errors import ConfigError, nearest
from hyperlab.hypernet import hypernetize
from hyperlab.in_context.stochastic import smooth_noise
from hyperlab.models import DropoutUNet, Tyche
from hyperlab.nn.dropout import RATES
from hyperlab.uncertainty.samplers import Sampler

NETWORKS = ("spatial", "element", "bayesian", "tyche", "noise")
SMOOTH = 1.0  # of Tyche's soft Dice: an image without any object still has a gradient
LATENTS = 16  # that the spread of what is generated is measured over
Take = Callable[[jax.Array], tuple[jax.Array, jax.Array]]  # rows of the training split -> images, labels


class Dropping:
    """A U-Net that drops something; beside it are its `rates`. One pass drops nothing.

    Attributes:
      once: the network whose program of one pass serves this one too.
    """

    once = "spatial"

    def __init__(self, module: DropoutUNet):
        self.module = module

    def init(self, key: jax.Array, images: jax.Array) -> Any:
        """Fresh parameters."""
        return self.module.init(key, images)["params"]

    def loss(self, params: Any, key: jax.Array, take: Take, rows: jax.Array, rates: Any) -> jax.Array:
        """The loss of each image of a step, `[batch]`."""
        images, labels = take(rows)
        logits = self.module.apply({"params": params, RATES: rates}, images, rngs={"dropout": key})
        return losses.dice_cross_entropy(logits, labels)

    def one(self, params: Any, key: jax.Array, images: jax.Array, rates: Any) -> jax.Array:
        """The logits of one pass."""
        return self.module.apply({"params": params}, images)

    def sampler(self, params: Any, rates: Any) -> Sampler:
        """Its draws."""
        return uncertainty.dropout(self.module.apply, {"params": params, RATES: rates})

    def plain(self, params: Any, key: jax.Array) -> Any:
        """The parameters of a U-Net whose feature maps can be looked at; None where there is none."""
        return params


class Noisy(Dropping):
    """The control that knows nothing: one pass of a U-Net, and smooth noise on its logit; the scale is beside it.

    Args:
      module: the U-Net.
      smoothness: of the noise, in pixels.
    """

    def __init__(self, module: DropoutUNet, smoothness: float):
        super().__init__(module)
        self.smoothness = smoothness

    def sampler(self, params: Any, scale: Any) -> Sampler:
        """Draws: the logit of the foreground plus the scale times noise of variance 1."""

        def draw(key: jax.Array, images: jax.Array) -> jax.Array:
            logits = self.module.apply({"params": params}, images)
            noise = smooth_noise(key, images.shape[:-1], self.smoothness)
            return (logits[..., 1] - logits[..., 0] + scale * noise)[..., None]

        return draw


class Bayesian:
    """A U-Net whose parameters are generated from a latent z of N(0, I): theta = theta0 + delta(z). Nothing is beside.

    It is trained on the expected loss, with one z a step for the whole batch. Nothing but the loss keeps z in use
    (there is no divergence from a prior), so that its draws are an implicit ensemble over z, and no posterior.

    Args:
      module: the U-Net, which drops nothing here; theta0 begins as its own initial parameters.
      images: an example.
      latent: the size of z.
      hidden: widths of the hypernetwork.
      encoding: of z; see `hyperlab.hypernet.encodings`.
    """

    once = "bayesian"

    def __init__(self, module: DropoutUNet, images: jax.Array, *, latent: int, hidden: Sequence[int], encoding: str):
        self.module, self.latent = module, latent
        self.model = hypernetize(
            module, images, gamma_dim=latent, hidden=tuple(hidden), encoding=encoding, gamma_range=None
        )

    def init(self, key: jax.Array, images: jax.Array) -> Any:
        """Fresh parameters; theta0 is what the U-Net without a hypernetwork begins with under the same key."""
        own = self.module.init(key, images)["params"]
        return self.model.init(jax.random.fold_in(jax.random.clone(key), 1), own)["params"]

    def prior(self, key: jax.Array) -> jax.Array:
        """A latent."""
        return jax.random.normal(key, (self.latent,))

    def loss(self, params: Any, key: jax.Array, take: Take, rows: jax.Array, beside: Any) -> jax.Array:
        """The loss of each image of a step under one z, `[batch]`."""
        images, labels = take(rows)
        return losses.dice_cross_entropy(self.one(params, key, images, beside), labels)

    def one(self, params: Any, key: jax.Array, images: jax.Array, beside: Any) -> jax.Array:
        """The logits of one draw."""
        return self.model.apply({"params": params}, self.prior(key), images)

    def sampler(self, params: Any, beside: Any) -> Sampler:
        """Its draws."""
        return uncertainty.latent(self.model.apply, {"params": params}, self.prior)

    def plain(self, params: Any, key: jax.Array) -> Any:
        """The U-Net of one draw."""
        return self.model.generate({"params": params}, self.prior(key))["params"]

    def spread(self, params: Any, key: jax.Array, images: jax.Array) -> dict[str, jax.Array]:
        """How far networks of different z differ: 0 of a hypernetwork that has collapsed.

        Returns:
          `theta_spread`: the root mean square over generated numbers of their standard deviation over z, divided by
          that of the numbers themselves; `logit_spread`: the same of the logits of `images`; `base`: the
          probabilities with delta = 0, `[n, height, width, class]`.
        """
        variables = {"params": params}
        latents = jax.vmap(self.prior)(jax.random.split(key, LATENTS))
        thetas = [self.model.generate(variables, one) for one in latents]
        logits = jnp.stack([self.module.apply(theta, images) for theta in thetas])
        flat = jnp.stack([jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(theta)]) for theta in thetas])
        base = self.module.apply(self.model.base(variables), images)
        return {"theta_spread": _spread(flat), "logit_spread": _spread(logits), "base": jax.nn.softmax(base)}


class InContext:
    """Tyche on one task: candidates of an image from examples of the training split and from noise.

    In training, rows of the training split are beside it, and each image of a step has examples of its own, which it
    is none of. Afterwards the examples are beside it, `(images, labels)`. Its loss is that of the best candidate.

    Args:
      module: the network.
      support: examples in training.
      candidates: in a pass, in training and afterwards.
    """

    once = "tyche"

    def __init__(self, module: Tyche, *, support: int, candidates: int):
        self.module, self.support, self.candidates = module, support, candidates

    def init(self, key: jax.Array, images: jax.Array) -> Any:
        """Fresh parameters."""
        one = images[:, None]
        return self.module.init(key, one, one, one, one)["params"]

    def loss(self, params: Any, key: jax.Array, take: Take, rows: jax.Array, pool: jax.Array) -> jax.Array:
        """The loss of the best candidate of each image, `[batch]`."""
        support_key, noise_key = jax.random.split(key)
        support = self.examples(support_key, rows, pool)
        images, labels = take(jnp.concatenate([rows[:, None], support], 1).ravel())
        images = images.reshape(len(rows), self.support + 1, *images.shape[1:])
        labels = labels.reshape(images.shape).astype(images.dtype)
        target = jnp.repeat(images[:, :1], self.candidates, 1)
        noise = jax.random.normal(noise_key, target.shape)
        logits = self.module.apply({"params": params}, target, noise, images[:, 1:], labels[:, 1:])
        return losses.best_candidate_dice(logits, labels[:, 0], smooth=SMOOTH)

    def examples(self, key: jax.Array, rows: jax.Array, pool: jax.Array) -> jax.Array:
        """Rows of examples for each image of a step, all different and none the image itself: `[batch, support]`."""
        drawn = jax.random.uniform(key, (len(rows), len(pool)))
        drawn = jnp.where(pool[None] == rows[:, None], -1.0, drawn)
        return pool[jax.lax.top_k(drawn, self.support)[1]]

    def one(self, params: Any, key: jax.Array, images: jax.Array, examples: Any) -> jax.Array:
        """The logits of one candidate."""
        return self.sampler(params, examples)(key, images)

    def sampler(self, params: Any, examples: Any) -> Sampler:
        """Its draws: one candidate of a pass each."""
        return uncertainty.noise(self.module.apply, {"params": params}, *examples, company=self.candidates)

    def plain(self, params: Any, key: jax.Array) -> None:
        """Its feature maps are not those of a U-Net."""


Network = Dropping | Bayesian | InContext


def build(name: str, config: Mapping[str, Any], shape: Sequence[int], classes: int) -> Network:
    """A network of the study.

    Args:
      name: one of `NETWORKS`.
      config: groups `network` (of the U-Net: `widths`, `normalization`, `convs_per_block`; Tyche has its
        normalisation, without which some seeds find nothing), `bayesian`, `tyche` and `noise`; only those that the
        network needs.
      shape: of an image, `(height, width, channel)`.
      classes: background included.

    Raises:
      ConfigError: an unknown name; more than one foreground, or more than one channel, where candidates need that.

    >>> unet = {"widths": (4, 4)}
    >>> build("tyche", {"network": unet, "tyche": {}}, (16, 16, 3), 2)
    Traceback (most recent call last):
    hyperlab.errors.ConfigError: 'tyche' takes images of one channel, these have 3
    """
    if name not in NETWORKS:
        raise ConfigError(f"unknown network {name!r}; {nearest(name, NETWORKS)}")
    if name in ("tyche", "noise") and classes != 2:
        raise ConfigError(f"{name!r} tells one class from the background, the images have {classes} classes")
    if name == "tyche":
        if shape[-1] != 1:
            raise ConfigError(f"'tyche' takes images of one channel, these have {shape[-1]}")
        options, normalization = dict(config["tyche"]), config["network"].get("normalization")
        return InContext(Tyche(tuple(options.pop("widths")), normalization=normalization), **options)
    if name in ("spatial", "element"):
        return Dropping(DropoutUNet(classes=classes, dropout=name, **config["network"]))
    module = DropoutUNet(classes=classes, dropout="none", **config["network"])
    if name == "noise":
        return Noisy(module, config["noise"]["smoothness"])
    return Bayesian(module, jnp.zeros((1, *shape)), **config["bayesian"])


def _spread(values: jax.Array) -> jax.Array:
    """Root mean square of the standard deviation over the first axis, over that of the values."""
    return jnp.sqrt(values.var(0).mean() / (values**2).mean())
