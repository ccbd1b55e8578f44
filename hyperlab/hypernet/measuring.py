"""The numbers of a certificate: a hypernetwork along gamma, beside the ordinary network of the same initialisation."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from hyperlab import trees
from hyperlab.errors import GammaError
from hyperlab.hypernet import probes
from hyperlab.hypernet.certificate import Certificate, with_findings
from hyperlab.hypernet.heads import HEADS
from hyperlab.hypernet.model import HyperModel, concrete
from hyperlab.norms import global_norm

Along = tuple[np.ndarray, PyTree]  # positions `[points]`, and the gammas there


def measured(
    model: HyperModel,
    along: Along,
    inputs: tuple[Any, ...],
    kwargs: dict[str, Any],
    judge: Callable[[PyTree], Array] | None = None,
    *,
    seeds: int,
    seed: int,
) -> Certificate:
    """The certificate of a model that accepts any gamma, without changes.

    Args:
      model: see `HyperModel.extrapolating`.
      along: from `gammas_of`.
      inputs: of the primary.
      kwargs: of the primary.
      judge: outputs to a loss; None for half the mean square of the outputs by that of the ordinary network's.
      seeds: how many initialisations.
      seed: of them.
    """
    positions, gammas = along
    found = _numbers(model, gammas, inputs, kwargs, judge, seeds, seed)
    leaves = found.pop("ratios")
    rms, head = _of_kernels(model, leaves), _head(model)
    whole = Certificate((), positions, rms=rms, leaves=leaves, head=head, judged=judge is not None, **found)
    return with_findings(whole)


def gammas_of(model: HyperModel, given: Any, points: int) -> Along:
    """Gammas along a range, or given draws by their norm; see `certify`."""
    if given is not None and not isinstance(given, tuple | list):
        drawn = np.asarray(given, np.float32)
        if drawn.ndim != 2 or drawn.shape[1] != model.gamma.size or "" not in dict(model.gamma.dims) or len(drawn) < 2:
            raise GammaError(
                f"gamma_range has shape {list(drawn.shape)}; expected (low, high), or draws "
                f"[points, {model.gamma.size}] of a gamma without names"
            )
        drawn = drawn[np.argsort(np.linalg.norm(drawn, axis=1), kind="stable")]
        return np.linalg.norm(drawn, axis=1), jnp.asarray(drawn)
    if given is not None and not (len(given) == 2 and given[0] < given[1]):
        raise GammaError(f"gamma_range is {given!r}; expected (low, high) with low < high")
    bounds = None if given is None else (float(given[0]), float(given[1]))
    low, high = bounds or model.gamma.ranges[0][1] or (0.0, 1.0)
    return low + np.linspace(0, 1, points) * (high - low), model.gamma.grid(points, bounds)


def default_inputs(model: HyperModel, seed: int) -> tuple[Any, ...]:
    """Standard normal numbers in the shapes of the model's example inputs."""
    key = jax.random.key(seed)
    return tuple(_normal(jax.random.fold_in(key, i), x) for i, x in enumerate(concrete(model.example_inputs)))


def _numbers(
    model: HyperModel,
    gammas: PyTree,
    inputs: tuple[Any, ...],
    kwargs: dict[str, Any],
    judge: Callable[[PyTree], Array] | None,
    seeds: int,
    seed: int,
) -> dict[str, Any]:
    """The numbers of all seeds, as arrays on the host; `ratios` are those of all leaves by path."""

    def measure(key: jax.Array) -> dict[str, Any]:
        primary_key, _ = jax.random.split(jax.random.clone(key))  # as model.init splits it: the same primary
        own = model.primary.init(primary_key, *concrete(model.example_inputs), **model.example_kwargs)
        variables = model.init(key)
        reference = jnp.sqrt(_mean(jax.tree.map(jnp.square, model.primary.apply(own, *inputs, **kwargs))))

        def loss(outputs: PyTree) -> jax.Array:
            if judge is not None:
                return judge(outputs)
            # Any smooth loss will do; this one weighs all outputs and is 1/2 for the ordinary primary's scale.
            return 0.5 * _mean(jax.tree.map(jnp.square, outputs)) / reference**2

        plain = model.layout.read(own["params"])
        plain = {record.path: plain[record.path] for record in model.spec}

        def outputs_of(theta: PyTree) -> PyTree:
            return model.primary.apply(model.assemble(variables, theta), *inputs, **kwargs)

        at_plain = jax.grad(lambda theta: loss(outputs_of(theta)))

        def at(gamma: PyTree) -> dict[str, Any]:
            theta = model.theta(variables, model.delta(variables, gamma))
            outputs = outputs_of(theta)
            gradients = probes.gradient_norms_at(model, variables, gamma, lambda apply: loss(apply(*inputs, **kwargs)))
            return {
                "norms": global_norm(theta),
                "outputs": jnp.sqrt(_mean(jax.tree.map(jnp.square, outputs))) / reference,
                "gradients": gradients.theta,
                "omega_gradients": gradients.omega,
                "ratios": {path: _rms(tensor) / _own_scale(model, plain, path) for path, tensor in theta.items()},
            }

        return jax.lax.map(at, gammas) | {"plain_gradients": global_norm(at_plain(plain))}

    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 2**31), seeds)
    # It runs once: on a CPU, optimising it would take longer than it takes. See `train.compiler.options_once`.
    once = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    program = jax.jit(lambda keys: jax.lax.map(measure, keys), compiler_options=once)
    return jax.tree.map(np.asarray, program(keys))


def _own_scale(model: HyperModel, plain: dict[str, jax.Array], path: str) -> jax.Array:
    """The rms of a leaf in the primary's own initialisation; of one that rests at zero, that of its layer's outputs."""
    own = _rms(plain[path])
    (record,) = (one for one in model.spec if one.path == path)
    kernels = [one for one in model.spec if one.layer == record.layer and one.role == "kernel" and one is not record]
    decided = [one for one in kernels if not one.decided.undecided]
    layer = _rms(plain[decided[0].path]) * math.sqrt(decided[0].fan_in) if decided else jnp.float32(1)
    return jnp.where(own > 0, own, layer)


def _of_kernels(model: HyperModel, ratios: dict[str, np.ndarray]) -> np.ndarray:
    """The rms ratio of all kernels together, `[seeds, points]`; of all leaves where none is a kernel."""
    sizes = {record.path: record.size for record in model.spec if record.role == "kernel"}
    sizes = sizes or {record.path: record.size for record in model.spec}
    squares = [size * np.square(ratios[path]) for path, size in sizes.items()]
    return np.sqrt(np.sum(squares, axis=0) / sum(sizes.values()))


def _head(model: HyperModel) -> float:
    width = model.network.hidden[-1] if model.network.hidden else model.gamma.size
    return HEADS.get(model.network.head).size(model.spec, width) / model.spec.size


def _normal(key: jax.Array, like: Any) -> Any:
    def draw(path: Any, leaf: Any) -> Any:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return jax.random.normal(jax.random.fold_in(key, len(path)), leaf.shape, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, like)


def _mean(tree: PyTree) -> jax.Array:
    leaves = jax.tree.leaves(tree)
    total: Any = sum(jnp.sum(leaf.astype(jnp.float32)) for leaf in leaves)
    return total / trees.count(leaves)


def _rms(array: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.mean(jnp.square(array.astype(jnp.float32))))
