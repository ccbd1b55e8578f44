"""Roles as the modules know them that own the leaves."""

import dataclasses
import inspect
import itertools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import PyTree

from hyperlab import trees
from hyperlab.errors import HyperlabError
from hyperlab.roles.names import by_names
from hyperlab.roles.role import Role, Shape

# Words for the axes of each leaf of a layer, by name.
Words = dict[str, tuple[str, ...]]


def by_owners(module: Any, params: PyTree, *inputs: PyTree, **kwargs: Any) -> dict[str, Role]:
    """The roles that the owners decide, by slash path; what they do not know is left out.

    Args:
      module: a Linen module, an NNX module or factory; anything else knows nothing.
      params: arrays or shapes.
      *inputs: of a Linen module's call.
      **kwargs: likewise.
    """
    if isinstance(module, nn.Module):
        return _of_linen(module, params, *inputs, **kwargs)
    if callable(module) or hasattr(module, "iter_modules"):
        return _of_nnx(module, params)
    return {}


def linen_words(layer: nn.Module, ranks: dict[str, int]) -> Words:
    """Words for the axes of a Linen layer's own leaves, as flax defines them; empty for a layer that it does not know.

    Args:
      layer: a bound module.
      ranks: of its leaves by name, as the layer sees them.

    >>> linen_words(nn.DenseGeneral((4, 8), axis=(-2, -1)), {"kernel": 4})["kernel"]
    ('in', 'in', 'out', 'out')
    """
    if isinstance(layer, nn.Dense):
        return _dense((), 1, 1)
    if isinstance(layer, nn.DenseGeneral):
        return _dense(("copy",) * _count(layer.batch_dims), _count(layer.axis), _count(layer.features))
    if isinstance(layer, nn.ConvLocal):  # a kernel of its own for every place
        return _dense(("copy",) * (ranks["kernel"] - 2), 1, 1)
    if hasattr(layer, "kernel_size") and ranks.get("kernel", 0) > 2:  # whoever's convolution it is
        return _convolution(ranks["kernel"], getattr(layer, "transpose_kernel", False))
    if isinstance(layer, nn.Embed):
        return {"embedding": ("in", "out")}
    if isinstance(layer, nn.Einsum) and layer.einsum_str:
        return einsum_words(layer.einsum_str)
    return {}


def einsum_words(equation: str) -> Words:
    """Words for the axes of an einsum's second operand: what it alone has in common with the first is summed over.

    >>> einsum_words("btd,dhk->bthk")["kernel"], einsum_words("nbi,nio->nbo")["kernel"]
    (('in', 'out', 'out'), ('copy', 'in', 'out'))
    """
    operands, _, result = equation.replace(" ", "").partition("->")
    first, _, second = operands.partition(",")
    words = tuple("in" if c not in result else "copy" if c in first else "out" for c in second)
    return {"kernel": words, "bias": tuple(word for word in words if word != "in")}


def summed_axes(layer: nn.Module, rank: int) -> tuple[Shape, Shape]:
    """The axes of a Linen layer's input that it has copies for, and those that it sums over, in its kernel's order.

    Args:
      layer: with a kernel; one that is not known sums over the last axis.
      rank: of its input.

    >>> summed_axes(nn.DenseGeneral(8, axis=(-2, -1)), 4), summed_axes(nn.Einsum((2, 3, 4), "nbi,nio->nbo"), 3)
    (((), (2, 3)), ((0,), (2,)))
    """
    if isinstance(layer, nn.DenseGeneral):
        copies, inputs = (
            axes if isinstance(axes, tuple | list) else (axes,) for axes in (layer.batch_dims, layer.axis)
        )
        # flax sorts them: the kernel of axis=(-1, 1) has the second axis first
        return tuple(sorted(axis % rank for axis in copies)), tuple(sorted(axis % rank for axis in inputs))
    if isinstance(layer, nn.Einsum) and layer.einsum_str:
        first, _, second = layer.einsum_str.replace(" ", "").partition("->")[0].partition(",")
        words = einsum_words(layer.einsum_str)["kernel"]
        axes = {what: [c for c, word in zip(second, words, strict=True) if word == what] for what in ("copy", "in")}
        return tuple(map(first.index, axes["copy"])), tuple(map(first.index, axes["in"]))
    return (), (rank - 1,)


def _dense(copies: tuple[str, ...], inputs: int, outputs: int) -> Words:
    outs = ("out",) * outputs
    return {"kernel": (*copies, *("in",) * inputs, *outs), "bias": (*copies, *outs)}


def _convolution(rank: int, transposed: bool) -> Words:
    channels = ("out", "in") if transposed else ("in", "out")
    return {"kernel": (*("window",) * (rank - 2), *channels), "bias": ("out",)}


def _count(axes: Any) -> int:
    return len(axes) if isinstance(axes, tuple | list) else 1


def path_of(*names: Any) -> str:
    """The slash path of a leaf, from the names of the modules around it and its own.

    >>> path_of("encoder", "dense", "kernel")
    'encoder/dense/kernel'
    """
    return trees.path_of([jax.tree_util.DictKey(name) for name in names])


def _kind(path: str) -> str:
    name = path.rpartition("/")[2]
    return name if name in ("bias", "embedding") else "kernel"


# -- Linen --------------------------------------------------------------------------------------------------------


@struct.dataclass
class _Marked(nn.meta.AxisMetadata[Any]):
    """A leaf that takes note of the axes over which lifted transforms slice it, as axes of the whole leaf."""

    value: Any
    left: Shape = struct.field(pytree_node=False)

    def unbox(self) -> Any:
        return self.value

    def replace_boxed(self, value: Any) -> Any:
        return dataclasses.replace(self, value=value)

    def add_axis(self, index: int, params: PyTree) -> Any:
        return self

    def remove_axis(self, index: int, params: PyTree) -> Any:
        left = list(self.left)
        left.pop(index)
        return dataclasses.replace(self, left=tuple(left))


class _Seen(NamedTuple):
    """A leaf as its layer sees it: within a lifted transform, without the axes that it is sliced over."""

    layer: nn.Module
    name: str
    part: jax.ShapeDtypeStruct
    left: Shape | None  # its axes, of those of the whole leaf


def _of_linen(module: nn.Module, params: PyTree, *inputs: PyTree, **kwargs: Any) -> dict[str, Role]:
    whole = {path: tuple(leaf.shape) for path, leaf in trees.flatten(params).items()}
    seen = {path: leaf for path, leaf in _traced(module, params, *inputs, **kwargs).items() if path in whole}
    known, stacked = {}, {}
    for path, (layer, name, part, left) in seen.items():
        ranks = {other.name: len(other.part.shape) for other in seen.values() if other.layer is layer}
        words = linen_words(layer, ranks).get(name)
        if words is not None and len(words) == len(part.shape):
            known[path] = Role(_kind(path), words)
        if left is None:
            stacked[path] = _stacked(whole[path], len(part.shape), part.shape)
        else:
            stacked[path] = tuple(axis for axis in range(len(whole[path])) if axis not in left)
    roles = by_names({path: leaf.part for path, leaf in seen.items()}, known)
    return {path: roles[path].within(stacked[path]) for path in seen}


def _traced(module: nn.Module, params: PyTree, *inputs: PyTree, **kwargs: Any) -> dict[str, _Seen]:
    """Every leaf that is used, by slash path, as its layer sees it."""
    seen: dict[str, _Seen] = {}

    def note(next_call: Callable[..., PyTree], args: tuple[Any, ...], options: dict[str, Any], context: Any) -> Any:
        result = next_call(*args, **options)
        layer = context.module
        for name, leaf in layer.variables.get("params", {}).items():
            marked = isinstance(leaf, _Marked)
            if marked or not isinstance(leaf, Mapping):
                value, left = (leaf.value, leaf.left) if marked else (leaf, None)
                part = jax.ShapeDtypeStruct(value.shape, value.dtype)
                seen.setdefault(path_of(*layer.path, name), _Seen(layer, name, part, left))
        return result

    def forward(mark: Callable[..., Any], params: PyTree) -> None:
        keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}  # other streams are taken from the first
        variables, given = {"params": jax.tree.map(mark, params)}, jax.tree.map(_zeros, inputs)
        with nn.intercept_methods(note):
            module.apply(variables, *given, rngs=keys, mutable=nn.DenyList("params"), **kwargs)

    for mark in (lambda leaf: _Marked(leaf, tuple(range(leaf.ndim))), lambda leaf: leaf):
        try:
            jax.eval_shape(partial(forward, mark), params)
            return seen
        except Exception:
            # A module that changes its variables as a whole (`nn.WeightNorm`) stumbles over marks: without them, stacks
            # are told by shapes. What cannot be applied even so is left to names.
            seen.clear()
    return {}


def _zeros(given: Any) -> Any:
    return jnp.zeros(given.shape, given.dtype) if isinstance(given, jax.ShapeDtypeStruct) else given


# -- NNX ----------------------------------------------------------------------------------------------------------


def nnx_factory(factory: Callable[..., Any]) -> Callable[..., Any]:
    """A factory of NNX as a function of `rngs` alone: a class, or a partial of one, may take them by name only.

    Raises:
      HyperlabError: it needs other arguments.

    >>> def linear(size, *, rngs): return size, rngs
    >>> nnx_factory(partial(linear, 3))("rngs")
    (3, 'rngs')
    """
    function = factory.func if isinstance(factory, partial) else factory
    called = factory
    if isinstance(function, type):  # whose own signature is that of the metaclass: (*args, **kwargs)
        given = (factory.args, factory.keywords) if isinstance(factory, partial) else ((), {})
        kind: Any = function
        called = partial(kind.__init__, None, *given[0], **given[1])
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):
        return factory
    for args, named in (((), {"rngs": None}), ((None,), {})):
        try:
            signature.bind(*args, **named)
        except TypeError:
            continue
        return (lambda rngs: factory(rngs=rngs)) if named else factory
    name = getattr(function, "__name__", type(function).__name__)
    raise HyperlabError(
        f"{name}({', '.join(signature.parameters)}) cannot be called with rngs alone; give a factory of NNX, "
        f"lambda rngs: {name}(..., rngs=rngs), a Linen module or a pair (init, apply)"
    )


def _of_nnx(module: Any, params: PyTree) -> dict[str, Role]:
    from flax import nnx  # a slow import that most users do not need

    leaves = {path: leaf for path, leaf in trees.flatten(params).items() if hasattr(leaf, "shape")}
    if isinstance(module, nnx.Module):
        return _of_graph(nnx, module, leaves)
    found: dict[str, Role] = {}
    module = nnx_factory(module)

    def build(key: jax.Array) -> int:
        # looked at inside the trace: nnx.eval_shape loses modules that hold plain arrays
        made = module(nnx.Rngs(key))
        found.update(_of_graph(nnx, made, leaves) if isinstance(made, nnx.Module) else {})
        return 0

    jax.eval_shape(build, jax.random.key(0))
    return found


def _of_graph(nnx: Any, module: Any, leaves: Mapping[str, Any]) -> dict[str, Role]:
    roles = {}
    for keys, layer in nnx.iter_graph(module):
        words, sizes = _nnx_words(nnx, layer) if isinstance(layer, nnx.Module) else ({}, {})
        for name, axes in words.items():
            path = path_of(*keys, name)
            if path in leaves and len(axes) <= len(leaves[path].shape):
                stacked = _stacked(leaves[path].shape, len(axes), sizes.get(name))
                roles[path] = Role(_kind(path), axes).within(stacked)
    return roles


def _nnx_words(nnx: Any, layer: Any) -> tuple[Words, dict[str, Shape]]:
    """As `linen_words`; and the shapes that the layer would have by itself, where it tells."""
    if isinstance(layer, nnx.Linear):
        return _dense((), 1, 1), {"kernel": (layer.in_features, layer.out_features)}
    if isinstance(layer, nnx.LinearGeneral):
        inputs, outputs = tuple(layer.in_features), tuple(layer.out_features)
        batch = tuple(layer.batch_axis.values())
        words = _dense(("copy",) * len(batch), len(inputs), len(outputs))
        return words, {"kernel": (*batch, *inputs, *outputs), "bias": (*batch, *outputs)}
    if isinstance(layer, nnx.Conv | nnx.ConvTranspose):
        shape = tuple(layer.kernel_shape)
        return _convolution(len(shape), getattr(layer, "transpose_kernel", False)), {"kernel": shape}
    if isinstance(layer, nnx.Embed):
        return {"embedding": ("in", "out")}, {"embedding": (layer.num_embeddings, layer.features)}
    if isinstance(layer, nnx.Einsum) and layer.einsum_str:
        return einsum_words(layer.einsum_str), {"kernel": tuple(layer.kernel_shape)}
    if isinstance(layer, nnx.LoRA):
        return dict.fromkeys(("lora_a", "lora_b"), ("in", "out")), {}
    return {}, {}


def _stacked(shape: Shape, rank: int, own: Shape | None) -> Shape:
    """Which axes `nnx.vmap` has added: the first ones, but where only others leave the layer's own shape.

    >>> _stacked((3, 4, 5), 2, (4, 5)), _stacked((4, 3, 5), 2, (4, 5))
    ((0,), (1,))
    """
    for added in itertools.combinations(range(len(shape)), len(shape) - rank):
        if own in (None, tuple(size for axis, size in enumerate(shape) if axis not in added)):
            return added
    return tuple(range(len(shape) - rank))
