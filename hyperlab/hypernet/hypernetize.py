r"""`hypernetize`: any network as one whose parameters are generated from a conditioning input.

$\theta(\gamma) = \theta^0 + h(E(\gamma); \omega)$ and its relatives, as pure functions on pytrees. The
parameters of a hypernetised model are three subtrees, so that each can be frozen, decayed or given its own
learning rate by a path pattern:

- `hypernet/...`: omega, the hypernetwork;
- `theta0/...`: what generated leaves are added to, in float32 (absent for the direct parametrisation);
- `primary/...`: the leaves of the primary that are not generated.

Source: Gonzalez Ortiz, Guttag and Dalca, Magnitude Invariant Parametrizations Improve Hypernetwork Learning
(2023), arXiv 2304.07645.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from hyperlab import roles as roles_of
from hyperlab import trees
from hyperlab.errors import ConfigError, GammaError, PatternError
from hyperlab.hypernet.contract import SWITCHES
from hyperlab.hypernet.encodings import ENCODINGS
from hyperlab.hypernet.gamma import GammaSpec, Range, by_name
from hyperlab.hypernet.heads import HEADS
from hyperlab.hypernet.layout import Layout
from hyperlab.hypernet.lora import LoraHead, check_lora, kernels_among, lora_head
from hyperlab.hypernet.model import HyperModel, concrete
from hyperlab.hypernet.network import HyperNetwork
from hyperlab.hypernet.parametrizations import PARAMETRIZATIONS
from hyperlab.hypernet.primary import Primary, as_primary, tied_paths
from hyperlab.hypernet.spec import ParamSpec

log = logging.getLogger(__name__)

_AUTO = object()
_TOLD_FROM, _TOLD_RATIO = 1 << 24, 50  # what a head of more parameters costs is told, if it is that many times theta


def hypernetize(
    primary: Any,
    *example_inputs: PyTree,
    gamma_dim: int | Mapping[str, int] = 1,
    select: str | Sequence[str] | None = None,
    encoding: Any = "cos_sin",
    parametrization: Any = "additive",
    hidden: Sequence[int] = (16, 64, 128),
    activation: str = "leaky_relu",
    head: Any = "dense",
    lora: int | None = None,
    head_bias: str | None = None,
    initializer: Any = "fan_out",
    normalization: str | None = None,
    scale_by_dimension: bool = False,
    gamma_range: Any = _AUTO,
    allow_extrapolation: bool = False,
    debug: bool = False,
    generated_weight_decay: float = 0.0,
    memory_limit: int | None = None,
    example_kwargs: Mapping[str, Any] | None = None,
    roles: Mapping[str, Any] | None = None,
) -> "HyperModel":
    """Turns a network into one whose parameters are generated from a conditioning input gamma.

    Args:
      primary: a Linen module, an NNX factory `lambda rngs: Module(..., rngs=rngs)`, or a pair `(init, apply)` of
        functions, in which `init` may give a tree of any structure.
      *example_inputs: inputs as the primary takes them (arrays or `jax.ShapeDtypeStruct`); only their shapes
        matter.
      gamma_dim: size of gamma, or `{name: size}` for named inputs.
      select: ordered glob patterns on slash paths of the primary's parameters; a leading `!` deselects. What is
        not selected stays an ordinary trainable parameter; so do leaves that are no floating-point numbers, or have
        no entries, whatever the patterns. None selects everything, with `lora` every kernel.
      encoding: name, callable, or `{input name: encoding}`; see `hyperlab.hypernet.encodings`.
      parametrization: `direct`, `additive`, `scaled:0.1`, `learned_scale:0.1`, `multiplicative`, `centred`.
      hidden: widths of the hypernetwork's hidden layers.
      activation: of the hidden layers.
      head: `dense`, `chunked:4096`, `low_rank:4`.
      lora: the rank of generated updates, in place of `head`: every selected kernel is theta0 + A(gamma) B(gamma), and
        exactly theta0 at the start; start theta0 from a trained network and freeze it. See `hyperlab.hypernet.lora`.
      head_bias: None, `zeros` or `own`. By default a direct parametrisation with `bias_hyperinit` has `own`.
      initializer: see `hyperlab.hypernet.initializers`.
      normalization: inside the hypernetwork; see `HyperNetwork`.
      scale_by_dimension: divide the encoding by sqrt(d).
      gamma_range: `(low, high)`, `{name: (low, high)}`, or None for no check; by default the domain of the
        encoding. A gamma outside is refused.
      allow_extrapolation: accept gamma outside its range (for evaluation).
      debug: check the range under `jit` too, at the cost of a host callback.
      generated_weight_decay: adds this times theta to the gradient of every generated theta (L2 decay of what
        is generated, not of omega), without changing the loss.
      memory_limit: bytes that one operation may allocate; by default half of the device's memory.
      example_kwargs: keyword arguments for the primary's `init`, for instance `{"train": False}`.
      roles: what generated leaves are, where neither the primary's layers nor names tell, by glob pattern:
        `{"**/mix": "in out out"}`, a word for each axis; see `hyperlab.roles`.

    Returns:
      A `HyperModel`.

    Raises:
      PatternError: a pattern selects nothing (the nearest paths are named), or nothing that can be generated, or a
        complex leaf; for `lora` a vector.
      HyperlabError: the primary is none of these.
      ConfigError: an unknown option (the nearest is named), or a rank of `lora` above what a kernel has.

    >>> import flax.linen as nn
    >>> import jax.numpy as jnp
    >>> model = hypernetize(nn.Dense(3), jnp.zeros((1, 4)), gamma_dim=2)
    >>> variables = model.init(jax.random.key(0))
    >>> model.apply(variables, jnp.array([0.2, 0.7]), jnp.ones((5, 4))).shape
    (5, 3)
    >>> sorted(variables["params"])
    ['hypernet', 'theta0']
    """
    hidden, head = _widths(hidden), lora_head(lora, head)
    parametrization = PARAMETRIZATIONS.get(parametrization)
    check_lora(head, parametrization, head_bias, normalization)
    primary, example_kwargs = as_primary(primary), dict(example_kwargs or {})

    layout, shapes = _shapes(primary, example_inputs, example_kwargs)
    tied = tied_paths(primary, *concrete(example_inputs), **example_kwargs)
    # A tied leaf is generated once, under its first path.
    chosen = [
        path for path in _generated(layout, shapes, "**" if select is None else select) if tied.get(path, path) == path
    ]
    params = layout.build(shapes)
    decided = roles_of.of(params, primary.module, *concrete(example_inputs), roles=roles, **example_kwargs)
    if select is None and isinstance(HEADS.get(head), LoraHead):
        chosen = kernels_among(decided, chosen)
    spec = ParamSpec.of(params, chosen, decided)

    named, dims = isinstance(gamma_dim, Mapping), by_name(gamma_dim)
    per_input = dict(encoding) if isinstance(encoding, Mapping) else None
    if per_input is not None and (not named or set(per_input) != set(dims)):
        raise GammaError(f"encodings are named {sorted(per_input)}, conditioning inputs {gamma_dim}")
    ranges = _ranges(dims, per_input, encoding, gamma_range)
    if head_bias is None and initializer == "bias_hyperinit" and not parametrization.uses_theta0:
        head_bias = "own"
    network = HyperNetwork(
        spec,
        encoding=tuple(sorted(per_input.items())) if per_input is not None else encoding,
        hidden=hidden,
        activation=activation,
        initializer=initializer,
        head=head,
        head_bias=head_bias,
        normalization=normalization,
        scale_by_dimension=scale_by_dimension,
    )
    model = HyperModel(
        primary=primary,
        network=network,
        parametrization=parametrization,
        gamma=GammaSpec.of(gamma_dim, ranges, allow_extrapolation=allow_extrapolation, debug=debug),
        example_inputs=example_inputs,
        example_kwargs=example_kwargs,
        tied=tied,
        layout=layout,
        generated_weight_decay=generated_weight_decay,
        memory_limit=memory_limit,
    )
    # unknown options fail here
    expected = jax.eval_shape(model._init_network, jax.random.key(0), shapes)["params"]
    if model.head_size() > max(_TOLD_FROM, _TOLD_RATIO * spec.size):
        log.warning("%s", _told(model))
    return model.replace(expected=expected)


def _told(model: HyperModel) -> str:
    """What a large head costs, and the heads that would be smaller."""
    lora = isinstance(HEADS.get(model.network.head), LoraHead)
    heads = ("lora:1",) if lora else ("low_rank:4", "chunked:4096")
    size, others = model.head_size(), {head: model.head_size(head) for head in heads}
    smaller = [f"head={head!r} has {other:,}" for head, other in others.items() if other < size / 2]
    return (
        f"the head has {size:,} parameters to generate {model.spec.size:,}, {size / model.spec.size:.0f} times as many"
        + f"; {' and '.join(smaller)}, each at a learning rate of its own" * bool(smaller)
        + " (docs/own_network.md, Large networks)"
    )


def _shapes(primary: Primary, inputs: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Layout, dict[str, Any]]:
    """The layout of the primary's parameters and the shape of each by path, without computing anything."""
    found = []

    def init(key: jax.Array) -> PyTree:
        params = primary.init(key, *concrete(inputs), **kwargs).get("params", {})
        found.append(Layout.of(params))
        return found[-1].read(params)

    try:
        shapes = jax.eval_shape(init, jax.random.key(0))
    except TypeError as error:
        if not inputs:
            message = f"hypernetize needs example inputs as the primary takes them; without any: {error}"
        elif (missing := re.search(r"missing 1 required .*: '(\w+)'", str(error))) and missing[1] in SWITCHES:
            example = {missing[1]: SWITCHES[missing[1]]}
            message = f"{missing[0]}; say whether the network trains: example_kwargs={example}"
        else:
            raise
        raise ConfigError(message) from error
    return found[-1], shapes


def _widths(hidden: Any) -> tuple[int, ...]:
    whole = isinstance(hidden, Sequence) and all(type(width) is int and width > 0 for width in hidden)
    if not whole:
        raise ConfigError(f"hidden is {hidden!r}, expected widths of layers, for instance (16, 64, 128)")
    return tuple(hidden)


def _generated(layout: Layout, shapes: Mapping[str, Any], patterns: str | Sequence[str]) -> list[str]:
    """The paths that are selected and can be generated: leaves of real numbers.

    Integers, truth values, random keys and leaves without an entry stay as they are; a pattern that selects nothing
    else, and a complex leaf, is refused.
    """
    real = [p for p in layout.paths if p in shapes and jnp.issubdtype(shapes[p].dtype, jnp.inexact) and shapes[p].size]
    chosen = trees.select(layout.paths, patterns)
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        hits = [path for path in layout.paths if trees.matches(pattern, path)]
        if hits and not set(hits) & set(real):
            named = ", ".join(f"{path!r} ({_kind(layout, shapes, path)})" for path in hits[:5])
            raise PatternError(
                f"pattern {pattern!r} selects no leaf that can be generated, only {named}; a hypernetwork generates "
                "floating-point numbers, and these stay as they are"
            )
    for path in chosen:
        if path in real and jnp.issubdtype(shapes[path].dtype, jnp.complexfloating):
            keep = [patterns] if isinstance(patterns, str) else list(patterns)
            raise PatternError(
                f"{path!r} is {shapes[path].dtype.name}, and a hypernetwork generates real numbers; leave it ordinary "
                f"with select={[*keep, '!' + path]}, or keep its real and its imaginary part as two leaves"
            )
    generated = [path for path in chosen if path in real]
    if not generated:
        raise PatternError(f"select={patterns!r} leaves nothing to generate of {', '.join(map(repr, real[:8]))}")
    return generated


def _kind(layout: Layout, shapes: Mapping[str, Any], path: str) -> str:
    if path in layout.fixed:
        return type(layout.fixed[path]).__name__
    return f"{shapes[path].dtype} {tuple(shapes[path].shape)}"


def _ranges(
    dims: Mapping[str, int], per_input: dict[str, Any] | None, encoding: Any, gamma_range: Any
) -> dict[str, Range]:
    if gamma_range is _AUTO:
        return {name: ENCODINGS.get(per_input[name] if per_input else encoding).domain for name in dims}
    return dict(gamma_range) if isinstance(gamma_range, Mapping) else dict.fromkeys(dims, gamma_range)
