"""The score of tasks that end in label maps: the mean Dice of subjects and foreground classes at each gamma."""

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab.metrics import segmentation


def mean_dice(counts: segmentation.Counts, subjects: jax.Array) -> jax.Array:
    """Dice at each gamma: voxels pooled by subject, then the mean over subjects, then over classes.

    Args:
      counts: int `[gammas, n, classes - 1]` of images or pairs.
      subjects: int `[n]`, from 0 to n - 1 at most.

    Returns:
      `[gammas]`; a class that is absent from a subject in truth and prediction is left out of its mean.

    >>> found, missed = jnp.array([[[2, 0], [1, 0], [0, 0]]]), jnp.array([[[0, 0], [2, 0], [3, 0]]])
    >>> dice = mean_dice(segmentation.Counts(found, 0 * found, missed, found), jnp.array([0, 0, 1]))
    >>> round(float(dice[0]), 3)
    0.375
    """

    def pooled(column: jax.Array) -> jax.Array:
        return jax.ops.segment_sum(column, subjects, len(subjects))

    dice = segmentation.dice_of(segmentation.Counts(*(jax.vmap(pooled)(column) for column in counts)))
    return jnp.nanmean(jnp.nanmean(dice, axis=1), axis=1)  # numbers without a subject have no pixels: they are NaN


def at_each(gammas: np.ndarray, dice: jax.Array) -> dict[str, jax.Array]:
    """Dice by name of its gamma; one value, of a network that is the same at all gammas, is theirs.

    >>> sorted(at_each(np.array([[0.1], [0.5]]), jnp.array([0.7])))
    ['dice_at_0.1', 'dice_at_0.5']
    """
    values = jnp.broadcast_to(dice, (len(gammas),))
    return {f"dice_at_{gamma:.3g}": value for (gamma,), value in zip(gammas.tolist(), values, strict=True)}
