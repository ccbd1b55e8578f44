"""Pytrees by name: slash paths, ordered glob patterns, and messages about what differs.

Names select and patterns group everywhere in hyperlab: which leaves are generated, frozen, decayed,
sharded or pruned is always an ordered list of glob patterns on slash paths such as
`encoder/conv_0/kernel`. `*` matches within one path part, `**` any number of parts.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import jax

from hyperlab.errors import ParameterTreeError, PatternError, nearest

PyTree = Any


def path_of(keys: Sequence[Any]) -> str:
    """The slash path of one leaf, from the key tuple of `jax.tree_util`."""
    return jax.tree_util.keystr(tuple(keys), simple=True, separator="/")


def flatten(tree: PyTree) -> dict[str, Any]:
    """A tree's leaves by slash path, in the order of `jax.tree.leaves`.

    >>> flatten({"b": {"w": 1}, "a": 2})
    {'a': 2, 'b/w': 1}
    """
    return {path_of(keys): leaf for keys, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


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


def nest(leaves: dict[str, Any]) -> dict:
    """Plain nested dicts from leaves by slash path.

    >>> nest({"a": 2, "b/w": 1})
    {'a': 2, 'b': {'w': 1}}
    """
    tree: dict = {}
    for path, leaf in leaves.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = leaf
    return tree


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern:
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


def check_same(given: PyTree, expected: PyTree, what: str, error: type[Exception] = ParameterTreeError):
    """Refuses a tree whose paths or shapes differ from the expected ones, naming each difference.

    Args:
      given: a tree of arrays.
      expected: a tree of arrays or `jax.ShapeDtypeStruct`.
      what: the subject of the message, for instance `"pretrained parameters"`.
      error: the exception class to raise.
    """
    have, want = flatten(given), flatten(expected)
    problems = [f"missing {path!r} {tuple(want[path].shape)}" for path in want if path not in have]
    problems += [f"unexpected {path!r} ({nearest(path, want)})" for path in have if path not in want]
    problems += [
        f"{path!r} has shape {tuple(have[path].shape)}, expected {tuple(want[path].shape)}"
        for path in want
        if path in have and tuple(have[path].shape) != tuple(want[path].shape)
    ]
    if problems:
        shown = "; ".join(problems[:10]) + (f"; and {len(problems) - 10} more" if len(problems) > 10 else "")
        raise error(f"{what} do not fit: {shown}")


def count(tree: PyTree) -> int:
    """How many numbers a tree of arrays (or shapes) holds."""
    return sum(int(leaf.size) for leaf in jax.tree.leaves(tree))
