"""One step of training or evaluation: pure functions, compiled with a donated state.

Metrics are sums and counts until the very end, so that padded last batches, several calls and several
devices stay exact. Whether a step was finite is itself a metric: the loop reads it one call late, and
the device never waits for the host.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding
from jaxtyping import PyTree

from hyperlab import trees
from hyperlab.metrics import Metric
from hyperlab.norms import all_finite, global_norm
from hyperlab.train import compiler, rngs
from hyperlab.train.protocols import Stop
from hyperlab.train.state import TrainState, trained, untrained

NONFINITE = "nonfinite"  # the metric that counts steps whose loss or updated parameters were not finite

_LARGE = 1 << 20  # numbers of a leaf that is worth sparing a copy


class Aux(NamedTuple):
    """What a loss returns beside its value.

    Attributes:
      metrics: sums and counts by name.
      collections: the updated model collections; None leaves them as they were.
    """

    metrics: Mapping[str, Metric] = {}
    collections: PyTree = None


LossFn = Callable[[PyTree, PyTree, PyTree, dict[str, jax.Array]], tuple[jax.Array, Aux]]


def train_step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    compute_dtype: Any = None,
    cast: str | Sequence[str] = "**",
    streams: Sequence[str] = ("dropout",),
    grad_norm: bool = False,
) -> Callable[[TrainState, PyTree, jax.Array], tuple[TrainState, dict[str, Metric]]]:
    """The update as a pure function, to be vmapped over runs, scanned over steps, or compiled.

    Args:
      loss_fn: `loss_fn(params, collections, batch, rngs) -> (loss [], Aux)`; the loss is a mean. Leaves of `params`
        that are no floating-point numbers (an index table) have no gradient and stay as they are.
      optimizer: an optax transformation.
      compute_dtype: for instance `jnp.bfloat16`: the loss sees all parameters and the batch in this dtype, while
        parameters, gradients, updates and the loss's value stay float32. Take logits to float32 in
        the loss. For networks that cannot be told themselves; `hyperlab.nn.computing_in` keeps what is summed up, and a
        hypernetwork, in float32.
      cast: patterns of the batch leaves that are cast, for instance `("**", "!weights")`.
      streams: names of the random streams; a key is a function of root key, stream and step.
      grad_norm: adds the global norm of the gradient to the metrics.

    Returns:
      `step(state, batch, root_key) -> (state, metrics)`; the metrics hold `loss`, what `loss_fn` gave,
      and `nonfinite`.
    """

    def step(state: TrainState, batch: PyTree, root_key: jax.Array):
        keys = {name: rngs.stream(root_key, name, state.step) for name in streams}
        batch = _cast_batch(batch, compute_dtype, cast)

        def objective(seen):
            params = _cast(untrained(seen, state.params), compute_dtype)
            loss, aux = loss_fn(params, state.collections, batch, keys)
            return loss.astype(jnp.float32), aux

        seen = trained(state.params)
        (loss, aux), grads = jax.value_and_grad(objective, has_aux=True)(seen)
        updates, opt_state = optimizer.update(_in_order(grads), state.opt_state, seen)
        seen = optax.apply_updates(seen, updates)
        params = untrained(seen, state.params)
        metrics = {"loss": Metric(loss, jnp.ones(())), **aux.metrics}
        if grad_norm:
            metrics["grad_norm"] = Metric(global_norm(grads), jnp.ones(()))
        # Read from the parameters, which are written anyway: to look at the gradient would store it, and that of a
        # large head is an outer product which is never needed as a whole.
        finite = jnp.isfinite(loss) & all_finite(seen)
        metrics[NONFINITE] = Metric(1 - finite.astype(jnp.int32), jnp.int32(1))
        collections = state.collections
        if aux.collections is not None:
            collections = jax.tree.map(lambda new, old: new.astype(old.dtype), aux.collections, collections)
        return TrainState(
            step=state.step + 1,
            params=params,
            opt_state=opt_state,
            collections=collections,
        ), metrics

    return step


def compile_step(step: Callable, *, steps_per_call: int = 1, shardings: PyTree = None) -> Callable:
    """Compiles a step with donated state; with `steps_per_call` one call advances several steps.

    Args:
      step: a pure `step(state, batch, root_key) -> (state, metrics)`, of any state.
      steps_per_call: `k` > 1 scans over a leading axis `[k, ...]` of the batch, and the metrics gain that
        axis: what a small network needs, whose step is shorter than a call from Python.
      shardings: the state's shardings, kept from call to call (a compiler that is free to choose would
        return others, and compile again for them).

    Returns:
      The compiled function, to be called outside of any other `jax.jit`; the state given to it is used up.
    """

    def call(state, batch, root_key):
        if steps_per_call == 1:
            return step(state, batch, root_key)
        return jax.lax.scan(lambda carry, one: step(carry, one, root_key), state, batch, length=steps_per_call)

    call = on_mesh(call, shardings)
    options: dict[str, Any] = {"donate_argnums": 0, "compiler_options": compiler.options()}
    if shardings is not None:
        options["out_shardings"] = (shardings, None)
    return compiler.Program(call, "step", **options)


def on_mesh(function: Callable, shardings: PyTree) -> Callable:
    """A function that is traced with the mesh of some shardings known, as a head that is split over it asks for.

    Args:
      function: any, to be compiled.
      shardings: a tree of shardings; None, or none on a mesh: the function itself.
    """
    found = [leaf.mesh for leaf in jax.tree.leaves(shardings) if isinstance(leaf, NamedSharding)]
    if not found:
        return function

    @functools.wraps(function)
    def call(*args):
        with jax.sharding.use_abstract_mesh(found[0].abstract_mesh):
            return function(*args)

    return call


def make_train_step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    steps_per_call: int = 1,
    shardings: PyTree = None,
    **options,
) -> Callable:
    """`compile_step` of `train_step`: what an ordinary run needs; `options` are those of `train_step`.

    >>> from hyperlab.train import state
    >>> optimizer = optax.sgd(0.5)
    >>> step = make_train_step(lambda p, c, x, keys: (((p["w"] - x) ** 2).mean(), Aux()), optimizer)
    >>> start = state.create({"params": {"w": jnp.zeros(1)}}, optimizer)
    >>> after, metrics = step(start, jnp.ones(1), jax.random.key(0))
    >>> float(after.params["w"][0]), means(metrics)["loss"]
    (1.0, 1.0)
    """
    step = train_step(loss_fn, optimizer, **options)
    return compile_step(step, steps_per_call=steps_per_call, shardings=shardings)


def make_eval_step(
    metric_fn: Callable[[PyTree, PyTree, PyTree], Mapping[str, Metric]],
    *,
    compute_dtype: Any = None,
    cast: str | Sequence[str] = "**",
) -> Callable[[TrainState, PyTree], dict[str, Metric]]:
    """Compiles `metric_fn(params, collections, batch) -> sums and counts` to `eval_step(state, batch)`.

    A padded row must have weight 0 in sum and count alike.
    """

    @jax.jit
    def call(params, collections, batch):
        batch = _cast_batch(batch, compute_dtype, cast)
        return dict(metric_fn(_cast(params, compute_dtype), collections, batch))

    return lambda state, batch: call(state.params, state.collections, batch)


def accumulate(
    eval_step: Callable[[Any, PyTree], dict[str, Metric]],
    state: Any,
    batches: Iterable[PyTree],
    stop: Stop | None = None,
) -> dict[str, Metric] | None:
    """Adds the sums and counts of all batches, in float64 on the host, reading one batch late.

    Args:
      eval_step: `eval_step(state, batch) -> sums and counts`.
      state: what it is evaluated on.
      batches: the batches of one pass.
      stop: looked at before every batch.

    Returns:
      Sums and counts over the pass, or None when a stop was requested before its end.
    """
    total, pending = None, None
    for batch in batches:
        if stop is not None and stop.requested:
            return None
        metrics = eval_step(state, batch)
        total, pending = _add(total, pending), metrics
    return _add(total, pending)


def means(metrics: Mapping[str, Metric]) -> dict[str, float]:
    """Divides sums by counts, over every axis that the metrics carry; NaN where nothing was counted.

    >>> means({"accuracy": Metric(np.array([3.0, 2.0]), np.array([4, 4]))})
    {'accuracy': 0.625}
    """
    result = {}
    for name, metric in metrics.items():
        total, count = np.sum(np.asarray(metric.total, np.float64)), np.sum(np.asarray(metric.count, np.float64))
        result[name] = float(total / count) if count else float("nan")
    return result


def _in_order(grads: PyTree) -> PyTree:
    """The same gradients, those of large leaves after those of small ones.

    On a CPU, XLA writes a new parameter over the old one only where all that reads the old one comes before; otherwise
    it copies the parameter first, in every step. What reads a head is also the gradient of the layers below it, on
    which the head's own update does not depend, except so: 0 times a number is not simplified away. (jaxlib 0.10.2)
    """
    leaves = jax.tree.leaves(grads)
    small = [leaf[(0,) * leaf.ndim] for leaf in leaves if 0 < leaf.size < _LARGE]
    if len(small) in (0, len(leaves)):
        return grads
    nothing = jax.lax.platform_dependent(
        *small,
        cpu=lambda *few: 0 * sum(one.astype(jnp.float32) for one in few),
        default=lambda *few: jnp.zeros((), jnp.float32),
    )
    return jax.tree.map(lambda leaf: leaf if leaf.size < _LARGE else leaf + nothing.astype(leaf.dtype), grads)


def _add(total, pending):
    if pending is None:
        return total
    read = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), jax.device_get(pending))
    return read if total is None else jax.tree.map(np.add, total, read)


def _cast(tree: PyTree, dtype: Any) -> PyTree:
    if dtype is None:
        return tree
    return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def _cast_batch(batch: PyTree, dtype: Any, patterns: str | Sequence[str]) -> PyTree:
    if dtype is None:
        return batch
    leaves = trees.flatten(batch)
    chosen = set(trees.select(leaves, patterns, "leaves of the batch"))
    return trees.unflatten({path: _cast(x, dtype) if path in chosen else x for path, x in leaves.items()}, batch)
