"""Where every leaf of a primary's parameters is: from leaves by path to the primary's own tree, and back.

The tree that a primary's `init` gives may be of any structure: lists of `(W, b)`, named tuples, one array, modules of
other libraries. Leaves are shown, selected and matched by slash path; the way back is the tree's own structure, and
parts of it (theta0, the ordinary leaves) are nested dicts by the keys of each level.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
from jaxtyping import PyTree

from hyperlab import trees


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
    """The structure of a parameter tree.

    Attributes:
      structure: the tree's own.
      keys: the keys of each leaf, one for each level.
      paths: the slash path of each leaf; no two are alike.
      fixed: what is no parameter, by path: functions, names, Python integers and truth values, and every leaf of an
        Equinox module that is no array. It is carried here, as `init` gave it, and is in no variables.

    >>> layout = Layout.of([{"w": jax.numpy.ones(2), "activation": jax.nn.relu}])
    >>> layout.paths, list(layout.fixed)
    (('0/activation', '0/w'), ['0/activation'])
    >>> leaves = layout.read([{"w": 1.0, "activation": jax.nn.relu}])
    >>> leaves, layout.part(leaves), layout.build(leaves)[0]["w"]
    ({'0/w': 1.0}, {'0': {'w': 1.0}}, 1.0)
    """

    structure: Any
    keys: tuple[trees.Keys, ...]
    paths: tuple[str, ...]
    fixed: dict[str, Any]

    @classmethod
    def of(cls, tree: PyTree) -> "Layout":
        """The layout of a tree of arrays (or their shapes) and whatever else `init` put there.

        Raises:
          ParameterTreeError: two leaves have the same keys.
        """
        leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
        keys = tuple(trees.keys_of(path) for path, _ in leaves)
        paths = tuple(trees.paths_of(keys))
        within = _equinox_leaves(tree)
        fixed = {
            path: leaf
            for index, (path, (_, leaf)) in enumerate(zip(paths, leaves, strict=True))
            if not hasattr(leaf, "dtype") and (index in within or not isinstance(leaf, float | complex))
        }
        return cls(structure, keys, paths, fixed)

    def read(self, tree: PyTree) -> dict[str, Any]:
        """The parameters of a tree of this layout, or of a part of one, by path; an unknown leaf has its own."""
        known = dict(zip(self.keys, self.paths, strict=True))
        leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
        by_path = {}
        for path, leaf in leaves:
            keys = trees.keys_of(path)
            by_path[known.get(keys, "/".join(keys))] = leaf
        return {path: leaf for path, leaf in by_path.items() if path not in self.fixed}

    def part(self, leaves: Mapping[str, Any]) -> dict[str, Any]:
        """Some leaves by path as nested dicts: by the keys of each, so that a slash inside a key stays there."""
        return trees.nest_keys(
            {keys: leaves[path] for keys, path in zip(self.keys, self.paths, strict=True) if path in leaves}
        )

    def build(self, leaves: Mapping[str, Any]) -> PyTree:
        """The tree as the primary has it, of all its parameters by path."""
        given = {**self.fixed, **leaves}
        return jax.tree.unflatten(self.structure, [given[path] for path in self.paths])


def is_equinox(value: Any) -> bool:
    """Whether a value is an Equinox module, or a class of them, found without importing Equinox."""
    classes = value.__mro__ if isinstance(value, type) else type(value).__mro__
    return any(c.__name__ == "Module" and c.__module__.split(".")[0] == "equinox" for c in classes)


def _equinox_leaves(tree: PyTree) -> set[int]:
    """Numbers of the leaves that are inside of an Equinox module."""
    found, index = set(), 0
    for node in jax.tree.leaves(tree, is_leaf=is_equinox):
        size = len(jax.tree.leaves(node)) if is_equinox(node) else 1
        found |= set(range(index, index + size)) if is_equinox(node) else set()
        index += size
    return found
