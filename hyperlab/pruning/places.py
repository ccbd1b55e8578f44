"""Places on the axes of arrays, and where operations that move them put them.

Each place has a number. Where the program itself says how long an axis is, or where to cut it, its places stay.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Int

# What else a place can be: one that stays as it is, and one of an axis along which nothing changes.
STAYS, FREE = 0, -1


class Value(NamedTuple):
    """What is known of an array.

    Attributes:
      axes: for each axis the number of each place.
      data: whether it depends on the inputs.
    """

    axes: tuple[Int[np.ndarray, " places"], ...]
    data: bool


def staying(shape: tuple[int, ...], data: bool = False) -> Value:
    """An array of whose places none can be removed; an axis of one place is free."""
    return Value(tuple(np.full(size, STAYS if size > 1 else FREE) for size in shape), data)


class Meetings(Protocol):
    """What notes which places meet."""

    def join(self, first: np.ndarray, second: np.ndarray) -> np.ndarray: ...

    def stay(self, numbers: np.ndarray) -> None: ...

    def elementwise(self, operands: list[Value], data: bool) -> Value: ...


def spread_of(numbers: np.ndarray, size: int) -> np.ndarray:
    """An axis of one place is repeated where the other has more."""
    return numbers if len(numbers) == size else np.full(size, FREE)


# -- operations that move places ----------------------------------------------------------------------------------


def _transpose(walk: Meetings, equation: Any, operands: list[Value]) -> list[np.ndarray]:
    return [operands[0].axes[axis] for axis in equation.params["permutation"]]


def _broadcast(walk: Meetings, equation: Any, operands: list[Value]) -> list[np.ndarray]:
    shape, value = equation.params["shape"], operands[0]
    axes = [np.full(size, FREE) for size in shape]
    for numbers, axis in zip(value.axes, equation.params["broadcast_dimensions"], strict=True):
        axes[axis] = spread_of(numbers, shape[axis])
    return axes


def _squeeze(walk: Meetings, equation: Any, operands: list[Value]) -> list[np.ndarray]:
    gone = equation.params["dimensions"]
    return [numbers for axis, numbers in enumerate(operands[0].axes) if axis not in gone]


def _cut(walk: Meetings, equation: Any, operands: list[Value]) -> list[np.ndarray]:
    """Slices and padding: an axis that changes does so by numbers that are written in the program."""
    shape = equation.outvars[0].aval.shape
    same = [len(numbers) == size for numbers, size in zip(operands[0].axes, shape, strict=True)]
    if equation.primitive.name == "pad":
        same = [config == (0, 0, 0) for config in equation.params["padding_config"]]
    changed = {axis: np.zeros(shape[axis], int) for axis, is_same in enumerate(same) if not is_same}
    return _only(walk, changed, operands[0])


def _reverse(walk: Meetings, equation: Any, operands: list[Value]) -> list[np.ndarray]:
    changed = {axis: np.zeros(len(operands[0].axes[axis]), int) for axis in equation.params["dimensions"]}
    return _only(walk, changed, operands[0])


def _concatenate(walk: Meetings, equation: Any, operands: list[Value]) -> list[np.ndarray]:
    joined = equation.params["dimension"]
    axes = list(walk.elementwise([Value(_without(o.axes, joined), o.data) for o in operands], False).axes)
    axes.insert(joined, np.concatenate([operand.axes[joined] for operand in operands]))
    return axes


def _reshape(walk: Meetings, equation: Any, operands: list[Value]) -> list[np.ndarray] | None:
    """Axes that are merged or split: a place keeps its number on the one axis of the result that it is on."""
    before, after = operands[0], equation.outvars[0].aval.shape
    if equation.params.get("dimensions") is not None:
        return None
    axes: list[np.ndarray] = []
    for old, new in _blocks(tuple(len(numbers) for numbers in before.axes), after):
        numbers = [before.axes[axis] for axis in old]
        sizes = [after[axis] for axis in new]
        moving = [n for n in numbers if (n > STAYS).any()]
        # Activations that are split into groups of channels are so by numbers that are written in the program.
        split = before.data and math.prod(sizes[:-1]) > 1
        if len(moving) > 1 or (moving and split):
            for n in moving:
                walk.stay(n)
            moving = []
        if not moving:
            free = all((n == FREE).all() for n in numbers)
            axes += [np.full(size, FREE if free or size == 1 else STAYS) for size in sizes]
            continue
        index = next(i for i, n in enumerate(numbers) if n is moving[0])
        shape = [len(n) if i == index else 1 for i, n in enumerate(numbers)]
        spread = np.broadcast_to(moving[0].reshape(shape), [len(n) for n in numbers]).reshape(sizes)
        axes += _along(walk, spread)
    return axes


def _along(walk: Meetings, spread: np.ndarray) -> list[np.ndarray]:
    """The axis on which numbers differ, if they do so on one alone."""
    axes = [np.full(size, STAYS if size > 1 else FREE) for size in spread.shape]
    for axis in range(spread.ndim):
        line = np.moveaxis(spread, axis, -1).reshape(-1, spread.shape[axis])
        if (line == line[0]).all():
            axes[axis] = line[0]
            return axes
    walk.stay(spread.ravel())
    return axes


def _blocks(before: tuple[int, ...], after: tuple[int, ...]) -> Iterator[tuple[list[int], list[int]]]:
    """Runs of axes of two shapes with as many entries, as short as possible: pairs of lists of axes."""
    old: list[int] = []
    new: list[int] = []
    i = j = 0
    while i < len(before) or j < len(after):
        sizes = math.prod(before[a] for a in old), math.prod(after[a] for a in new)
        if old and new and sizes[0] == sizes[1] and not (i == len(before) and after[j] == 1):
            yield old, new
            old, new = [], []
        elif i < len(before) and (not old or (new and sizes[0] < sizes[1])):
            old, i = [*old, i], i + 1
        elif j < len(after):
            new, j = [*new, j], j + 1
        else:  # axes of one place are left
            old, i = [*old, i], i + 1
    yield old, new


def _only(walk: Meetings, changed: dict[int, np.ndarray], value: Value) -> list[np.ndarray]:
    """The axes with some replaced, whose places stay."""
    for axis in changed:
        walk.stay(value.axes[axis])
    return [changed.get(axis, numbers) for axis, numbers in enumerate(value.axes)]


def _without(axes: tuple[np.ndarray, ...], gone: int) -> tuple[np.ndarray, ...]:
    return tuple(numbers for axis, numbers in enumerate(axes) if axis != gone)


MOVES = {
    "transpose": _transpose,
    "broadcast_in_dim": _broadcast,
    "squeeze": _squeeze,
    "slice": _cut,
    "pad": _cut,
    "rev": _reverse,
    "concatenate": _concatenate,
    "reshape": _reshape,
}
