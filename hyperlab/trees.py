"""Pytrees by name: slash paths, ordered glob patterns, and messages about what differs.

Names select and patterns group everywhere in hyperlab: which leaves are generated, frozen, decayed,
sharded or pruned is always an ordered list of glob patterns on slash paths such as
`encoder/conv_0/kernel`. `*` matches within one path part, `**` any number of parts.

A path is for showing, selecting and matching. The way back to a tree is its own structure (`unflatten`,
`Layout`), never the path: a key may hold a slash itself (`mlp/~/linear_0`).
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from hyperlab.errors import ParameterTreeError, PatternError, nearest

Keys = tuple[str, ...]


def path_of(keys: Sequence[Any]) -> str:
    """The slash path of one leaf, from the key tuple of `jax.tree_util`."""
    return jax.tree_util.keystr(tuple(keys), simple=True, separator="/")


def keys_of(keys: Sequence[Any]) -> Keys:
    """The same key tuple as strings, one for each level: slashes inside a key stay inside.

    >>> keys_of((jax.tree_util.DictKey("mlp/~/linear_0"), jax.tree_util.SequenceKey(1)))
    ('mlp/~/linear_0', '1')
    """
    return tuple(path_of((key,)) for key in keys)


def paths_of(leaves: Sequence[Keys]) -> list[str]:
    """A slash path for each leaf of a tree, no two alike.

    Where two leaves would share one (`{"a": {"b": ...}, "a/b": ...}`), a slash inside a key is written `%2F`.

    Raises:
      ParameterTreeError: two leaves have the same keys: of one node, `1` and `"1"`.

    >>> paths_of([("a", "b"), ("a/b",), ("c/d",)])
    ['a/b', 'a%2Fb', 'c/d']
    """
    plain = ["/".join(keys) for keys in leaves]
    shared = {path for path, times in Counter(plain).items() if times > 1}
    if not shared:
        return plain
    paths = [_escaped(keys) if path in shared else path for keys, path in zip(leaves, plain, strict=True)]
    if len(set(paths)) < len(paths):
        paths = [_escaped(keys) for keys in leaves]
    for path, times in Counter(paths).items():
        if times > 1:
            raise ParameterTreeError(f"{times} leaves of the tree are called {path!r}; rename all but one of them")
    return paths


def _escaped(keys: Keys) -> str:
    return "/".join(key.replace("%", "%25").replace("/", "%2F") for key in keys)


def flatten(tree: PyTree) -> dict[str, Any]:
    """A tree's leaves by slash path (see `paths_of`), in the order of `jax.tree.leaves`.

    >>> flatten({"b": {"w": 1}, "a": 2})
    {'a': 2, 'b/w': 1}
    """
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    paths = paths_of([keys_of(keys) for keys, _ in leaves])
    return {path: leaf for path, (_, leaf) in zip(paths, leaves, strict=True)}


def unboxed(tree: PyTree) -> PyTree:
    """The tree without the boxes that Flax puts around arrays: variables in an `nnx.State`, partitioning of Linen.

    A box is one more level of a tree, `kernel/value`, and no part of what the array is called.

    >>> import flax.linen as nn
    >>> unboxed({"kernel": nn.Partitioned(1, names=("in",)), "bias": 2})
    {'bias': 2, 'kernel': 1}
    """
    return jax.tree.map(lambda node: _opened(node) if _is_box(node) else node, tree, is_leaf=_is_box)


def _is_box(node: Any) -> bool:
    classes = type(node).__mro__  # NNX takes long to import
    return any(c.__name__ in ("AxisMetadata", "Variable") and c.__module__.startswith("flax.") for c in classes)


def _opened(box: Any) -> Any:
    return box.unbox() if hasattr(box, "unbox") else box.get_value()


def unflatten(leaves: dict[str, Any], like: PyTree) -> PyTree:
    """Puts leaves by slash path back into the structure of `like`.

    Raises:
      ParameterTreeError: a path is missing or unknown.
    """
    paths = list(flatten(like))
    if set(paths) != set(leaves):
        missing, extra = set(paths) - set(leaves), set(leaves) - set(paths)
        raise ParameterTreeError(f"missing {sorted(missing)}, unexpected {sorted(extra)}")
    return jax.tree.unflatten(jax.tree.structure(like), [leaves[path] for path in paths])


def nest(leaves: Mapping[str, Any], keys: Mapping[str, Sequence[str]] | None = None) -> dict[str, Any]:
    """Plain nested dicts from leaves by slash path.

    Args:
      leaves: by path.
      keys: the keys of the leaves whose path does not tell them, as `odd_keys` lists them; every other path is
        cut at its slashes.

    Raises:
      ParameterTreeError: a path leads through a leaf.

    >>> nest({"a": 2, "b/w": 1})
    {'a': 2, 'b': {'w': 1}}
    >>> nest({"mlp/~/0/w": 1}, {"mlp/~/0/w": ["mlp/~/0", "w"]})
    {'mlp/~/0': {'w': 1}}
    """
    keys = keys or {}
    return nest_keys({tuple(keys.get(path, path.split("/"))): leaf for path, leaf in leaves.items()})


def nest_keys(leaves: Mapping[Keys, Any]) -> dict[str, Any]:
    """Plain nested dicts from leaves by their keys, one for each level; a leaf without keys is the tree.

    >>> nest_keys({("a/b", "w"): 1, ("c",): 2}), nest_keys({(): 3})
    ({'a/b': {'w': 1}, 'c': 2}, 3)
    """
    if list(leaves) == [()]:
        return leaves[()]
    tree: dict[str, Any] = {}
    for keys, leaf in leaves.items():
        node = tree
        for key in keys[:-1]:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise ParameterTreeError(f"{'/'.join(keys)!r} leads through the leaf {key!r}; rename one of them")
        if keys[-1] in node:
            raise ParameterTreeError(f"{'/'.join(keys)!r} is a leaf and a folder of leaves; rename one of them")
        node[keys[-1]] = leaf
    return tree


def odd_keys(tree: PyTree) -> dict[str, list[str]]:
    """The keys of the leaves whose path, cut at its slashes, would not give them back: what a file has to note.

    >>> odd_keys({"mlp/~/0": {"w": 1}, "head": {"w": 2}})
    {'mlp/~/0/w': ['mlp/~/0', 'w']}
    """
    keys = [keys_of(keys) for keys, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    return {path: list(own) for path, own in zip(paths_of(keys), keys, strict=True) if tuple(path.split("/")) != own}


def stored_keys(keys: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Keys for nested dicts in an orbax checkpoint: those that are given, or numbers where orbax could not hold them.

    Orbax 0.12 joins keys with dots, and of `{"a.b": ..., "a": {"b": ...}}` silently keeps one leaf for both.

    Args:
      keys: of each leaf, by path.

    >>> stored_keys({"a/b": ["a", "b"]}), stored_keys({"a/b": ["a", "b"], "a.b": ["a.b"]})
    ({'a/b': ['a', 'b']}, {'a/b': ['leaf_0'], 'a.b': ['leaf_1']})
    """
    places = [tuple(own) for own in keys.values()]
    through = {place[:length] for place in places for length in range(len(place))}
    if len({".".join(place) for place in places}) == len(places) and not through & set(places):
        return {path: list(own) for path, own in keys.items()}
    return {path: [f"leaf_{index}"] for index, path in enumerate(keys)}


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = []
    for part in re.split(r"(\*\*/|/\*\*$|\*\*|\*|\?)", pattern):
        parts.append(
            {"**/": "(?:.*/)?", "/**": "(?:/.*)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(part) or re.escape(part)
        )
    return re.compile("".join(parts))


def matches(pattern: str, path: str) -> bool:
    """Whether a glob pattern covers a whole slash path.

    >>> matches("**/kernel", "kernel"), matches("conv_*/bias", "conv_1/bias"), matches("a/**", "a/b/c")
    (True, True, True)
    >>> matches("*", "a/b"), matches("conv", "conv/kernel")
    (False, False)
    """
    return _compiled(pattern).fullmatch(path) is not None


def select(paths: Iterable[str], patterns: str | Sequence[str], what: str = "parameters") -> list[str]:
    """The paths that an ordered list of patterns selects; a leading `!` deselects.

    The last pattern that matches a path decides, so `("**", "!classifier/**")` is everything but the
    classifier.

    Args:
      paths: slash paths.
      patterns: one pattern or an ordered list of them.
      what: a noun for the message.

    Returns:
      The selected paths, in the order of `paths`.

    Raises:
      PatternError: a pattern matches nothing; the message names the nearest paths.

    >>> select(["a/kernel", "a/bias", "head/kernel"], ["**/kernel", "!head/**"])
    ['a/kernel']
    """
    paths = list(paths)
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    chosen: dict[str, bool] = dict.fromkeys(paths, False)
    for pattern in patterns:
        keep, glob = not pattern.startswith("!"), pattern.removeprefix("!")
        hits = [path for path in paths if matches(glob, path)]
        if not hits:
            raise PatternError(f"pattern {pattern!r} matches none of the {len(paths)} {what}; {nearest(glob, paths)}")
        chosen.update(dict.fromkeys(hits, keep))
    return [path for path in paths if chosen[path]]


def assign(paths: Iterable[str], rules: Sequence[tuple[str, Any]], default: Any = ...) -> dict[str, Any]:
    """The value of the first rule that matches each path.

    Args:
      paths: slash paths.
      rules: ordered `(pattern, value)` pairs; the first match wins.
      default: the value of a path that no rule covers; without one that is an error.

    Raises:
      PatternError: a path is covered by no rule and there is no default.

    >>> assign(["a/kernel", "a/bias"], [("**/bias", 0), ("**", 1)])
    {'a/kernel': 1, 'a/bias': 0}
    """
    result = {}
    for path in paths:
        for pattern, value in rules:
            if matches(pattern, path):
                result[path] = value
                break
        else:
            if default is ...:
                raise PatternError(f"no rule covers {path!r}; rules: {[p for p, _ in rules]}")
            result[path] = default
    return result


def check_same(given: PyTree, expected: PyTree, what: str, error: type[Exception] = ParameterTreeError) -> None:
    """Refuses a tree whose paths or shapes differ from the expected ones, naming each difference.

    Args:
      given: a tree of arrays.
      expected: a tree of arrays or `jax.ShapeDtypeStruct`.
      what: the subject of the message, for instance `"pretrained parameters"`.
      error: the exception class to raise.
    """
    have, want = flatten(given), flatten(expected)
    problems = [f"missing {path!r} {np.shape(want[path])}" for path in want if path not in have]
    problems += [f"unexpected {path!r} ({nearest(path, want)})" for path in have if path not in want]
    problems += [
        f"{path!r} has shape {np.shape(have[path])}, expected {np.shape(want[path])}"
        for path in want
        if path in have and np.shape(have[path]) != np.shape(want[path])
    ]
    if problems:
        shown = "; ".join(problems[:10]) + (f"; and {len(problems) - 10} more" if len(problems) > 10 else "")
        raise error(f"{what} do not fit: {shown}")


def count(tree: PyTree) -> int:
    """How many numbers a tree of arrays (or shapes) holds; what is no number counts nothing."""
    return sum(math.prod(np.shape(leaf)) for leaf in jax.tree.leaves(tree) if is_array(leaf))


def is_array(leaf: Any) -> bool:
    """Whether a leaf is a number or an array of numbers (or its shape): no function, no name.

    >>> is_array(np.zeros(2)), is_array(1.5), is_array(len), is_array("same")
    (True, True, False, False)
    """
    return hasattr(leaf, "dtype") or isinstance(leaf, bool | int | float | complex)
