"""Task and in-task augmentation of episodes, on the device.

Task augmentation makes new tasks: one draw for the query and all of its support set, labels included. In-task
augmentation makes new subjects: a draw of its own for every image. Butoi et al. 2023, arXiv 2304.06131.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from hyperlab import prng
from hyperlab.data.in_context.steps import OWN, STRENGTHS, Draws, Step, in_task_steps, task_steps
from hyperlab.errors import DataError

_TASK, _IN_TASK = task_steps(), in_task_steps()


def task_augment(
    key: jax.Array, images: jax.Array, labels: jax.Array, steps: Sequence[Step] = _TASK
) -> tuple[jax.Array, jax.Array]:
    """One draw for all images of an episode, query and support alike.

    Args:
      key: what is drawn is a function of it.
      images: float `[n, height, width, 1]` in 0..1: the query and its support set.
      labels: float, as the images, in 0..1.
      steps: applied one after the other.

    Returns:
      Images and labels in the same shapes. Labels stay in 0..1 and are soft; images may leave 0..1 by noise.

    Raises:
      DataError: the shapes do not fit.

    >>> images, labels = jnp.zeros((3, 16, 16, 1)), jnp.zeros((3, 16, 16, 1))
    >>> from hyperlab.data.in_context.steps import FlipLabels
    >>> float(task_augment(jax.random.key(0), images, labels, (FlipLabels(p=1.0),))[1].min())
    1.0
    """
    _check(images, labels, 4)
    images, labels = _augment(key, images[None], labels[None], steps)
    return images[0], labels[0]


def in_task_augment(
    key: jax.Array, images: jax.Array, labels: jax.Array, steps: Sequence[Step] = _IN_TASK
) -> tuple[jax.Array, jax.Array]:
    """A draw for every image; of faithful steps the strengths (not the fields, nor whether they fire) are shared.

    The arguments are those of `task_augment`.
    """
    _check(images, labels, 4)
    images, labels = _augment(key, images[:, None], labels[:, None], steps)
    return images[:, 0], labels[:, 0]


def augment_episodes(
    key: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    *,
    in_task: Sequence[Step] = _IN_TASK,
    task: Sequence[Step] = _TASK,
    clip: bool = True,
) -> tuple[jax.Array, jax.Array]:
    """Both augmentations of a batch of episodes, in-task first.

    Args:
      key: for instance folded with the step, so that a resumed run draws the same.
      images: float `[batch, n, height, width, 1]`, the query and its support set.
      labels: float, as the images.
      in_task: steps with a draw for each image; none where empty.
      task: steps with a draw for each episode; none where empty.
      clip: bring images back into 0..1, which noise leaves; the published code does not.

    Returns:
      Images and labels in the same shapes.

    Raises:
      DataError: the shapes do not fit.
    """
    _check(images, labels, 5)
    inside, outside = prng.split(key)
    single = (-1, 1, *images.shape[2:])
    moved, moved_labels = _augment(inside, images.reshape(single), labels.reshape(single), in_task)
    images, labels = _augment(outside, moved.reshape(images.shape), moved_labels.reshape(labels.shape), task)
    return (jnp.clip(images, 0, 1) if clip else images), labels


def _augment(key, images, labels, steps):
    """Steps on `[draws, n, height, width, 1]`: one draw for each of the first axis."""
    if not steps:
        return images, labels
    count = len(images)
    own_key, strength_key, shared_key, field_key = prng.split(key, 4)
    own = prng.uniform(own_key, (count, len(steps), OWN))
    strength = prng.uniform(strength_key, (count, len(steps), STRENGTHS))
    # the published code draws how strong a step is once in a call, for the whole batch
    shared = prng.uniform(shared_key, (1, len(steps), STRENGTHS))
    faithful = jnp.array([step.faithful for step in steps])[None, :, None]
    strength = jnp.where(faithful, shared, strength)
    keys = prng.split(field_key, (count, len(steps)))

    impl = jax.random.key_impl(key)
    images, labels = images[..., 0], labels[..., 0]
    for place, step in enumerate(steps):
        # keys as numbers: where replicas are mapped over, a branch becomes a selection, which uses up its keys twice
        draws = Draws(own[:, place], strength[:, place], jax.random.key_data(keys[:, place]))
        # a step that fires nowhere costs nothing; also, without a border between steps a compiler fuses them and
        # computes one again for every pixel that the next one reads
        images, labels = jax.lax.cond(
            (draws.own[:, 0] < step.p).any(), lambda *old, step=step: _step(step, impl, *old), lambda _, *old: old,
            draws, images, labels,
        )  # fmt: skip
    return images[..., None], labels[..., None]


def _step(step: Step, impl: Any, draws: Draws, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    def one(draws, *old):
        changed = step.change(draws._replace(key=jax.random.wrap_key_data(draws.key, impl=impl)), *old)
        return tuple(jnp.where(draws.own[0] < step.p, a, b) for a, b in zip(changed, old, strict=True))

    return jax.vmap(one)(draws, images, labels)


def _check(images: jax.Array, labels: jax.Array, dims: int) -> None:
    if images.ndim != dims or images.shape != labels.shape or images.shape[-1] != 1:
        shape = "[n, height, width, 1]" if dims == 4 else "[batch, n, height, width, 1]"
        raise DataError(f"images {images.shape} and labels {labels.shape}, expected {shape} of both, the query first")
