"""Measurements of registrations of held-out pairs at some weights, and the pair that figures show."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab.models.voxelmorph import Registration
from hyperlab.nn.spatial_transformer import warp, warp_labels
from hyperlab.registration.measurements import by_subject
from hyperlab.registration.pairs import PairDataset, PairSplit
from hyperlab.train import groups
from hyperlab.train.units import Measurements

Register = Callable[[float, np.ndarray, np.ndarray], Registration]  # (weight, moving, fixed)


def by_weight(
    register: Register, measure: Callable, split: PairSplit, weights: Sequence[float], batch: int
) -> Measurements:
    """What registrations of all pairs of a split are worth, subject by subject: `[weights, subjects, ...]`."""
    measured = []
    for weight in weights:
        chunks = []
        for rows in _chunks(split, batch):
            pairs = groups.deal(_pairs(split, rows))
            chunks.append(jax.device_get(measure(register(weight, pairs["moving"], pairs["fixed"]), pairs)))
        measured.append({key: np.concatenate([c[key] for c in chunks])[: len(split)] for key in chunks[0]})
    per_pair = {key: np.stack([one[key] for one in measured]) for key in measured[0]}
    return by_subject(per_pair, split.groups) | {"weight": np.array(weights, np.float64)}


def example(register: Register, data: PairDataset, weights: Sequence[float], batch: int) -> Measurements:
    """The first test pair at each weight, for figures; of a volume, the middle slice of the first axis."""
    pairs = _pairs(data.test, np.zeros(groups.even(min(batch, len(data.test))), int))
    shown: dict[str, list] = {"moved": [], "moved_labels": [], "displacement": []}
    for weight in weights:
        displacement = register(weight, pairs["moving"], pairs["fixed"]).displacement[:1]
        labels = warp_labels(
            jnp.asarray(pairs["moving_labels"][:1]), displacement, method="linear", classes=len(data.classes)
        )
        shown["moved"].append(warp(jnp.asarray(pairs["moving"][:1]), displacement)[0, ..., 0])
        shown["moved_labels"].append(labels[0])
        shown["displacement"].append(displacement[0])
    result = {key: np.stack([_slice(x, key == "displacement") for x in values]) for key, values in shown.items()}
    result |= {key: _slice(pairs[key][0, ..., 0]) for key in ("moving", "fixed")}
    result |= {key: _slice(pairs[key][0]) for key in ("moving_labels", "fixed_labels")}
    return {f"example/{key}": value for key, value in result.items()}


def _chunks(split: PairSplit, batch: int) -> Iterator[np.ndarray]:
    """Rows of equally many pairs; the last ones are filled up with the first pair, which is cut off later."""
    size = groups.even(min(batch, len(split)))
    for start in range(0, len(split), size):
        rows = np.arange(start, start + size)
        yield np.where(rows < len(split), rows, 0)


def _pairs(split: PairSplit, rows: np.ndarray) -> dict[str, np.ndarray]:
    moving, fixed = split.pairs[rows].T
    pairs = {"moving": split.moving(rows), "fixed": split.fixed(rows)}
    pairs |= {"moving_labels": split.labels[moving], "fixed_labels": split.labels[fixed]}
    return pairs | ({} if split.fields is None else {"field": split.fields[rows]})


def _slice(values: Any, components: bool = False) -> np.ndarray:
    """A plane as it is; of a volume, the middle of its first axis, with the components that lie in it."""
    values = np.asarray(values)
    if values.ndim - components == 2:
        return values
    values = values[values.shape[0] // 2]
    return values[..., 1:] if components else values
