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

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from hyperlab import trees
from hyperlab.errors import GammaError
from hyperlab.hypernet.decay import decayed
from hyperlab.hypernet.encodings import ENCODINGS
from hyperlab.hypernet.gamma import GammaSpec, Range
from hyperlab.hypernet.heads import HEADS
from hyperlab.hypernet.memory import guard
from hyperlab.hypernet.network import HyperNetwork
from hyperlab.hypernet.parametrizations import PARAMETRIZATIONS, Parametrization
from hyperlab.hypernet.primary import Primary, as_primary, tied_paths
from hyperlab.hypernet.spec import ParamSpec

Variables = dict[str, Any]
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

    Returns:
      A `HyperModel`.

    Raises:
      PatternError: a pattern selects nothing (the nearest paths are named).
      ConfigError: an unknown option (the nearest is named).

    >>> import flax.linen as nn
    >>> model = hypernetize(nn.Dense(3), jnp.zeros((1, 4)), gamma_dim=2)
    >>> variables = model.init(jax.random.key(0))
    >>> model.apply(variables, jnp.array([0.2, 0.7]), jnp.ones((5, 4))).shape
    (5, 3)
    >>> sorted(variables["params"])
    ['hypernet', 'theta0']
    """
    primary, example_kwargs = as_primary(primary), dict(example_kwargs or {})

    def abstract_init(key):
        return primary.init(key, *_concrete(example_inputs), **example_kwargs)

    shapes = jax.eval_shape(abstract_init, jax.random.key(0))
    paths = list(trees.flatten(shapes["params"]))
    tied = tied_paths(primary, *_concrete(example_inputs), **example_kwargs)
    # A tied leaf is generated once, under its first path.
    chosen = [path for path in trees.select(paths, select) if tied.get(path, path) == path]
    spec = ParamSpec.of(shapes["params"], chosen)

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


def _concrete(inputs: Sequence[Any]) -> list[Any]:
    return [
        jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype) if isinstance(x, jax.ShapeDtypeStruct) else x, given)
        for given in inputs
    ]


def _ranges(dims: Mapping[str, int], per_input, encoding, gamma_range) -> dict[str, Range]:
    if gamma_range is _AUTO:
        return {name: ENCODINGS.get(per_input[name] if per_input else encoding).domain for name in dims}
    return dict(gamma_range) if isinstance(gamma_range, Mapping) else dict.fromkeys(dims, gamma_range)


@dataclasses.dataclass(frozen=True, eq=False)
class HyperModel:
    """A network with generated parameters; see `hypernetize`, which builds it.

    Attributes:
      primary: the network as pure functions.
      network: the hypernetwork, a Linen module `gamma -> {path: tensor}`.
      parametrization: how generated tensors become parameters.
      gamma: names, sizes and ranges of the conditioning inputs.
      example_inputs: inputs whose shapes initialise the primary.
      example_kwargs: keyword arguments of that initialisation.
      tied: `{path: path it shares its value with}`.
      generated_weight_decay: L2 decay on the generated theta.
      memory_limit: bytes that one operation may allocate, None for half of the device's memory.

    Variables are `{"params": {"hypernet", "theta0", "primary"}, ...}`; other collections are the primary's own
    (batch statistics and the like: one set, shared by every gamma) and, where the hypernetwork keeps state,
    `hypernet_<collection>`.
    """

    primary: Primary
    network: HyperNetwork
    parametrization: Parametrization
    gamma: GammaSpec
    example_inputs: tuple
    example_kwargs: dict
    tied: dict[str, str]
    generated_weight_decay: float = 0.0
    memory_limit: int | None = None

    @property
    def spec(self) -> ParamSpec:
        """The generated tensors, in packing order."""
        return self.network.spec

    def replace(self, **changes: Any) -> "HyperModel":
        """A copy with some attributes changed."""
        return dataclasses.replace(self, **changes)

    def extrapolating(self) -> "HyperModel":
        """A copy that accepts gamma outside its range, for evaluation."""
        return self.replace(gamma=dataclasses.replace(self.gamma, allow_extrapolation=True))

    # -- parameters ------------------------------------------------------------------------------------------

    def init(self, key: jax.Array, pretrained: Any = None) -> Variables:
        """Fresh variables.

        Args:
          key: a PRNG key. The primary's part depends on `key` alone as `primary.init(split(key)[0])`, so that
            arms of a study that share a key share theta0.
          pretrained: the primary's own variables (or bare parameters) to start theta0 and the ordinary leaves
            from; other collections are taken from it where it has them.

        Raises:
          ParameterTreeError: `pretrained` does not fit; each differing path is named.
          MemoryGuardError: the head would not fit in memory.
        """
        self._guard_head()
        primary_key, network_key = jax.random.split(key)
        variables = self.primary.init(primary_key, *_concrete(self.example_inputs), **self.example_kwargs)
        if pretrained is not None:
            given = pretrained if "params" in pretrained else {"params": pretrained}
            trees.check_same(given["params"], variables["params"], "pretrained parameters")
            variables = {**variables, **given}
        own = trees.flatten(variables["params"])
        network = self._init_network(network_key, variables["params"])
        generated = {record.path for record in self.spec}
        params = {"hypernet": network.pop("params")}
        if self.parametrization.uses_theta0:
            # Own copies, so that a donated state never takes the caller's pretrained arrays with it.
            params["theta0"] = trees.nest({p: jnp.array(own[p], jnp.float32) for p in own if p in generated})
        if extra := self.parametrization.init(self.spec):
            params["parametrization"] = extra
        rest = {path: leaf for path, leaf in own.items() if path not in generated and path not in self.tied}
        if rest:
            params["primary"] = trees.nest({path: jnp.array(leaf) for path, leaf in rest.items()})
        state = {name: tree for name, tree in variables.items() if name != "params"}
        state |= {f"hypernet_{name}": tree for name, tree in network.items()}
        return {"params": params, **state}

    def _init_network(self, key: jax.Array, params: Any) -> Variables:
        return dict(self.network.init(key, self.gamma.example(), trees.flatten(params)))

    def _guard_head(self) -> None:
        width = self.network.hidden[-1] if self.network.hidden else self.gamma.size
        numbers = HEADS.get(self.network.head).size(self.spec, width)
        guard(
            4 * numbers,
            self.memory_limit,
            f"the head ({width} features x {self.spec.size:,} generated numbers, {numbers:,} parameters)",
            "use head='chunked' or head='low_rank', or generate fewer leaves with select=",
        )

    # -- theta -----------------------------------------------------------------------------------------------

    def delta(self, variables: Variables, gamma: Any, mutable: Any = False) -> Any:
        """What the hypernetwork contributes: `{path: [..., *shape]}` in float32, before theta0 is added."""
        own_state = {
            name.removeprefix("hypernet_"): tree for name, tree in variables.items() if name.startswith("hypernet_")
        }
        given = {"params": variables["params"]["hypernet"], **own_state}
        updated: dict = {}

        def network(value):
            if not mutable:
                return self.network.apply(given, value)
            tensors, state = self.network.apply(given, value, mutable=mutable)
            updated.update({f"hypernet_{name}": tree for name, tree in state.items()})
            return tensors

        tensors = self.parametrization.delta(network, gamma)
        return (tensors, updated) if mutable else tensors

    def theta(self, variables: Variables, delta: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """The generated leaves by path from their delta, cast to the primary's own dtypes."""
        params = variables["params"]
        theta0 = trees.flatten(params.get("theta0", {}))
        theta = self.parametrization(theta0, delta, params.get("parametrization", {}), self.spec)
        if self.generated_weight_decay:
            theta = decayed(theta, self.generated_weight_decay)
        return {record.path: theta[record.path].astype(record.dtype) for record in self.spec}

    def assemble(self, variables: Variables, theta: dict[str, jax.Array]) -> Variables:
        """The primary's own variables around generated leaves without leading axes."""
        leaves = theta | trees.flatten(variables["params"].get("primary", {}))
        leaves |= {path: leaves[source] for path, source in self.tied.items()}
        state = {
            name: tree for name, tree in variables.items() if name != "params" and not name.startswith("hypernet_")
        }
        return {"params": trees.nest(leaves), **state}

    def generate(self, variables: Variables, gamma: Any) -> Variables:
        """The primary's own variables at one gamma `[d]`: save them, prune them, export them."""
        gamma = self.gamma.check(gamma)
        return self.assemble(variables, self.theta(variables, self.delta(variables, gamma)))

    def base(self, variables: Variables) -> Variables:
        """The primary's variables with delta set to zero: theta0 alone (scales 1, rest 0 for direct)."""
        zeros = {record.path: jnp.zeros(record.shape) for record in self.spec}
        return self.assemble(variables, self.theta(variables, zeros))

    def freeze(self, variables: Variables, gamma: Any) -> tuple[Any, Variables]:
        """The ordinary network at one gamma; the hypernetwork is gone.

        Returns:
          `(primary, variables)`: for a Linen module the module itself, otherwise a `Primary` with `init` and
          `apply`; `primary.apply(variables, *inputs)` costs what the primary costs.
        """
        primary = self.primary
        linen = hasattr(primary.module, "apply")
        return (primary.module if linen else primary), self.generate(variables, gamma)

    # -- application -----------------------------------------------------------------------------------------

    def apply(
        self,
        variables: Variables,
        gamma: Any,
        *inputs: Any,
        rngs: Mapping[str, jax.Array] | None = None,
        mutable: Any = False,
        offset: dict[str, jax.Array] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Applies the primary with one theta for the whole batch.

        Args:
          variables: from `init`.
          gamma: `[d]`, or `{name: [d]}`. For several draws on one batch use `jax.vmap` over this call.
          *inputs: the primary's inputs.
          rngs: random streams for the primary, as in Linen.
          mutable: as in Linen; with it the result is `(outputs, updated collections)`.
          offset: tensors by path that are added to theta; the gradient with respect to zeros here is the
            gradient with respect to the generated parameters.
          **kwargs: passed to the primary.

        Raises:
          GammaError: gamma has the wrong size, names or range.
        """
        gamma = self.gamma.check(gamma)
        if self.network.normalization == "batch_norm" and self._hypernet_mutable(mutable):
            raise GammaError("batch_norm over gamma has no statistics of a single gamma; train with apply_per_sample")
        theta = self.theta(variables, self.delta(variables, gamma))
        if offset is not None:
            theta = {path: tensor + offset[path] for path, tensor in theta.items()}
        options = {"rngs": rngs, "mutable": self._primary_mutable(mutable)}
        outputs = self.primary.apply(self.assemble(variables, theta), *inputs, **_given(options), **kwargs)
        return (outputs, {}) if mutable and not options["mutable"] else outputs

    def apply_per_sample(
        self,
        variables: Variables,
        gammas: Any,
        *inputs: Any,
        rngs: Mapping[str, jax.Array] | None = None,
        mutable: Any = False,
        **kwargs: Any,
    ) -> Any:
        """Applies the primary with a theta, and a random stream, of its own for each sample.

        Args:
          variables: from `init`.
          gammas: `[batch, d]`, or `{name: [batch, d]}`.
          *inputs: each with a leading batch axis; the primary sees batches of one.
          rngs: random streams, split over the batch.
          mutable: collections to update; a primary's updates are averaged over the batch.
          **kwargs: passed to the primary.

        Raises:
          GammaError: gammas have the wrong shape, or another batch size than the inputs.
          MemoryGuardError: batch x generated numbers would not fit; the bytes are named.
        """
        gammas = self.gamma.check(gammas, ("batch",))
        batch = jax.tree.leaves(gammas)[0].shape[0]
        for array in jax.tree.leaves(inputs):
            if array.shape[0] != batch:
                raise GammaError(f"{batch} gammas for an input of shape {tuple(array.shape)}")
        guard(
            4 * batch * self.spec.size,
            self.memory_limit,
            f"one theta per sample ({batch} samples x {self.spec.size:,} numbers x 4 bytes)",
            "use a smaller batch or apply (one theta per batch)",
        )
        hypernet_mutable = self._hypernet_mutable(mutable)
        delta = self.delta(variables, gammas, mutable=hypernet_mutable or False)
        delta, updated = delta if hypernet_mutable else (delta, {})
        theta = self.theta(variables, delta)
        streams = {name: jax.random.split(key, batch) for name, key in (rngs or {}).items()}
        options = {"mutable": self._primary_mutable(mutable)}

        def one(theta, streams, *sample):
            sample = jax.tree.map(lambda x: x[None], sample)
            given = _given({"rngs": streams or None, **options})
            return self.primary.apply(self.assemble(variables, theta), *sample, **given, **kwargs)

        result = jax.vmap(one)(theta, streams, *inputs)
        outputs, state = result if options["mutable"] else (result, {})
        outputs = jax.tree.map(lambda y: y[:, 0], outputs)
        if not mutable:
            return outputs
        averaged = jax.tree.map(
            lambda leaf: leaf.mean(0) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf[0], state
        )
        return outputs, {**averaged, **updated}

    def _hypernet_mutable(self, mutable: Any) -> list[str]:
        wanted = [mutable] if isinstance(mutable, str) else mutable
        if wanted is True:
            return ["batch_stats"] if self.network.normalization == "batch_norm" else []
        return [name.removeprefix("hypernet_") for name in wanted or [] if name.startswith("hypernet_")]

    def _primary_mutable(self, mutable: Any) -> Any:
        if isinstance(mutable, bool):
            return mutable
        wanted = [mutable] if isinstance(mutable, str) else list(mutable)
        return [name for name in wanted if not name.startswith("hypernet_")] or False


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were set; a plain pair of functions need not know the others."""
    return {name: value for name, value in options.items() if value is not None and value is not False}
