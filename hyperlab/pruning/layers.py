"""The layers that are in the leaves: each copy of a stack by itself, its kernel as reduction by outputs.

Distributions and patterns know kernels `[*window, in, out]` alone. What has other axes (attention, stacks of
`nn.scan`, layouts with the outputs first) is taken apart into such ones and put together again, so that a stack of
layers is pruned as the same layers in a loop are.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from hyperlab import trees
from hyperlab.roles import Role

Leaves = dict[str, np.ndarray]
Shape = tuple[int, ...]


class Layers(NamedTuple):
    """How leaves are taken apart.

    Attributes:
      shapes: of the leaves, by path.
      orders: of each leaf that is changed, its axes in the order copies, reduction, outputs.
      parts: of each such leaf, the shape of one copy's part.
    """

    shapes: dict[str, Shape]
    orders: dict[str, Shape]
    parts: dict[str, Shape]

    def names(self, path: str) -> list[str]:
        """The names of a leaf's parts: its path, or that with a number where there are several.

        >>> of({"a": (2, 3)}, {"a": Role("bias", ("copy", "out"))}).names("a")
        ['a[0]', 'a[1]']
        """
        copies = math.prod(self.shapes[path]) // max(1, math.prod(self.parts.get(path, self.shapes[path])))
        return [path] if copies == 1 else [f"{path}[{index}]" for index in range(copies)]

    def apart(self, leaves: Mapping[str, np.ndarray]) -> Leaves:
        """The parts of leaves, by name."""
        found: Leaves = {}
        for path, leaf in leaves.items():
            if path in self.orders:
                rows = leaf.transpose(self.orders[path]).reshape(-1, *self.parts[path])
                found |= dict(zip(self.names(path), rows, strict=True))
            else:
                found[path] = leaf
        return found

    def together(self, parts: Mapping[str, np.ndarray], paths: Any) -> Leaves:
        """The leaves at these paths, from their parts."""
        found = {}
        for path in paths:
            order, shape = self.orders.get(path), self.shapes[path]
            if order is None:
                found[path] = parts[path].reshape(shape)
            else:
                rows = np.stack([parts[name] for name in self.names(path)])
                found[path] = rows.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))
        return found

    def spread(self, fractions: Any) -> dict[str, float]:
        """Fractions by path, or a tree of them, given to every part of each leaf."""
        flat = trees.flatten(fractions)  # a mapping by slash path flattens to itself
        parts = {name: flat[path] for path in self.shapes if path in flat for name in self.names(path)}
        return {**flat, **parts}


def of(shapes: Mapping[str, Shape], roles: Mapping[str, Role], needed: bool = False) -> Layers:
    """How to take leaves apart.

    Args:
      shapes: of the leaves, by path.
      roles: of the leaves, by path.
      needed: whether the axes of kernels are needed; otherwise a leaf whose axes are undecided is one layer.

    Raises:
      ConfigError: the axes are needed and undecided; the leaf is named, and how to say them.

    >>> layers = of({"a": (2, 4, 3)}, {"a": Role("kernel", ("copy", "out", "in"))})
    >>> {name: part.shape for name, part in layers.apart({"a": np.ones((2, 4, 3))}).items()}
    {'a[0]': (3, 4), 'a[1]': (3, 4)}
    """
    orders, parts = {}, {}
    for path, shape in shapes.items():
        role = roles[path]
        if role.kind == "other" or (role.undecided and not needed):
            continue
        order = (*role.stacked, *role.window, *role.inputs, *role.outputs)
        part = tuple(shape[axis] for axis in order[len(role.stacked) :])
        if role.is_matrix:
            inputs, outputs = (math.prod(shape[axis] for axis in axes) for axes in (role.inputs, role.outputs))
            part = (*(shape[axis] for axis in role.window), inputs, outputs)
        if part != shape or order != tuple(range(len(shape))):
            orders[path], parts[path] = order, part
    return Layers(dict(shapes), orders, parts)


def without_layers(shapes: Mapping[str, Shape]) -> Layers:
    """Every leaf as it is: for what ranks single entries of all leaves together."""
    return Layers(dict(shapes), {}, {})
