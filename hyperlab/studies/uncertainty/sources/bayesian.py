"""A Bayesian hypernetwork: a U-Net whose parameters are generated from a latent."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from hyperlab import losses, prng, uncertainty
from hyperlab.hypernet import hypernetize
from hyperlab.models import DropoutUNet
from hyperlab.studies.uncertainty.sources.base import Source, Take
from hyperlab.uncertainty.samplers import Sampler

LATENTS = 16  # that the spread of what is generated is measured over


class Bayesian(Source):
    """theta = theta0 + delta(z), with z of N(0, I); it has no aux_inputs.

    It is trained on the expected loss, with one z a step for the whole batch. Nothing but the loss keeps z in use
    (there is no divergence from a prior), so its draws are an implicit ensemble over z, and no posterior.
    """

    how = (
        "all parameters are theta0 + delta(z), generated from z of N(0, I); trained on the expected loss, one "
        "z a step; several z. No term but the loss keeps z in use: an implicit ensemble, no posterior"
    )
    citation = "Krueger et al., 2017, arXiv 1710.04759; generated as by Gonzalez Ortiz et al., 2023, arXiv 2304.07645"

    @functools.cached_property
    def primary(self) -> DropoutUNet:
        """The U-Net, which drops nothing."""
        network = DropoutUNet(classes=self.problem.classes, dropout="none", **self.problem.config.network)
        return self.computing(network)

    @functools.cached_property
    def network(self) -> Any:
        """The hypernetwork."""
        options, images = self.problem.config.bayesian, jnp.zeros((1, *self.problem.shape))
        return hypernetize(
            self.primary,
            images,
            gamma_dim=options.latent,
            hidden=tuple(options.hidden),
            encoding=options.encoding,
            gamma_range=None,
        )

    def init(self, key: jax.Array, images: jax.Array) -> Any:
        """Fresh parameters; theta0 is what the U-Net without a hypernetwork begins with under the same key."""
        own = self.primary.init(key, images)["params"]
        return self.network.init(prng.fold_in(jax.random.clone(key), 1), own)["params"]

    def prior(self, key: jax.Array) -> jax.Array:
        """A latent."""
        return prng.normal(key, (self.problem.config.bayesian.latent,))

    def loss(self, params: Any, key: jax.Array, take: Take, rows: jax.Array, aux_inputs: Any) -> jax.Array:
        """Dice and cross-entropy under one z."""
        images, labels = take(rows)
        return losses.dice_cross_entropy(self.one_pass(params, key, images, aux_inputs), labels)

    def one_pass(self, params: Any, key: jax.Array, images: jax.Array, aux_inputs: Any) -> jax.Array:
        """One draw."""
        return self.network.apply({"params": params}, self.prior(key), images)

    def sampler(self, params: Any, aux_inputs: Any) -> Sampler:
        """A draw is a latent, for all images the same."""
        return uncertainty.latent(self.network.apply, {"params": params}, self.prior)

    def unet(self, params: Any, key: jax.Array) -> Any:
        """The U-Net of one draw."""
        return self.network.generate({"params": params}, self.prior(key))["params"]

    def spread(self, params: Any, key: jax.Array, images: jax.Array) -> dict[str, jax.Array]:
        """How far networks of different z differ: 0 of a hypernetwork that has collapsed.

        Returns:
          `theta_spread`: the root mean square over generated numbers of their standard deviation over z, divided by
          that of the numbers themselves; `logit_spread`: the same of the logits of `images`; `base`: the
          probabilities with delta = 0, `[n, height, width, class]`.
        """
        variables = {"params": params}
        latents = jax.vmap(self.prior)(prng.split(key, LATENTS))
        thetas = [self.network.generate(variables, one) for one in latents]
        outputs: list[Any] = [self.primary.apply(theta, images) for theta in thetas]
        logits = jnp.stack(outputs)
        flat = jnp.stack([jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(theta)]) for theta in thetas])
        base: Any = self.primary.apply(self.network.base(variables), images)
        return {
            "theta_spread": _relative_deviation(flat),
            "logit_spread": _relative_deviation(logits),
            "base": jax.nn.softmax(base),
        }


def _relative_deviation(values: jax.Array) -> jax.Array:
    """Root mean square of the standard deviation over the first axis, over that of the values."""
    return jnp.sqrt(values.var(0).mean() / (values**2).mean())
