"""From measurements of pairs to what a study compares: one value a subject, one loss on a scale for all weights."""

import numpy as np

from hyperlab.train.units import Measurements


def by_subject(per_pair: dict[str, np.ndarray], groups: np.ndarray) -> Measurements:
    """Measurements of subjects from those of pairs: voxels are pooled before Dice is taken, the rest is averaged.

    Args:
      per_pair: `[weights, pairs, ...]`, as `model.measure` gives them.
      groups: `[pairs]`, the subject of each.

    Returns:
      `dice` `[weights, subjects, classes - 1]`, NaN where a class is absent; the rest `[weights, subjects]`; and
      `subject`, which they are.
    """
    subjects = np.unique(groups)
    member = (groups[None, :] == subjects[:, None]).astype(np.float64)  # [subjects, pairs]
    pooled = {
        key: np.einsum("sp,wpc->wsc", member, per_pair[key].astype(np.float64))
        for key in ("true_positive", "false_positive", "false_negative")
    }
    doubled = 2 * pooled["true_positive"]
    whole = doubled + pooled["false_positive"] + pooled["false_negative"]
    result = {"dice": np.where(whole > 0, doubled / np.where(whole > 0, whole, 1), np.nan), "subject": subjects}
    share = member / member.sum(1, keepdims=True)
    return result | {key: values @ share.T for key, values in per_pair.items() if key not in pooled}


def relative_objective(result: Measurements, identity: Measurements) -> np.ndarray:
    """The loss at each weight as a share of the identity's, averaged over subjects: `[weights below 1]`.

    What training minimises, on one scale for all weights: 1 is no registration.
    """
    kept = result["weight"] < 1
    weight = result["weight"][kept, None].astype(np.float64)
    loss = (1 - weight) * result["similarity"][kept] + weight * result["smoothness"][kept]
    # Without a field there is no smoothness term, and the images differ as they do at any weight.
    start = (1 - weight) * identity["similarity"][:1]
    # Similarities may be negative (correlation): the gain in units of the start's size.
    return 1 + ((loss - start) / np.abs(start)).mean(1)
