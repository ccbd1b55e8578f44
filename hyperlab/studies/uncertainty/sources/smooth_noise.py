"""The uninformative baseline: smooth noise on the logit of one pass, as diverse as another arm's draws."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab import trees
from hyperlab.data.splits import fingerprint
from hyperlab.errors import ConfigError
from hyperlab.in_context.stochastic import matching_scale, smooth_noise
from hyperlab.metrics.candidates import sample_diversity
from hyperlab.studies.uncertainty.cells import VALIDATION, Cell, Setting
from hyperlab.studies.uncertainty.sources.base import Problem, check_one_foreground
from hyperlab.studies.uncertainty.sources.unet import OnePass
from hyperlab.train.phases import REPORT
from hyperlab.uncertainty.samplers import Sampler

LOUDEST = 1000.0  # scale of noise beside which no logit counts


class SmoothNoise(OnePass):
    """One pass of a U-Net, and noise on its logit that knows nothing of the image; its aux_input is the scale."""

    how = (
        "nothing is dropped; smooth noise on the logit of one pass, as diverse on the validation split as Tyche's "
        "candidates; several draws"
    )
    draws = True

    def remark(self, config: Any) -> str:
        """What it is for."""
        return (
            "Smooth noise is the uninformative baseline for Tyche: the network without dropout, whose logits get noise "
            "of the scale at which two draws differ on the validation split as much as two candidates of Tyche of the "
            "same seed."
        )

    def check(self, problem: Problem) -> None:
        """One logit a pixel."""
        check_one_foreground("smooth noise", problem)

    def sampler(self, params: Any, aux_inputs: Any) -> Sampler:
        """The logit of the foreground plus the scale times noise of variance 1."""

        def draw(key: jax.Array, images: jax.Array) -> jax.Array:
            logits: Any = self.network.apply({"params": params}, images)
            noise = smooth_noise(key, images.shape[:-1], self.problem.config.noise.smoothness)
            return (logits[..., 1] - logits[..., 0] + aux_inputs * noise)[..., None]

        return draw

    def aux_inputs(self, study: Any, cell: Cell, setting: Setting, params: Any, seed: int) -> np.ndarray:
        """The scale at which noise is as diverse on the validation split as the draws of the arm that it is like."""
        other, rate = cast("tuple[Cell, float]", setting.like)

        def compute() -> dict[str, np.float32]:
            images, draws = study.data.evaluated[VALIDATION].images, study.config.draws[-1]
            theirs = study.params(other, study.network(other, rate, seed, REPORT))
            masks = study.answers(other, Setting(rate), [theirs], images, seed, (draws,))[1]
            wanted = float(sample_diversity(jnp.asarray(masks), unbiased=True).mean())
            probabilities = study.programs.predict(self, params, images)[..., 1:]
            key, smoothness = study.key("scale", seed), study.config.noise.smoothness
            try:
                scale = matching_scale(key, probabilities, wanted, count=draws, smoothness=smoothness)
            except ConfigError:  # masks of noise alone are less diverse, which an untrained network's can be
                scale = LOUDEST
            return {"scale": np.float32(scale), "diversity": np.float32(wanted)}

        leaves = [np.asarray(leaf) for leaf in trees.flatten(params).values()]
        further = {"network": fingerprint(*leaves), "other": list(other), "rate": rate}
        return study.files.measure(cell.scale_name(seed), compute, further=further)["scale"]
