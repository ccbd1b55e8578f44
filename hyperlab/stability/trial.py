"""One trial of the stability study: a Bayesian hypernetwork classifier, trained and measured, as pure functions.

A latent gamma is drawn at every step, theta = h(gamma) classifies the whole batch, and the prediction averages the
class probabilities over latents. Nothing but the loss keeps gamma in use, so this is an implicit ensemble rather
than a posterior; the disagreement between latents and the accuracy with delta set to zero say how much of one.

All functions act on a stack of runs (leading axis), each with a seed and a learning rate of its own. What a run
has seen so far rides in its state, so a restart loses nothing.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from hyperlab import losses
from hyperlab.hypernet import HyperModel, probes
from hyperlab.hypernet.primary import Primary
from hyperlab.metrics import Metric, classification
from hyperlab.train import compiler

PyTree = Any


class Data(NamedTuple):
    """What all runs share, on the device.

    Attributes:
      images, labels: `[n, height, width, channel]` and `[n]`, to train on.
      held_out_images, held_out_labels: to evaluate on.
      latents: `[samples, d]`, what a prediction averages over: the same in every arm.
    """

    images: jax.Array
    labels: jax.Array
    held_out_images: jax.Array
    held_out_labels: jax.Array
    latents: jax.Array


class Batches(NamedTuple):
    """What the steps of one call see.

    They are drawn outside, by programs that all arms share: a random number generator takes longer to compile
    than the network of a small study.

    Attributes:
      indices: int32 `[evaluations, steps, batch]` into the training examples.
      latents: `[evaluations, steps, d]`, or `[evaluations, steps, batch, d]` with one for each sample.
    """

    indices: jax.Array
    latents: jax.Array


class State(NamedTuple):
    """Everything about one run: where it is, where it came from, and what was recorded on the way."""

    step: jax.Array
    learning_rate: jax.Array
    params: PyTree
    collections: PyTree
    opt_state: PyTree
    history: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What all arms share.

    Attributes:
      steps: length of a run.
      evaluate_every: steps between two evaluations.
      samples: latents that a prediction averages over.
      gamma_dim: size of the latent.
      gamma_range: `(low, high)` of a uniform latent.
      prior: `uniform` or `normal`.
      points: gammas of the probes' grid.
      probe_examples: training examples of the probes' fixed batch.
    """

    steps: int = 120
    evaluate_every: int = 5
    samples: int = 8
    gamma_dim: int = 1
    gamma_range: tuple[float, float] = (0.0, 1.0)
    prior: str = "uniform"
    points: int = 21
    probe_examples: int = 128

    def draw(self, key: jax.Array, *leading: int) -> jax.Array:
        """Latents from the prior, `[*leading, gamma_dim]`."""
        shape = (*leading, self.gamma_dim)
        if self.prior == "normal":
            return jax.random.normal(key, shape)
        return jax.random.uniform(key, shape, minval=self.gamma_range[0], maxval=self.gamma_range[1])

    def draw_steps(self, key: jax.Array, first: jax.Array, steps: int, *leading: int) -> jax.Array:
        """Latents of consecutive steps, `[steps, *leading, gamma_dim]`, each a function of key and step alone."""
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, first + jnp.arange(steps))
        return jax.vmap(lambda one: self.draw(one, *leading))(keys)

    def grid(self) -> jax.Array:
        """Gammas along the diagonal of the range (of +-2 standard deviations for a normal prior)."""
        low, high = (-2.0, 2.0) if self.prior == "normal" else self.gamma_range
        return jnp.linspace(low, high, self.points)[:, None] * jnp.ones((1, self.gamma_dim))


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
    """The functions of one variant, for stacks of runs. Variants that differ in initialisation alone share them.

    Attributes:
      primary: the network that is trained as it is, or generated.
      model: the hypernetised primary; None for the arm without a hypernetwork.
      optimizer: `(learning rate, params) -> optax transformation`; the rate may be traced.
      settings: what all arms share.
    """

    primary: Primary
    model: HyperModel | None
    optimizer: Callable[[Any, PyTree], optax.GradientTransformation]
    settings: Settings

    # -- stacks of runs, compiled ------------------------------------------------------------------------------

    def starter(self, model: HyperModel | None) -> Callable[[jax.Array, jax.Array, PyTree], State]:
        """`(keys [runs], learning rates [runs], own [runs]) -> states` before the first step.

        `model` is this trial's, with the initialiser of the variant; `own` are the primary's own variables under
        the first half of each key, which all arms share. Keep the function: it is compiled once.
        """
        return self._compiled(functools.partial(self.start_one, model), often=True)

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
        return self._compiled(self.probe_one, often=False)

    def _compiled(self, function: Callable, *, often: bool, **options: Any) -> Callable:
        """Compiles a function of one run for stacks; a last argument of type `Data` is shared by the stack."""

        def stacked(*given):
            axes = tuple(None if isinstance(tree, Data) else 0 for tree in given)
            if jax.tree.leaves(given[0])[0].shape[0] > 1:
                return jax.vmap(function, in_axes=axes)(*given)
            # A stack of one is compiled without its axis: a batched product costs more than a plain one, and
            # a convolution with batched kernels becomes a grouped one.
            one = [
                tree if axis is None else jax.tree.map(lambda x: x[0], tree)
                for tree, axis in zip(given, axes, strict=True)
            ]
            return jax.tree.map(lambda x: x[None], function(*one))

        # What runs a few times in a run takes longer to optimise than to execute.
        quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
        return jax.jit(stacked, compiler_options=compiler.options() if often else quick, **options)

    # -- one run -----------------------------------------------------------------------------------------------

    def start_one(self, model: HyperModel | None, key: jax.Array, learning_rate: jax.Array, own: PyTree) -> State:
        """A run before its first step."""
        variables = own if model is None else model.init(key, pretrained=own)
        collections = {name: tree for name, tree in variables.items() if name != "params"}
        params = variables["params"]
        evaluations = self.settings.steps // self.settings.evaluate_every + 1
        nan = functools.partial(jnp.full, fill_value=jnp.nan)
        history = {
            **{name: nan((evaluations,)) for name in ("accuracy", "nll")},
            **{name: nan((self.settings.steps,)) for name in ("loss", "gradient_theta", "gradient_omega")},
        }
        opt_state = self.optimizer(learning_rate, params).init(params)
        return State(jnp.int32(0), learning_rate, params, collections, opt_state, history)

    def advance_one(self, state: State, batches: Batches, data: Data) -> tuple[State, dict[str, Metric]]:
        """For each evaluation of the batches: evaluates the run, then trains it on the steps that follow."""

        def window(state: State, batches: Batches):
            first = state.step
            state = self._record(state, self._probabilities(state, data), data)
            state, records = jax.lax.scan(lambda s, batch: self._step(s, batch, data), state, batches)
            history = {
                name: jax.lax.dynamic_update_slice(state.history[name], values, (first,))
                for name, values in records.items()
            }
            return state._replace(history={**state.history, **history}), records["loss"][-1]

        state, last_losses = jax.lax.scan(window, state, batches)
        return state, {"loss": Metric(last_losses[-1], jnp.float32(1))}

    def finish_one(self, state: State, data: Data) -> tuple[State, dict[str, jax.Array]]:
        """The final metrics, which are the last point of the curve too."""
        probabilities, labels = self._probabilities(state, data), data.held_out_labels
        state = self._record(state, probabilities, data)
        mean = classification.predictive(probabilities)
        final = {
            "accuracy": classification.accuracy(mean, labels),
            "nll": classification.nll(mean, labels),
            "brier": classification.brier(mean, labels),
            "ece": classification.ece(mean, labels),
            "accuracy_of_one_latent": classification.accuracy(probabilities[0], labels),
            "disagreement": classification.disagreement(probabilities),
            "mutual_information": classification.mutual_information(probabilities),
        }
        if self.model is not None and self.model.parametrization.uses_theta0:
            alone = self.primary.apply(self.model.base(self._variables(state)), data.held_out_images)
            final["accuracy_without_delta"] = classification.accuracy(alone, labels)
        final = {name: classification.finish(metric) for name, metric in final.items()}
        return state, final | {
            "accuracy": self._chance_if_not_finite(state, final["accuracy"], probabilities.shape[-1]),
            "finite": self._finite(state).astype(jnp.float32),
        }

    def probe_one(self, state: State, own: PyTree, data: Data) -> dict[str, jax.Array]:
        """M1, M2 and M3 at this state, against gamma, at a fixed batch; all in one pass over the gammas."""
        model, variables = self.model, self._variables(state)
        images, labels = data.images[: self.settings.probe_examples], data.labels[: self.settings.probe_examples]

        def loss(apply):
            return losses.cross_entropy(apply(images), labels).mean()

        def measurements(gamma):
            gradients = probes.gradient_norms_at(model, variables, gamma, loss)
            ratios = probes.rms_ratio_at(model, variables, own, gamma)
            layers = probes.layer_statistics_at(model, variables, gamma, images)
            result = {
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

        return probes.over_gammas(measurements, self.settings.grid())

    # -- parts -------------------------------------------------------------------------------------------------

    def _variables(self, state: State) -> PyTree:
        return {"params": state.params, **state.collections}

    def _finite(self, state: State) -> jax.Array:
        return jnp.isfinite(probes.global_norm(state.params))

    def _chance_if_not_finite(self, state: State, accuracy: jax.Array, classes: int) -> jax.Array:
        # A network with NaN in it predicts nothing: it scores as guessing does, and is counted apart.
        return jnp.where(self._finite(state), accuracy, 1.0 / classes)

    def _step(self, state: State, batch: Batches, data: Data) -> tuple[State, dict[str, jax.Array]]:
        images, labels = data.images[batch.indices], data.labels[batch.indices]
        loss, gradient, norms, collections = self._gradients(state, images, labels, batch.latents)
        records = {"loss": loss, **norms}
        optimizer = self.optimizer(state.learning_rate, state.params)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        state = state._replace(step=state.step + 1, params=params, opt_state=opt_state, collections=collections)
        return state, records

    def _gradients(self, state: State, images: jax.Array, labels: jax.Array, latents: jax.Array):
        def mean_loss(logits):
            return losses.cross_entropy(logits, labels).mean()

        def norms(theta, omega):
            return {"gradient_theta": theta, "gradient_omega": omega}

        if self.model is None:
            value, gradient = jax.value_and_grad(
                lambda params: mean_loss(self.primary.apply({"params": params, **state.collections}, images))
            )(state.params)
            norm = probes.global_norm(gradient)
            return value, gradient, norms(norm, norm), state.collections
        if latents.ndim == 1:
            value, gradient, of_theta = probes.loss_and_gradients(
                self.model, state.params, state.collections, latents, lambda f: mean_loss(f(images))
            )
            omega = probes.omega_norm(self.model, self._variables(state), latents, gradient, of_theta)
            return value, gradient, norms(probes.global_norm(of_theta), omega), state.collections

        mutable = list(state.collections)

        def objective(params):
            variables = {"params": params, **state.collections}
            if not mutable:
                return mean_loss(self.model.apply_per_sample(variables, latents, images)), state.collections
            logits, updated = self.model.apply_per_sample(variables, latents, images, mutable=mutable)
            return mean_loss(logits), updated

        (value, collections), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
        omega = probes.global_norm({name: gradient[name] for name in gradient if name != "primary"})
        return value, gradient, norms(jnp.float32(jnp.nan), omega), collections

    def _probabilities(self, state: State, data: Data) -> jax.Array:
        """Class probabilities `[samples, n, classes]` of the held-out examples."""
        variables, images = self._variables(state), data.held_out_images
        if self.model is None:
            return jax.nn.softmax(self.primary.apply(variables, images))[None]
        # All thetas from one product with the head, which is the large array; the primary then runs one by one.
        thetas = self.model.theta(variables, self.model.delta(variables, data.latents))

        def probabilities(theta):
            return jax.nn.softmax(self.primary.apply(self.model.assemble(variables, theta), images))

        return jax.lax.map(probabilities, thetas)

    def _record(self, state: State, probabilities: jax.Array, data: Data) -> State:
        """Writes a point of the learning curve into the run's history."""
        labels, mean = data.held_out_labels, classification.predictive(probabilities)
        accuracy = classification.finish(classification.accuracy(mean, labels))
        measured = {
            "accuracy": self._chance_if_not_finite(state, accuracy, mean.shape[-1]),
            "nll": classification.finish(classification.nll(mean, labels)),
        }
        index = state.step // self.settings.evaluate_every
        history = {name: state.history[name].at[index].set(value) for name, value in measured.items()}
        return state._replace(history={**state.history, **history})
