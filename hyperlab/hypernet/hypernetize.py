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

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from hyperlab import roles as roles_of
from hyperlab import trees
from hyperlab.errors import GammaError
from hyperlab.hypernet.encodings import ENCODINGS
from hyperlab.hypernet.gamma import GammaSpec, Range
from hyperlab.hypernet.model import HyperModel, concrete
from hyperlab.hypernet.network import HyperNetwork
from hyperlab.hypernet.parametrizations import PARAMETRIZATIONS
from hyperlab.hypernet.primary import as_primary, tied_paths
from hyperlab.hypernet.spec import ParamSpec

_AUTO = object()


def hypernetize(
    primary: Any,
    *example_inputs: Any,
    gamma_dim: int | Mapping[str, int] = 1,
    select: str | Sequence[str] = "**",
    encoding: Any = "cos_sin",
    parametrization: Any = "additive",
    hidden: Sequence[int] = (16, 64, 128),
    activation: str = "leaky_relu",
    head: Any = "dense",
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
      primary: a Linen module, an NNX factory `lambda rngs: Module(..., rngs=rngs)`, or a pair `(init, apply)`.
      *example_inputs: inputs as the primary takes them (arrays or `jax.ShapeDtypeStruct`); only their shapes
        matter.
      gamma_dim: size of gamma, or `{name: size}` for named inputs.
      select: ordered glob patterns on slash paths of the primary's parameters; a leading `!` deselects. What is
        not selected stays an ordinary trainable parameter.
      encoding: name, callable, or `{input name: encoding}`; see `hyperlab.hypernet.encodings`.
      parametrization: `direct`, `additive`, `scaled:0.1`, `learned_scale:0.1`, `multiplicative`, `centred`.
      hidden: widths of the hypernetwork's hidden layers.
      activation: of the hidden layers.
      head: `dense`, `chunked:4096`, `low_rank:4`.
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
      PatternError: a pattern selects nothing (the nearest paths are named).
      ConfigError: an unknown option (the nearest is named).

    >>> import flax.linen as nn
    >>> import jax.numpy as jnp
    >>> model = hypernetize(nn.Dense(3), jnp.zeros((1, 4)), gamma_dim=2)
    >>> variables = model.init(jax.random.key(0))
    >>> model.apply(variables, jnp.array([0.2, 0.7]), jnp.ones((5, 4))).shape
    (5, 3)
    >>> sorted(variables["params"])
    ['hypernet', 'theta0']
    """
    primary, example_kwargs = as_primary(primary), dict(example_kwargs or {})

    def abstract_init(key):
        return primary.init(key, *concrete(example_inputs), **example_kwargs)

    shapes = jax.eval_shape(abstract_init, jax.random.key(0))
    paths = list(trees.flatten(shapes["params"]))
    tied = tied_paths(primary, *concrete(example_inputs), **example_kwargs)
    # A tied leaf is generated once, under its first path.
    chosen = [path for path in trees.select(paths, select) if tied.get(path, path) == path]
    decided = roles_of.of(shapes["params"], primary.module, *concrete(example_inputs), roles=roles, **example_kwargs)
    spec = ParamSpec.of(shapes["params"], chosen, decided)

    named = isinstance(gamma_dim, Mapping)
    per_input = dict(encoding) if isinstance(encoding, Mapping) else None
    if per_input is not None and (not named or set(per_input) != set(gamma_dim)):
        raise GammaError(f"encodings are named {sorted(per_input)}, conditioning inputs {gamma_dim}")
    ranges = _ranges(gamma_dim if named else {"": gamma_dim}, per_input, encoding, gamma_range)
    parametrization = PARAMETRIZATIONS.get(parametrization)
    if head_bias is None and initializer == "bias_hyperinit" and not parametrization.uses_theta0:
        head_bias = "own"
    network = HyperNetwork(
        spec,
        encoding=tuple(sorted(per_input.items())) if per_input is not None else encoding,
        hidden=tuple(hidden),
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
        generated_weight_decay=generated_weight_decay,
        memory_limit=memory_limit,
    )
    jax.eval_shape(model._init_network, jax.random.key(0), shapes["params"])  # unknown options fail here
    return model


def _ranges(dims: Mapping[str, int], per_input, encoding, gamma_range) -> dict[str, Range]:
    if gamma_range is _AUTO:
        return {name: ENCODINGS.get(per_input[name] if per_input else encoding).domain for name in dims}
    return dict(gamma_range) if isinstance(gamma_range, Mapping) else dict.fromkeys(dims, gamma_range)
