r"""Measurements of a hypernetwork: is what it generates proportional to its input, and what does that do?

The measurements M1 to M4 that demonstrate the proportionality problem (arXiv 2304.07645), and the two that
answer its reviewers: how large the generated part is beside theta0, and what the network is without it.

- M1 `weight_norms`: norm of each generated tensor against gamma;
- M2 `layer_statistics`: mean, variance and norm of the primary's layer outputs against gamma;
- M3 `gradient_norms` at fixed omega: norms of the gradient with respect to the generated theta and to omega;
- M4 `steps_to_target`: convergence;
- `delta_ratio`, and `HyperModel.base` for the network with delta set to zero.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree, Real

from hyperlab import trees
from hyperlab.errors import HyperlabError
from hyperlab.hypernet.gradients import loss_and_gradients, omega_norm
from hyperlab.hypernet.model import HyperModel, Variables
from hyperlab.norms import global_norm


def over_gammas(function: Callable[[PyTree], PyTree], gammas: PyTree) -> PyTree:
    """Applies a function of one gamma to every row of `gammas [points, d]`, one after the other on the device."""
    return jax.jit(lambda rows: jax.lax.map(function, rows))(gammas)


def coefficient_of_variation(values: Real[np.ndarray, "..."], axis: int = 0) -> Float[np.ndarray, "..."]:
    """Standard deviation over mean along an axis (population form)."""
    values = np.asarray(values, np.float64)
    mean = values.mean(axis)
    return np.divide(values.std(axis), mean, out=np.full_like(mean, np.nan), where=mean > 0)


# -- M1 -----------------------------------------------------------------------------------------------------------


def weight_norms(model: HyperModel, variables: Variables, gammas: PyTree) -> dict[str, Float[Array, " points"]]:
    """M1: the L2 norm of each generated tensor on a grid of gamma.

    Args:
      model: a hypernetised model.
      variables: its variables.
      gammas: `[points, d]`, or `{name: [points, d]}`.

    Returns:
      `{path: [points]}`, with the norm over all generated tensors under `"total"`.
    """

    return over_gammas(lambda gamma: weight_norms_at(model, variables, gamma), gammas)


def weight_norms_at(model: HyperModel, variables: Variables, gamma: PyTree) -> dict[str, Float[Array, ""]]:
    """`weight_norms` at one gamma `[d]`."""
    theta = model.theta(variables, model.delta(variables, gamma))
    return {path: global_norm(tensor) for path, tensor in theta.items()} | {"total": global_norm(theta)}


def rms_ratio(
    model: HyperModel, variables: Variables, own: Variables, gammas: PyTree
) -> dict[str, Float[Array, " points"]]:
    """Root mean square of each generated kernel over that of the primary's own initialisation.

    A dead network has the steadiest gradients of all, so this stands beside every gradient statistic.

    Args:
      own: the primary's own initial variables.
      gammas: `[points, d]`.

    Returns:
      `{path: [points]}` for the kernels; 1 is the primary's own scale.
    """
    return over_gammas(lambda gamma: rms_ratio_at(model, variables, own, gamma), gammas)


def rms_ratio_at(model: HyperModel, variables: Variables, own: Variables, gamma: PyTree) -> dict[str, Float[Array, ""]]:
    """`rms_ratio` at one gamma `[d]`."""
    reference, theta = trees.flatten(own["params"]), model.theta(variables, model.delta(variables, gamma))
    kernels = [record.path for record in model.spec if record.role == "kernel"]
    return {path: _rms(theta[path]) / _rms(reference[path]) for path in kernels}


def _rms(array: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.mean(jnp.square(array.astype(jnp.float32))))


# -- M2 -----------------------------------------------------------------------------------------------------------


def layer_statistics(
    model: HyperModel, variables: Variables, gammas: PyTree, *inputs: PyTree, **kwargs: Any
) -> dict[str, dict[str, Float[Array, " points"]]]:
    """M2: mean, variance and L2 norm of each layer's output (before its activation) against gamma.

    Args:
      gammas: `[points, d]`.
      *inputs: one batch for the primary.
      **kwargs: passed to the primary.

    Returns:
      `{layer path: {"mean": [points], "variance": [points], "norm": [points]}}`, for layers that own parameters.

    Raises:
      HyperlabError: the primary is not a Linen module, the only kind whose layers can be listened to.
    """
    return over_gammas(lambda gamma: layer_statistics_at(model, variables, gamma, *inputs, **kwargs), gammas)


def layer_statistics_at(
    model: HyperModel, variables: Variables, gamma: PyTree, *inputs: PyTree, **kwargs: Any
) -> dict[str, dict[str, Float[Array, ""]]]:
    """`layer_statistics` at one gamma `[d]`."""
    module = model.primary.module
    if not hasattr(module, "bind"):
        raise HyperlabError("layer_statistics listens to the layers of a Linen module; this primary is another kind")
    theta = model.assemble(variables, model.theta(variables, model.delta(variables, gamma)))
    _, captured = module.apply(theta, *inputs, capture_intermediates=True, mutable=["intermediates"], **kwargs)
    layers = {path.rpartition("/")[0] for path in trees.flatten(theta["params"])}
    result = {}
    for path, output in trees.flatten(captured["intermediates"]).items():
        layer = path.removesuffix("/__call__/0").removesuffix("__call__/0")
        if layer in layers:
            output = output.astype(jnp.float32)
            result[layer or "output"] = {
                "mean": output.mean(),
                "variance": output.var(),
                "norm": global_norm(output),
            }
    return result


# -- M3 -----------------------------------------------------------------------------------------------------------


class GradientNorms(NamedTuple):
    """Norms of the gradient: `theta` at the generated parameters, `omega` at the hypernetwork's own."""

    loss: Float[Array, "..."]
    theta: Float[Array, "..."]
    omega: Float[Array, "..."]


def gradient_norms(
    model: HyperModel, variables: Variables, gammas: PyTree, loss: Callable[[Callable[..., Any]], Array]
) -> GradientNorms:
    """M3 at a fixed omega and a fixed batch: loss and gradient norms on a grid of gamma.

    Args:
      gammas: `[points, d]`.
      loss: maps `apply(*inputs) -> outputs` to a scalar; it closes over the batch.

    Returns:
      Arrays `[points]`. The omega norm covers everything that is trained and generated from: `hypernet` and
      `theta0` (the published code keeps theta0 in the head's bias, as part of omega).
    """
    return over_gammas(lambda gamma: gradient_norms_at(model, variables, gamma, loss), gammas)


def gradient_norms_at(
    model: HyperModel, variables: Variables, gamma: PyTree, loss: Callable[[Callable[..., Any]], Array]
) -> GradientNorms:
    """`gradient_norms` at one gamma `[d]`."""
    rest = {name: tree for name, tree in variables.items() if name != "params"}
    value, of_params, of_theta = loss_and_gradients(model, variables["params"], rest, gamma, loss)
    omega = omega_norm(model, variables, gamma, of_params, of_theta)
    return GradientNorms(value, global_norm(of_theta), omega)


def windowed_variation(norms: Float[np.ndarray, "*rest steps"], window: int = 50) -> Float[np.ndarray, "*rest"]:
    """Median over consecutive windows of the coefficient of variation within a window.

    Over a whole run the variation mixes convergence with noise; within a window the trend is small.

    Args:
      norms: `[..., steps]`.
      window: steps in one window.

    Returns:
      `[...]`; NaN where fewer steps than one window are finite.
    """
    norms = np.asarray(norms, np.float64)
    windows = norms.shape[-1] // window
    if windows == 0:
        return np.full(norms.shape[:-1], np.nan)
    parts = norms[..., : windows * window].reshape(*norms.shape[:-1], windows, window)
    variation = coefficient_of_variation(parts, axis=-1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a run without a finite window is NaN, as is said above
        return np.nanmedian(variation, axis=-1)


# -- the objections -----------------------------------------------------------------------------------------------


def delta_ratio(model: HyperModel, variables: Variables, gammas: PyTree) -> Float[Array, " points"]:
    """norm(delta) / norm(theta0) on a grid of gamma: how much of theta the hypernetwork contributes, `[points]`.

    A direct parametrisation has no theta0: the ratio is infinite.
    """
    return over_gammas(lambda gamma: delta_ratio_at(model, variables, gamma), gammas)


def delta_ratio_at(model: HyperModel, variables: Variables, gamma: PyTree) -> Float[Array, ""]:
    """`delta_ratio` at one gamma `[d]`."""
    theta0 = variables["params"].get("theta0")
    base = global_norm(theta0) if theta0 is not None else jnp.float32(0)
    return global_norm(model.delta(variables, gamma)) / base


def check_proportional(model: HyperModel, variables: Variables, gamma: PyTree, factor: float = 3.0) -> float:
    """How far the hypernetwork is from h(c gamma) = c h(gamma): the relative error, 0 for a proportional one.

    Exact for raw inputs, piecewise linear activations, zero biases and no normalisation.
    """
    once = model.delta(variables, gamma)
    scaled = model.delta(variables, jax.tree.map(lambda g: factor * g, gamma))
    difference = {path: scaled[path] - factor * once[path] for path in once}
    return float(global_norm(difference) / jnp.maximum(global_norm(scaled), 1e-30))


# -- M4 -----------------------------------------------------------------------------------------------------------


def steps_to_target(
    steps: Real[np.ndarray, " evaluations"], metric: Float[np.ndarray, "*runs evaluations"], target: float
) -> tuple[Real[np.ndarray, "*runs"], Bool[np.ndarray, "*runs"]]:
    """M4: the first evaluated step at which the metric reaches the target.

    Args:
      steps: `[evaluations]`, increasing.
      metric: `[..., evaluations]`, larger is better; NaN never reaches.
      target: the threshold.

    Returns:
      `(time, reached)`: time is the last step where the target was not reached, so that the pair is a
      right-censored survival time.

    >>> steps_to_target(np.array([5, 10]), np.array([[0.5, 0.9], [0.1, 0.2]]), 0.8)
    (array([10, 10]), array([ True, False]))
    """
    steps, hit = np.asarray(steps), np.asarray(metric) >= target
    reached = hit.any(-1)
    return np.where(reached, steps[hit.argmax(-1)], steps[-1]), np.asarray(reached)
