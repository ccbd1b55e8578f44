"""A network with generated parameters, as pure functions of its variables."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core import DenyList
from jaxtyping import Array, Float, Key, PyTree, Shaped

from hyperlab import trees
from hyperlab.errors import GammaError, ParameterTreeError
from hyperlab.hypernet import nnx_modules
from hyperlab.hypernet.decay import decayed
from hyperlab.hypernet.gamma import GammaSpec
from hyperlab.hypernet.heads import HEADS
from hyperlab.hypernet.layout import Layout
from hyperlab.hypernet.memory import guard
from hyperlab.hypernet.network import HyperNetwork
from hyperlab.hypernet.parametrizations import Parametrization
from hyperlab.hypernet.primary import Primary, start_keys
from hyperlab.hypernet.spec import ParamSpec

Variables = dict[str, Any]


def concrete(inputs: Sequence[PyTree]) -> list[PyTree]:
    """Arrays of dtypes that JAX computes in; zeros in place of `jax.ShapeDtypeStruct`.

    >>> [x.dtype.name for x in concrete([np.zeros(2), jax.ShapeDtypeStruct((2,), float)])]
    ['float32', 'float32']
    """

    def one(x: Any) -> Any:
        if isinstance(x, jax.ShapeDtypeStruct):
            return jnp.zeros(x.shape, jax.dtypes.canonicalize_dtype(x.dtype))
        return jnp.asarray(x) if isinstance(x, np.ndarray) else x

    return [jax.tree.map(one, given) for given in inputs]


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
      layout: the structure of the primary's parameters.
      generated_weight_decay: L2 decay on the generated theta.
      memory_limit: bytes that one operation may allocate, None for half of the device's memory.
      expected: shapes of the hypernetwork's own parameters; None checks nothing.

    Variables are `{"params": {"hypernet", "theta0", "primary"}, ...}`; other collections are the primary's own
    (batch statistics and the like: one set, shared by every gamma) and, where the hypernetwork keeps state,
    `hypernet_<collection>`.
    """

    primary: Primary
    network: HyperNetwork
    parametrization: Parametrization
    gamma: GammaSpec
    example_inputs: tuple[Any, ...]
    example_kwargs: dict[str, Any]
    tied: dict[str, str]
    layout: Layout
    generated_weight_decay: float = 0.0
    memory_limit: int | None = None
    expected: Any = None

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

    def init(self, key: Key[Array, ""], pretrained: PyTree = None) -> Variables:
        """Fresh variables.

        Args:
          key: a PRNG key. The primary's part depends on `key` alone, see `hypernet.own_start`, so that arms of a
            study that share a key share theta0.
          pretrained: the primary's own variables (or bare parameters) to start theta0 and the ordinary leaves
            from, in its own structure or as `load_variables` reads them, or the NNX module (or `nnx.State`) that
            has them, or `(params, state)` of Haiku; other collections are taken from it where it has them.

        Raises:
          ParameterTreeError: `pretrained` does not fit; each differing path is named.
          MemoryGuardError: the head would not fit in memory.
        """
        self._guard_head()
        primary_key, network_key = start_keys(key)
        variables = self.primary.init(primary_key, *concrete(self.example_inputs), **self.example_kwargs)
        own = self.layout.read(variables.get("params", {}))
        if pretrained is not None:
            if type(pretrained) is tuple and len(pretrained) == 2 and set(variables) == {"params", "state"}:
                pretrained = dict(zip(("params", "state"), pretrained, strict=True))  # as Haiku has them
            pretrained = nn.meta.unbox(nnx_modules.variables_of(pretrained))
            whole = isinstance(pretrained, Mapping) and "params" in pretrained
            given = self.layout.read(pretrained["params"] if whole else pretrained)
            trees.check_same(given, own, "pretrained parameters")
            own, variables = given, {**variables, **(pretrained if whole else {})}
        network = self._init_network(network_key, own)
        generated = {record.path for record in self.spec}
        params = {"hypernet": network.pop("params")}
        if self.parametrization.uses_theta0:
            # Own copies, so that a donated state never takes the caller's pretrained arrays with it.
            theta0 = {path: jnp.array(own[path], jnp.float32) for path in own if path in generated}
            params["theta0"] = self.layout.part(theta0)
        if extra := self.parametrization.init(self.spec):
            params["parametrization"] = self.layout.part(extra) if self.parametrization.per_tensor else extra
        rest = {path: leaf for path, leaf in own.items() if path not in generated and path not in self.tied}
        if rest:
            params["primary"] = self.layout.part({path: jnp.array(leaf) for path, leaf in rest.items()})
        state = {name: tree for name, tree in variables.items() if name != "params"}
        state |= {f"hypernet_{name}": tree for name, tree in network.items()}
        return {"params": params, **state}

    def _init_network(self, key: jax.Array, own: dict[str, jax.Array]) -> Variables:
        return dict(self.network.init(key, self.gamma.example(), own))

    def _check(self, variables: Variables) -> None:
        """Refuses variables of another model, before the primary's library stumbles over them."""
        params = variables.get("params") if isinstance(variables, Mapping) else None
        if not isinstance(params, Mapping) or "hypernet" not in params:
            held = sorted(params if isinstance(params, Mapping) else variables) if variables else "nothing"
            raise ParameterTreeError(
                f"variables hold {held}, expected {{'params': {{'hypernet', ...}}}} as model.init(key) gives them"
            )
        if self.expected is not None:
            trees.check_same(params["hypernet"], self.expected, "the hypernetwork's parameters (of another model?)")

    def head_size(self, head: Any = None) -> int:
        """Number of parameters of the head, or of another head in its place, without biases.

        >>> import flax.linen as nn
        >>> from hyperlab import hypernetize
        >>> model = hypernetize(nn.Dense(300), jnp.zeros((1, 400)), hidden=(16,))
        >>> model.head_size(), model.head_size("low_rank:4")
        (1924800, 49600)
        """
        width = self.network.hidden[-1] if self.network.hidden else self.gamma.size
        return HEADS.get(self.network.head if head is None else head).size(self.spec, width)

    def _guard_head(self) -> None:
        numbers = self.head_size()
        guard(
            4 * numbers,
            self.memory_limit,
            f"the head ({self.spec.size:,} generated numbers, {numbers:,} parameters)",
            "use head='chunked' or head='low_rank', or generate fewer leaves with select=",
        )

    # -- theta -----------------------------------------------------------------------------------------------

    def delta(self, variables: Variables, gamma: PyTree, mutable: Any = False) -> Any:
        """What the hypernetwork contributes: `{path: [..., *shape]}` in float32, before theta0 is added."""
        self._check(variables)
        own_state = {
            name.removeprefix("hypernet_"): tree for name, tree in variables.items() if name.startswith("hypernet_")
        }
        given = {"params": variables["params"]["hypernet"], **own_state}
        updated: dict[str, Any] = {}

        def network(value: jax.Array) -> Any:
            if not mutable:
                return self.network.apply(given, value)
            tensors, state = self.network.apply(given, value, mutable=mutable)
            updated.update({f"hypernet_{name}": tree for name, tree in state.items()})
            return tensors

        tensors = self.parametrization.delta(network, gamma)
        return (tensors, updated) if mutable else tensors

    def theta(self, variables: Variables, delta: dict[str, Float[Array, "..."]]) -> dict[str, Shaped[Array, "..."]]:
        """The generated leaves by path from their delta, cast to the primary's own dtypes."""
        params = variables["params"]
        theta0, extra = self.layout.read(params.get("theta0", {})), params.get("parametrization", {})
        if self.parametrization.per_tensor:
            extra = self.layout.read(extra)
        theta = self.parametrization(theta0, delta, extra, self.spec)
        if self.generated_weight_decay:
            theta = decayed(theta, self.generated_weight_decay)
        return {record.path: theta[record.path].astype(record.dtype) for record in self.spec}

    def assemble(self, variables: Variables, theta: dict[str, Shaped[Array, "..."]]) -> Variables:
        """The primary's own variables around generated leaves without leading axes, in the primary's own structure."""
        leaves = theta | self.layout.read(variables["params"].get("primary", {}))
        leaves |= {path: leaves[source] for path, source in self.tied.items()}
        state = {
            name: tree for name, tree in variables.items() if name != "params" and not name.startswith("hypernet_")
        }
        return {"params": self.layout.build(leaves), **state}

    def generate(self, variables: Variables, gamma: PyTree) -> Variables:
        """The primary's own variables at one gamma `[d]`, in its own structure: save them, prune them, export them.

        What `init` gave beside arrays (the functions of an Equinox module) is in them again; `jax.jit` of this call
        then needs `equinox.filter_jit`.
        """
        gamma = self.gamma.check(gamma)
        return self.assemble(variables, self.theta(variables, self.delta(variables, gamma)))

    def base(self, variables: Variables) -> Variables:
        """The primary's variables with delta set to zero: theta0 alone (scales 1, rest 0 for direct)."""
        zeros = {record.path: jnp.zeros(record.shape) for record in self.spec}
        return self.assemble(variables, self.theta(variables, zeros))

    def freeze(self, variables: Variables, gamma: PyTree, *, train: bool = False) -> tuple[Any, Variables]:
        """The ordinary network at one gamma; the hypernetwork is gone.

        Args:
          variables: from `init`.
          gamma: `[d]`, or `{name: [d]}`.
          train: the mode that the network is left in: evaluation, or training.

        Returns:
          `(network, theta)`, with `network.apply(theta, *inputs)` at the cost of the primary. The network is the
          Linen module itself (a `Primary` where only a keyword at every call would keep it in its mode), for an NNX
          factory an instance of its module that holds theta, so that `network(*inputs)` is the same, and for a pair
          a `Primary` with `init` and `apply`.
        """
        theta = self.generate(variables, gamma)
        primary = self._switched(train).primary
        return (primary.network(theta) if primary.network else primary), theta

    # -- modes -----------------------------------------------------------------------------------------------

    def eval(self) -> "HyperModel":
        """A copy whose primary is in evaluation mode: no dropout, running statistics of batches.

        An NNX module is put into the mode with its own `eval()`. A Linen module, and the `apply` of a pair, is told by
        the arguments that it has for it (`train`, `training`, `is_training`, `deterministic`,
        `use_running_average`), or by a Linen module's attributes of these names; an argument given in a call
        decides. What has none of them stays as it is.
        """
        return self._switched(False)

    def train(self) -> "HyperModel":
        """A copy whose primary is in training mode; see `eval`. Dropout needs `rngs`, statistics `mutable`."""
        return self._switched(True)

    def _switched(self, train: bool) -> "HyperModel":
        return self.replace(primary=self.primary.switched(train)) if self.primary.switched else self

    # -- application -----------------------------------------------------------------------------------------

    def apply(
        self,
        variables: Variables,
        gamma: PyTree,
        *inputs: PyTree,
        rngs: Mapping[str, jax.Array] | None = None,
        mutable: Any = False,
        offset: dict[str, Float[Array, "..."]] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Applies the primary with one theta for the whole batch.

        Args:
          variables: from `init`.
          gamma: `[d]`, or `{name: [d]}`. For several draws on one batch use `jax.vmap` over this call.
          *inputs: the primary's inputs.
          rngs: random streams for the primary by name, or one key, as in Linen; `nnx.Rngs` give their next keys.
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
        options = {"rngs": nnx_modules.streams_of(rngs), "mutable": self._primary_mutable(mutable)}
        outputs = self.primary.apply(self.assemble(variables, theta), *inputs, **_given(options), **kwargs)
        return (outputs, {}) if mutable and not options["mutable"] else outputs

    def apply_per_sample(
        self,
        variables: Variables,
        gammas: PyTree,
        *inputs: PyTree,
        rngs: Mapping[str, jax.Array] | None = None,
        mutable: Any = False,
        **kwargs: Any,
    ) -> Any:
        """Applies the primary with a theta, and a random stream, of its own for each sample.

        Args:
          variables: from `init`.
          gammas: `[batch, d]`, or `{name: [batch, d]}`.
          *inputs: arrays, each with a leading batch axis, of which the primary sees batches of one; what is no array
            (a flag) is the same for all.
          rngs: random streams, split over the batch.
          mutable: collections to update; a primary's updates are averaged over the batch.
          **kwargs: passed to the primary.

        Raises:
          GammaError: gammas have the wrong shape, or another batch size than the inputs.
          MemoryGuardError: batch x generated numbers would not fit; the bytes are named.
        """
        gammas = self.gamma.check(gammas, ("batch",))
        batch = jax.tree.leaves(gammas)[0].shape[0]
        leaves, structure = jax.tree.flatten(inputs)
        arrays = {index: leaf for index, leaf in enumerate(leaves) if hasattr(leaf, "shape")}
        for array in arrays.values():
            if array.shape[:1] != (batch,):
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
        streams = jax.tree.map(lambda key: jax.random.split(key, batch), nnx_modules.streams_of(rngs))
        options = {"mutable": self._primary_mutable(mutable)}

        def one(theta: PyTree, streams: Any, arrays: Any) -> Any:
            own = {index: array[None] for index, array in arrays.items()}
            sample = jax.tree.unflatten(structure, [own.get(index, leaf) for index, leaf in enumerate(leaves)])
            given = _given({"rngs": streams, **options})
            return self.primary.apply(self.assemble(variables, theta), *sample, **given, **kwargs)

        result = jax.vmap(one)(theta, streams, arrays)
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
        if wanted is True or isinstance(wanted, DenyList):
            return ["batch_stats"] if self.network.normalization == "batch_norm" else []
        return [name.removeprefix("hypernet_") for name in wanted or [] if name.startswith("hypernet_")]

    def _primary_mutable(self, mutable: Any) -> Any:
        if isinstance(mutable, bool | DenyList):
            return mutable
        wanted = [mutable] if isinstance(mutable, str) else list(mutable)
        return [name for name in wanted if not name.startswith("hypernet_")] or False


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were set; a plain pair of functions need not know the others."""
    return {name: value for name, value in options.items() if value is not None and value is not False}
