"""The compiled functions of the stability study: a network with generated parameters, trained and measured.

A gamma is drawn at every step and theta = h(gamma) does the task on the whole batch; networks are scored at fixed
gammas. What is learnt and what counts as good is the task's (`stability/tasks`).

All functions are pure and act on a stack of runs (leading axis), each with a seed and a learning rate of its own. What
was recorded of a run rides in its state, so a restart loses nothing.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec

from hyperlab.hypernet import HyperModel, prefit, probes
from hyperlab.hypernet.gradients import loss_and_gradients, omega_norm
from hyperlab.hypernet.primary import Primary, as_primary
from hyperlab.metrics import Metric
from hyperlab.norms import all_finite, global_norm
from hyperlab.studies.stability.tasks import Gammas, Task
from hyperlab.train import compiler, groups, schedules

PyTree = Any

POINTS = 21  # gammas of the probes' grid


class Data(NamedTuple):
    """What all runs share, on the device.

    Attributes:
      train: examples to train on: all of the task's or those of a batch; where nothing is trained, those that are
        probed.
      held_out: the task's examples to evaluate on.
      gammas: `[samples, d]`, at which networks are evaluated: the same in every arm.
    """

    train: PyTree
    held_out: PyTree
    gammas: Gammas


class Batches(NamedTuple):
    """What the steps of one call see.

    They are drawn outside, by programs that all arms share: a random number generator takes longer to compile
    than the network of a small study.

    Attributes:
      indices: int32 `[evaluations, steps, batch]` into the training examples.
      gammas: `[evaluations, steps, d]`, or `[evaluations, steps, batch, d]` with one for each sample.
    """

    indices: jax.Array | np.ndarray
    gammas: Gammas


class State(NamedTuple):
    """Everything about one run: where it is, where it came from, and what was recorded on the way."""

    step: jax.Array
    learning_rate: jax.Array
    params: PyTree
    collections: PyTree
    opt_state: PyTree
    history: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True, eq=False)
class Programs:
    """The functions of one variant, for stacks of runs. Variants that differ in initialisation alone share them.

    Attributes:
      task: what is learnt, by which primary.
      model: the hypernetised primary; None for the arm without a hypernetwork.
      optimizer: `(learning rate, params) -> optax transformation`; the rate may be traced.
      steps: length of a run.
      evaluate_every: steps between two evaluations.
      starts_once: whether all runs start in one call, which then takes longer to optimise than to execute.
    """

    task: Task
    model: HyperModel | None
    optimizer: Callable[[Any, PyTree], optax.GradientTransformation]
    steps: int
    evaluate_every: int
    starts_once: bool = False

    @functools.cached_property
    def primary(self) -> Primary:
        """The network that is trained as it is, or generated."""
        return as_primary(self.task.primary)

    # -- stacks of runs, compiled ------------------------------------------------------------------------------

    def starter(self, model: HyperModel | None) -> Callable[[jax.Array, jax.Array, PyTree], State]:
        """`(keys [runs], learning rates [runs], own [runs]) -> states` before the first step.

        `model` is that of these programs, with the initialiser of the variant; `own` are the primary's own variables
        under each key, see `hypernet.own_start`, which all arms share. Keep the function: it is compiled once.
        """
        return self._compiled(functools.partial(self.start_one, model), often=not self.starts_once)

    @functools.cached_property
    def fit_first(self) -> Callable[[State, PyTree, PyTree], State]:
        """`(states, own [runs], gammas [runs, steps, batch, d]) -> states`, fitted to `own`: `hypernet.prefit`."""
        return self._compiled(self.fit_first_one, often=True)

    @functools.cached_property
    def advance(self) -> Callable[[State, Batches, Data], tuple[State, dict]]:
        """`(states, batches [runs], data) -> (states, metrics [runs])`; the states are used up."""
        return self._compiled(self.advance_one, often=True, donate_argnums=0)

    @functools.cached_property
    def finish(self) -> Callable[[State, Data], tuple[State, dict]]:
        """`(states, data) -> (states, final metrics [runs])`."""
        return self._compiled(self.finish_one, often=False)

    @functools.cached_property
    def probe(self) -> Callable[[State, PyTree, Data], dict]:
        """`(states, own [runs], data) -> measurements [runs, points]`."""
        return self._compiled(self.probe_one, often=False, gradients=True)

    def _compiled(self, function: Callable, *, often: bool, gradients: bool = False, **options: Any) -> Callable:
        """Compiles a function of one run for stacks; a last argument of type `Data` is shared by the stack."""

        def stacked(*given):
            axes = tuple(None if isinstance(tree, Data) else 0 for tree in given)
            runs = jax.tree.leaves(given[0])[0].shape[0]
            if runs > 1:
                return _dealt(jax.vmap(function, in_axes=axes), axes, runs)(*given)
            # A stack of one is compiled without its axis: a batched product costs more than a plain one, and
            # a convolution with batched kernels becomes a grouped one.
            one = [
                tree if axis is None else jax.tree.map(lambda x: x[0], tree)
                for tree, axis in zip(given, axes, strict=True)
            ]
            return jax.tree.map(lambda x: x[None], function(*one))

        # What runs a few times in a run takes longer to optimise than to execute.
        chosen = compiler.options() if often else compiler.options_once(gradients)
        name = getattr(function, "__name__", "start").removesuffix("_one")
        return compiler.Program(stacked, name, compiler_options=chosen, **options)

    # -- one run -----------------------------------------------------------------------------------------------

    def start_one(self, model: HyperModel | None, key: jax.Array, learning_rate: jax.Array, own: PyTree) -> State:
        """A run before its first step."""
        variables = own if model is None else model.init(key, pretrained=own)
        collections = {name: tree for name, tree in variables.items() if name != "params"}
        params = variables["params"]
        evaluations = self.steps // self.evaluate_every + 1
        nan = functools.partial(jnp.full, fill_value=jnp.nan)
        history = {
            "score": nan((evaluations,)),
            **{name: nan((self.steps,)) for name in ("loss", "gradient_theta", "gradient_omega")},
        }
        opt_state = schedules.with_length(self.optimizer(learning_rate, params).init(params), self.steps)
        return State(jnp.int32(0), learning_rate, params, collections, opt_state, history)

    def fit_first_one(self, state: State, own: PyTree, gammas: PyTree) -> State:
        """A run before its first step, whose hypernetwork generates nearly the primary's own start."""
        variables, _ = prefit(cast("HyperModel", self.model), self._variables(state), own, gammas)
        return state._replace(params=variables["params"])

    def advance_one(self, state: State, batches: Batches, data: Data) -> tuple[State, dict[str, Metric]]:
        """For each evaluation of the batches: evaluates the run, then trains it on the steps that follow."""

        def window(state: State, batches: Batches):
            first = state.step
            state = self._record(state, self._predictions(state, data), data)
            state, records = jax.lax.scan(lambda s, batch: self._step(s, batch, data), state, batches)
            history = {
                name: jax.lax.dynamic_update_slice(state.history[name], values, (first,))
                for name, values in records.items()
            }
            return state._replace(history={**state.history, **history}), records["loss"][-1]

        state, last_losses = jax.lax.scan(window, state, batches)
        return state, {"loss": Metric(last_losses[-1], jnp.float32(1))}

    def finish_one(self, state: State, data: Data) -> tuple[State, dict[str, jax.Array]]:
        """The final metrics; the score is the last point of the curve too."""
        predictions = self._predictions(state, data)
        state = self._record(state, predictions, data)
        final = {"score": self._score(state, predictions, data), **self.task.final(predictions, data.held_out)}
        if self.model is not None and self.model.parametrization.uses_theta0:
            alone = self._without_gamma(self.model.base(self._variables(state)), data)
            final["score_without_delta"] = self.task.score(alone, data.held_out)
        return state, final | {"finite": self._finite(state).astype(jnp.float32)}

    def probe_one(self, state: State, own: PyTree, data: Data) -> dict[str, jax.Array]:
        """M1, M2 and M3 at this state, against gamma, at a fixed batch; all in one pass over the gammas."""
        model, variables, task = cast("HyperModel", self.model), self._variables(state), self.task
        batch = task.take(data.train, jnp.arange(min(task.probe_examples, task.sizes["train"])))

        def measurements(gammas):
            gamma = gammas.values
            gradients = probes.gradient_norms_at(model, variables, gamma, lambda f: self._loss(f, batch, gammas))
            ratios = probes.rms_ratio_at(model, variables, own, gamma)
            inputs = task.inputs(batch, gammas.aux_inputs)
            layers = probes.layer_statistics_at(model, variables, gamma, *inputs, **task.options)
            result = {
                "gamma": gamma[0],  # the grid is a diagonal
                "norm": probes.weight_norms_at(model, variables, gamma)["total"],
                "rms_ratio": jnp.stack(list(ratios.values())).mean(),
                "gradient_theta": gradients.theta,
                "gradient_omega": gradients.omega,
                "loss": gradients.loss,
                **{f"layer/{layer}": values["norm"] for layer, values in layers.items()},
            }
            if model.parametrization.uses_theta0:
                result["delta_ratio"] = probes.delta_ratio_at(model, variables, gamma)
            return result

        return probes.over_gammas(measurements, task.grid(POINTS))

    # -- parts -------------------------------------------------------------------------------------------------

    def _variables(self, state: State) -> PyTree:
        return {"params": state.params, **state.collections}

    def _finite(self, state: State) -> jax.Array:
        return all_finite(state.params)

    def _loss(self, apply: Callable, batch: PyTree, gammas: Gammas) -> jax.Array:
        outputs = apply(*self.task.inputs(batch, gammas.aux_inputs), **self.task.options)
        return self.task.loss(outputs, batch, gammas.values)

    def _step(self, state: State, batches: Batches, data: Data) -> tuple[State, dict[str, jax.Array]]:
        batch = self.task.take(data.train, batches.indices)
        loss, gradient, norms, collections = self._gradients(state, batch, batches.gammas)
        records = {"loss": loss, **norms}
        optimizer = self.optimizer(state.learning_rate, state.params)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        state = state._replace(step=state.step + 1, params=params, opt_state=opt_state, collections=collections)
        return state, records

    def _gradients(self, state: State, batch: PyTree, gammas: Gammas):
        def norms(theta, omega):
            return {"gradient_theta": theta, "gradient_omega": omega}

        model = self.model
        if model is None:

            def loss(params):
                own = {"params": params, **state.collections}
                return self._loss(functools.partial(self.primary.apply, own), batch, gammas)

            value, gradient = jax.value_and_grad(loss)(state.params)
            norm = global_norm(gradient)
            return value, gradient, norms(norm, norm), state.collections
        if gammas.values.ndim == 1:
            value, gradient, of_theta = loss_and_gradients(
                model, state.params, state.collections, gammas.values, lambda f: self._loss(f, batch, gammas)
            )
            omega = omega_norm(model, self._variables(state), gammas.values, gradient, of_theta)
            return value, gradient, norms(global_norm(of_theta), omega), state.collections

        mutable = list(state.collections)

        inputs, options = self.task.inputs(batch, gammas.aux_inputs), self.task.options

        def objective(params):
            given, updated = ({"params": params, **state.collections}, gammas.values, *inputs), state.collections
            if mutable:
                outputs, updated = model.apply_per_sample(*given, mutable=mutable, **options)
            else:
                outputs = model.apply_per_sample(*given, **options)
            return self.task.loss(outputs, batch, gammas.values), updated

        (value, collections), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
        omega = global_norm({name: gradient[name] for name in gradient if name != "primary"})
        return value, gradient, norms(jnp.float32(jnp.nan), omega), collections

    def _predictions(self, state: State, data: Data) -> PyTree:
        """The task's predictions on the held-out examples at each of the fixed gammas, `[samples, ...]`."""
        variables, model = self._variables(state), self.model
        if model is None:
            return self._without_gamma(variables, data)
        # All thetas from one product with the head, which is the large array; the primary then runs one by one.
        thetas = model.theta(variables, model.delta(variables, data.gammas.values))

        def predictions(each):
            theta, aux_inputs = each
            return self._predict(model.assemble(variables, theta), aux_inputs, data)

        return jax.lax.map(predictions, (thetas, data.gammas.aux_inputs))

    def _without_gamma(self, own: PyTree, data: Data) -> PyTree:
        """Predictions of one network for all gammas: a single one, unless something goes with them."""
        aux_inputs = data.gammas.aux_inputs
        if not jax.tree.leaves(aux_inputs):
            return jax.tree.map(lambda x: x[None], self._predict(own, aux_inputs, data))
        return jax.lax.map(lambda one: self._predict(own, one, data), aux_inputs)

    def _predict(self, own: PyTree, aux_inputs: PyTree, data: Data) -> PyTree:
        outputs = self.primary.apply(own, *self.task.inputs(data.held_out, aux_inputs), **self.task.options)
        return self.task.predict(outputs, data.held_out)

    def _score(self, state: State, predictions: PyTree, data: Data) -> jax.Array:
        # A network with NaN in it predicts nothing: it scores as guessing does, and is counted apart.
        return jnp.where(self._finite(state), self.task.score(predictions, data.held_out), self.task.guess)

    def _record(self, state: State, predictions: PyTree, data: Data) -> State:
        """Writes a point of the learning curve into the run's history."""
        index = state.step // self.evaluate_every
        score = state.history["score"].at[index].set(self._score(state, predictions, data))
        return state._replace(history={**state.history, "score": score})


def _dealt(stacked: Callable, axes: tuple[int | None, ...], runs: int) -> Callable:
    """A function of a stack of runs; where the devices deal the runs out, each maps over its own.

    Runs share nothing, but a compiler does not see that of a convolution with kernels of their own, and would bring all
    runs to every device.
    """
    group = groups.current()
    if group.mesh is None or not group.deals(runs):
        return stacked
    return jax.shard_map(
        stacked,
        mesh=group.mesh.abstract_mesh,
        in_specs=tuple(PartitionSpec() if axis is None else PartitionSpec("data") for axis in axes),
        out_specs=PartitionSpec("data"),
        axis_names={"data"},
        check_vma=False,
    )
