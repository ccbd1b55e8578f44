"""Roles of the leaves of a bare tree: names and siblings decide, and a bias says which axes of its kernel are outputs.

A kernel `[3, 4, 4]` beside a bias `[3, 4]` is a stack of three, a kernel `[16, 4, 4]` beside a bias `[4, 4]` a map from
16 inputs to four heads of four. Where sizes leave two readings (`[4, 4, 4]` beside `[4, 4]`), the rest of the tree may
tell whether layers are stacked; where it does not, the role is undecided.

The names are those of Flax (`kernel`, `bias`, `scale`, `embedding`), Haiku (`w`, `b`, `scale`, `offset`, `embeddings`)
and Equinox or PyTorch (`weight`, `bias`, outputs first). An array of two axes or more with another name counts as a
kernel.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp

from hyperlab.roles.role import Role, Shape

Leaves = Mapping[str, Any]
Axes = tuple[str, ...]

BIASES = {"bias": None, "b": "w", "offset": "scale", "beta": "gamma"}  # by name, and what has to be beside it
GAINS = {"scale": None, "gamma": "beta", "weight": "bias"}
NORMS = ("norm", "rms")  # of layers whose only leaf is a vector
EMBEDDINGS = ("emb", "wte", "wpe")
ATTENTION = ("query", "key", "value")
LIFTED = ("scan", "vmap")  # as flax names what it lifts
# Outputs first, in the libraries that call their kernels so.
OUTPUTS_FIRST = "weight"


def by_names(leaves: Leaves, known: Mapping[str, Role] | None = None) -> dict[str, Role]:
    """The role of every leaf, by slash path.

    Args:
      leaves: by slash path, arrays or shapes.
      known: roles that are decided already; they speak for their neighbours.

    >>> shapes = {"a/kernel": (3, 4, 4), "a/bias": (3, 4), "norm/weight": (4,), "norm/bias": (4,)}
    >>> found = by_names({path: jnp.zeros(shape) for path, shape in shapes.items()})
    >>> [str(role) for role in found.values()]
    ['kernel copy in out', 'bias copy out', 'scale out', 'bias out']
    """
    tree, found, readings = _Tree(leaves), dict(known or {}), {}
    kinds = {path: found[path].kind if path in found else _kind(path, tree) for path in leaves}
    for path, shape in tree.shapes.items():
        if path not in found and kinds[path] in ("kernel", "embedding"):
            readings[path] = _readings(path, kinds[path], tree)
            if len(readings[path]) == 1:
                found[path] = Role(kinds[path], readings[path][0])
        elif path not in found:
            found[path] = Role(kinds[path], ("out",) * len(shape))
    stacks = _stacks(found, tree)
    outputs_first = {_outputs_first(role) for path, role in found.items() if _last(path) == OUTPUTS_FIRST} - {None}
    for path, axes in readings.items():
        if path not in found:
            found[path] = _chosen(path, kinds[path], axes, tree, stacks, outputs_first)
    kernels = {_parent(path): found[path] for path, kind in kinds.items() if kind == "kernel"}
    for path, shape in tree.shapes.items():  # a bias has the copies of its kernel
        kernel = kernels.get(_parent(path))
        if kinds[path] == "bias" and path not in (known or {}) and kernel is not None and not kernel.undecided:
            of_bias = tuple(word for word in kernel.axes if word in ("copy", "out"))
            found[path] = Role("bias", of_bias) if len(of_bias) == len(shape) else found[path]
    return found


class _Tree:
    """Shapes and dtypes by path, and the leaves of each layer by name."""

    def __init__(self, leaves: Leaves):
        self.dtypes = {path: leaf.dtype for path, leaf in leaves.items()}
        self.shapes: dict[str, Shape] = {path: tuple(leaf.shape) for path, leaf in leaves.items()}
        self.layers: dict[str, dict[str, Shape]] = {}
        for path, shape in self.shapes.items():
            self.layers.setdefault(_parent(path), {})[_last(path)] = shape

    def beside(self, path: str) -> dict[str, Shape]:
        """Shapes of the leaves of the same layer, by name."""
        return self.layers[_parent(path)]


# -- kinds --------------------------------------------------------------------------------------------------------


def _kind(path: str, tree: _Tree) -> str:
    name, shape, beside = _last(path), tree.shapes[path], tree.beside(path)
    if not jnp.issubdtype(tree.dtypes[path], jnp.inexact):
        return "other"
    if name in BIASES and (BIASES[name] is None or BIASES[name] in beside):
        return "bias"
    if name in GAINS and (GAINS[name] is None or beside.get(GAINS[name] or "", ()) == shape != ()):
        return "scale"
    if name == "weight" and len(shape) == 1 and any(word in _layer(path) for word in NORMS):
        return "scale"
    if len(shape) < 2:
        return "other"
    table = "embedding" in name or (name == OUTPUTS_FIRST and any(word in _layer(path) for word in EMBEDDINGS))
    return "embedding" if table and "bias" not in beside else "kernel"


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _layer(path: str) -> str:
    """The layer's own name, in small letters."""
    return _last(_parent(path)).lower()


# -- how axes may be read -----------------------------------------------------------------------------------------


def _readings(path: str, kind: str, tree: _Tree) -> list[Axes]:
    """What the axes of a kernel may be, by shape, bias and its layer's name; nothing where its bias fits none."""
    shape, name = tree.shapes[path], _last(path)
    rank = len(shape)
    if kind == "embedding":
        return [("copy",) * (rank - 2) + ("in", "out")]
    bias = next((size for other, size in tree.beside(path).items() if other in BIASES and other != name), None)
    bias = bias and (bias if len(bias) < rank else tuple(size for size in bias if size > 1))
    readings = _beside_a_bias(shape, bias) if bias else _alone(rank)
    if name == OUTPUTS_FIRST:
        readings = [*_outputs_first_readings(shape, bias), *readings]
    elif not readings or "transpose" in _layer(path):  # as Haiku's, and as Flax's with `transpose_kernel`
        transposed = (*("window",) * (rank - 2), "out", "in")
        readings = [transposed] if bias and _fits(transposed, shape, bias) else readings
    if not readings:
        return [("in", "out")] if rank == 2 else []
    readings = _as_the_layer_is_called(_layer(path), list(dict.fromkeys(readings)))
    if len(readings) == 1 and _is_attention_output(path, tree):
        readings = [tuple("in" if word == "window" else word for word in readings[0])]
    return readings


def _alone(rank: int) -> list[Axes]:
    """Without a bias: any number of copies, of a convolution or, of three axes, of a map between several axes too."""
    found = []
    for copies in range(rank - 1):
        rest = rank - copies
        several = [("in", "out", "out"), ("in", "in", "out")] if rest == 3 else []
        found += [(*("copy",) * copies, *axes) for axes in [(*("window",) * (rest - 2), "in", "out"), *several]]
    return found


def _beside_a_bias(shape: Shape, bias: Shape) -> list[Axes]:
    """Leading axes that kernel and bias share are copies, the last axes of the bias are the outputs."""
    found = []
    for copies in range(len(bias)):
        outputs = len(bias) - copies
        inputs = len(shape) - len(bias)
        middle = ("window",) * (inputs - 1) + ("in",) if outputs == 1 else ("in",) * inputs
        axes = (*("copy",) * copies, *middle, *("out",) * outputs)
        if inputs > 0 and _fits(axes, shape, bias):
            found.append(axes)
    return found


def _outputs_first_readings(shape: Shape, bias: Shape | None) -> list[Axes]:
    found = []
    for copies in range(len(shape) - 1):
        axes = (*("copy",) * copies, "out", "in", *("window",) * (len(shape) - copies - 2))
        if bias is None or _fits(axes, shape, bias):
            found.append(axes)
    transposed = ("in", "out", *("window",) * (len(shape) - 2))  # of PyTorch
    return found or [axes for axes in [transposed] if bias and len(shape) > 2 and _fits(axes, shape, bias)]


def _fits(axes: Axes, shape: Shape, bias: Shape) -> bool:
    """Whether a bias has the kernel's copies and outputs; Equinox writes `[out, 1, 1]` for images."""
    expected = tuple(size for word, size in zip(axes, shape, strict=True) if word in ("copy", "out"))
    return bias[: len(expected)] == expected and all(size == 1 for size in bias[len(expected) :])


def _as_the_layer_is_called(layer: str, readings: list[Axes]) -> list[Axes]:
    """Those that the name of the layer allows: `Conv_0`, `Dense_0`, `linear`."""
    if "conv" in layer:
        allowed = [axes for axes in readings if "window" in axes or len(axes) == 2]
    elif ("dense" in layer or "linear" in layer) and "general" not in layer:
        allowed = [axes for axes in readings if "window" not in axes and axes.count("in") == axes.count("out") == 1]
    else:
        return readings
    return allowed or readings


# -- what the rest of the tree tells ------------------------------------------------------------------------------


def _stacks(found: Mapping[str, Role], tree: _Tree) -> dict[str, Shape]:
    """Sizes of the stack that a leaf is in, where it says so: a kernel by its copies, a gain by its leading axes."""
    stacks = {}
    for path, role in found.items():
        shape = tree.shapes[path]
        if role.kind == "scale" and shape:
            stacks[path] = tuple(size for size in shape[: len(role.stacked) or len(shape) - 1] if size > 1)
        elif role.kind == "kernel" and not role.undecided:
            stacks[path] = tuple(shape[axis] for axis in role.stacked)
    return stacks


def _chosen(
    path: str, kind: str, readings: list[Axes], tree: _Tree, stacks: Mapping[str, Shape], outputs_first: set[Any]
) -> Role:
    shape, left = tree.shapes[path], readings or _alone(len(tree.shapes[path]))
    stack = next((stack for parent in _ancestors(path) if (stack := _stack_below(parent, stacks)) is not None), None)
    if stack is None and len(shape) > 3 and not any(part.lower().startswith(LIFTED) for part in path.split("/")):
        stack = ()  # four axes are those of a convolution, where nothing is stacked for all that is known
    for allows in (
        lambda axes: _outputs_first(Role(kind, axes)) in outputs_first,
        lambda axes: tuple(s for word, s in zip(axes, shape, strict=True) if word == "copy") == stack,
        lambda axes: axes == _attention(path, tree),
    ):
        left = [axes for axes in left if allows(axes)] or left
    # an axis of one place may be anything
    told = {tuple(word for word, size in zip(axes, shape, strict=True) if size > 1) for axes in left}
    if len(told) == 1 and readings:
        return Role(kind, left[0])
    shown = " or ".join(repr(" ".join(axes)) for axes in left)
    return Role(
        kind,
        undecided=f"the axes of {path!r} {shape} may be {shown}: neither names nor siblings tell which; say it with "
        f"roles={{{path!r}: {' '.join(left[0])!r}}}, or let the module say it: "
        "roles=hyperlab.roles.of(params, module, *inputs)",
    )


def _ancestors(path: str) -> Iterator[str]:
    """The modules around a layer, from the inside out; the last is the tree itself."""
    parent = _parent(path)
    while parent:
        parent = _parent(parent)
        yield parent


def _stack_below(parent: str, stacks: Mapping[str, Shape]) -> Shape | None:
    """The one stack of all below a module; None where nothing is said, or not the same."""
    prefix = f"{parent}/" if parent else ""
    found = {stack for path, stack in stacks.items() if path.startswith(prefix)}
    return found.pop() if len(found) == 1 else None


def _attention(path: str, tree: _Tree) -> Axes | None:
    """Axes of a kernel of multi-head attention, by its name and the shapes of its siblings."""
    query, out = _sibling(path, "query", tree), _sibling(path, "out", tree)
    # [inputs, heads, size] and [heads, size, outputs]; a stack of ordinary layers has its own size in front of both
    if _layer(path) not in (*ATTENTION, "out") or len(query) < 3 or len(query) != len(out):
        return None
    if query[-2:] != out[-3:-1] or query[-3] == out[-3]:
        return None
    copies = ("copy",) * (len(query) - 3)
    return (*copies, "in", "in", "out") if _layer(path) == "out" else (*copies, "in", "out", "out")


def _is_attention_output(path: str, tree: _Tree) -> bool:
    return _layer(path) == "out" and _sibling(path, "query", tree)[-2:] == tree.shapes[path][-3:-1]


def _sibling(path: str, layer: str, tree: _Tree) -> Shape:
    """The shape of the leaf of that name in a layer beside; nothing where there is none."""
    block = _parent(_parent(path))
    return tree.layers.get(f"{block}/{layer}" if block else layer, {}).get(_last(path), ())


def _outputs_first(role: Role) -> bool | None:
    if role.undecided or role.kind != "kernel":
        return None
    words = [word for word in role.axes if word in ("in", "out")]
    return words[0] == "out"
