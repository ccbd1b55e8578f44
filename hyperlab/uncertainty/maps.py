"""Maps of what a network does not know, from the moments of its samples.

Total uncertainty is the entropy of the mean probability. It is the mean entropy of single samples (aleatoric: each
network of the posterior is unsure itself) plus the mutual information of class and sample (epistemic: they disagree).
The covariance of the predicted class splits likewise, and the traces of both parts are given.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hyperlab.uncertainty.moments import Moments, entropy


class Maps(NamedTuple):
    """Float32; all but the mean are `[batch, *spatial]`.

    Attributes:
      mean: the mean probability, `[batch, *spatial, class]`.
      total: its entropy, in nats: 0 to ln(classes).
      aleatoric: the mean entropy of the samples, in nats.
      epistemic: the mutual information of class and sample, in nats: total minus aleatoric, not below 0.
      variance: the trace of the covariance of the samples (with 1/T): the sum over classes of the variance of their
        probabilities. Of two classes it is twice the variance of either's.
      aleatoric_variance: the mean over samples of sum_c p_c (1 - p_c). Both sum to the variance of the class,
        sum_c mean_c (1 - mean_c).
      variation_ratio: the share of samples that do not vote for the class with most votes.
    """

    mean: Float[Array | np.ndarray, "batch *spatial class"]
    total: Float[Array | np.ndarray, " batch *spatial"]
    aleatoric: Float[Array | np.ndarray, " batch *spatial"]
    epistemic: Float[Array | np.ndarray, " batch *spatial"]
    variance: Float[Array | np.ndarray, " batch *spatial"]
    aleatoric_variance: Float[Array | np.ndarray, " batch *spatial"]
    variation_ratio: Float[Array | np.ndarray, " batch *spatial"]


def maps(moments: Moments) -> Maps:
    """The maps of some samples; of a single one, all epistemic ones are 0.

    Args:
      moments: of one sample at least; none gives NaN.

    >>> from hyperlab.uncertainty.moments import from_stacked
    >>> found = maps(from_stacked(jnp.array([[[0.1, 0.9]], [[0.9, 0.1]]])))
    >>> [round(float(value[0]), 6) for value in (found.total, found.aleatoric, found.epistemic)]
    [0.693147, 0.325083, 0.368064]
    >>> round(float(found.variance[0]), 6), round(float(found.aleatoric_variance[0]), 6)
    (0.32, 0.18)

    (Mutual information: Houlsby et al., 2011, arXiv 1112.5745. Two kinds of uncertainty in images: Kendall and Gal,
    2017, arXiv 1703.04977. Covariances: Kwon et al., 2020, "Uncertainty quantification using Bayesian neural networks
    in classification".)
    """
    count, mean = moments.count, moments.mean
    total, aleatoric = entropy(mean), moments.entropy / count
    # one sample is its own mean: what rounding leaves is not disagreement
    several = count > 1
    variance = jnp.where(several, moments.deviations.sum(-1) / count, 0)
    return Maps(
        mean=mean,
        total=total,
        aleatoric=aleatoric,
        epistemic=jnp.where(several, jnp.maximum(total - aleatoric, 0), 0),
        variance=variance,
        aleatoric_variance=jnp.maximum((mean * (1 - mean)).sum(-1) - variance, 0),
        variation_ratio=1 - moments.votes.max(-1) / count,
    )
