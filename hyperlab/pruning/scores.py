r"""Scores: how much each weight matters. The larger, the rather it is kept.

A score is a function `(weights, evidence) -> scores`, both of them host arrays by slash path; `evidence` holds what was
measured on data (`hyperlab.pruning.evidence`). Adding one is one function with a `@score("name")` line.

| name | score of a weight $w$ with gradient $g$ | source |
|---|---|---|
| `magnitude` | $|w|$ | Janowsky 1989; Han et al. 2015, arXiv 1506.02626 |
| `squared` | $w^2$, whose sum over a channel ranks by the L2 norm | |
| `gradient` | $|w g|$ | Mozer and Smolensky 1989; Blalock et al. 2020, arXiv 2003.03033 |
| `activation` | $|w a|$, $a$ the size of the mean input | library of Blalock et al. |
| `random` | uniform | |
| `snip` | $|w g| / \sum |w g|$ | Lee et al. 2019, arXiv 1810.02340 |
| `grasp` | $w \, (H g)$ | Wang et al. 2020, arXiv 2002.07376 |
| `synflow` | $|w \, \partial R / \partial |w||$ | Tanaka et al. 2020, arXiv 2006.05467 |
| `taylor` | $(w g)^2$ | Molchanov et al. 2019, arXiv 1906.10771 |
| `wanda` | $|w| \, \|x\|_2$ | Sun et al. 2023, arXiv 2306.11695 |

Of complex weights $|w|$ is the modulus and $w g$ stands for its real part: with the gradient as JAX gives it, that is
how the loss would change to first order without the weight.
"""

import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key, Num, PyTree
from numpy.typing import ArrayLike

from hyperlab import roles as roles_of
from hyperlab import trees
from hyperlab.errors import ConfigError, NonFiniteError, ParameterTreeError, nearest

Leaves = dict[str, np.ndarray]


class Evidence(NamedTuple):
    """What scores may rest on beside the weights; what is missing is None.

    Attributes:
      grads: gradients of the loss, a tree like the parameters.
      hessian_gradient: the Hessian of the loss times its gradient, likewise.
      flow: gradients of the synaptic flow, likewise.
      activations: statistics of the inputs by layer path, see `evidence.activations`.
      key: a `jax.random` key, or an integer.
      roles: of the leaves by path, see `hyperlab.roles`; without, those that the activations came with, or names.
    """

    grads: PyTree = None
    hessian_gradient: PyTree = None
    flow: PyTree = None
    activations: Mapping[str, Any] | None = None
    key: Any = None
    roles: Mapping[str, roles_of.Role] | None = None


Score = Callable[[Leaves, Evidence], Leaves]
SCORES: dict[str, Score] = {}


def score(name: str) -> Callable[[Score], Score]:
    """Registers a score under a name."""

    def register(function: Score) -> Score:
        SCORES[name] = function
        return function

    return register


def evaluate(function: str | Score, weights: Leaves, evidence: Evidence) -> Leaves:
    """Scores by path, checked: of the weights' shapes and finite.

    Raises:
      ConfigError: an unknown name, or evidence that is missing.
      ParameterTreeError: scores of other paths or shapes, or complex ones.
      NonFiniteError: a score is NaN or infinite; the leaf is named.

    >>> evaluate("magnitude", {"a": np.array([-2.0, 1.0])}, Evidence())
    {'a': array([2., 1.])}
    """
    if isinstance(function, str):
        if function not in SCORES:
            raise ConfigError(f"unknown score {function!r}; {nearest(function, SCORES)}")
        function = SCORES[function]
    flat = trees.flatten(function(weights, evidence))  # leaves by slash path flatten to themselves
    scores = {path: host(flat[path]) for path in weights if path in flat}
    trees.check_same(scores, weights, "the scores")
    for path, leaf in scores.items():
        if np.iscomplexobj(leaf):
            raise ParameterTreeError(f"the scores of {path!r} are complex, which have no order; expected real ones")
        # a sum is finite only if all are; it costs no array of flags, which is drawn up only to be sure
        if not np.isfinite(leaf.sum(dtype=np.float64)) and (bad := int((~np.isfinite(leaf)).sum())):
            raise NonFiniteError(f"{bad} of {leaf.size} scores of {path!r} are NaN or infinite: nothing can be ranked")
    return scores


def host(leaf: ArrayLike) -> Num[np.ndarray, "..."]:
    """A numpy array in at least float32, or complex; no copy where it is one on the host already."""
    array = np.asarray(leaf)
    wide = array.dtype in (np.float32, np.float64) or np.iscomplexobj(array)
    return array if wide else array.astype(np.float32)


@score("magnitude")
def magnitude(weights: Leaves, evidence: Evidence) -> Leaves:
    """The absolute value."""
    return {path: np.abs(w) for path, w in weights.items()}


@score("squared")
def squared(weights: Leaves, evidence: Evidence) -> Leaves:
    """The square: its sum over a channel ranks channels by their L2 norms."""
    return {path: np.square(np.abs(w) if np.iscomplexobj(w) else w) for path, w in weights.items()}


@score("gradient")
def gradient(weights: Leaves, evidence: Evidence) -> Leaves:
    """Weight times gradient, absolute: how the loss would change to first order without the weight."""
    return _times(weights, evidence.grads, "gradient", "grads=")


@score("snip")
def snip(weights: Leaves, evidence: Evidence) -> Leaves:
    """The share of a weight in the sum of all |w g|; ranks as `gradient` does, at initialisation."""
    scores = _times(weights, evidence.grads, "snip", "grads=")
    total = sum(float(s.sum(dtype=np.float64)) for s in scores.values())
    return {path: s / total if total else s for path, s in scores.items()}


@score("taylor")
def taylor(weights: Leaves, evidence: Evidence) -> Leaves:
    """The square of weight times gradient; may be summed over groups."""
    scores = _times(weights, evidence.grads, "taylor", "grads=")
    return {path: np.square(s, out=s) for path, s in scores.items()}


@score("grasp")
def grasp(weights: Leaves, evidence: Evidence) -> Leaves:
    """Weight times (Hessian times gradient), with its sign: removed first is what lowers the gradient's norm least.

    The paper removes the largest of the negative of this.
    """
    product = _like(weights, evidence.hessian_gradient, "grasp", "Evidence(hessian_gradient=...)")
    return {path: (w * product[path]).real for path, w in weights.items()}


@score("synflow")
def synflow(weights: Leaves, evidence: Evidence) -> Leaves:
    """Weight times the gradient of the synaptic flow, absolute; to be used in rounds, see `schedules.in_rounds`."""
    moduli = {path: np.abs(w) if np.iscomplexobj(w) else w for path, w in weights.items()}
    return _times(moduli, evidence.flow, "synflow", "Evidence(flow=...)")


@score("random")
def random(weights: Leaves, evidence: Evidence) -> Leaves:
    """Uniform draws; those of a leaf depend on the key and its path alone, not on which others there are."""
    if evidence.key is None:
        raise ConfigError(
            "score 'random' needs key=, for instance jax.random.key(seed): draws without one cannot be repeated"
        )
    seed = words(evidence.key)
    draw = {path: np.random.default_rng([*seed, zlib.crc32(path.encode())]) for path in weights}
    return {path: draw[path].random(w.shape, np.float32) for path, w in weights.items()}


@score("activation")
def activation(weights: Leaves, evidence: Evidence) -> Leaves:
    """Weight times the size of its mean input, absolute; of a bias, times the mean over all inputs.

    The inputs are averaged over the batch first, then taken absolute and averaged over positions.
    """

    decided = _roles(weights, evidence)

    def of(path: str, w: np.ndarray) -> np.ndarray:
        mean, role = _statistics(evidence, path, "activation").mean, decided[path]
        if role.is_matrix:
            return np.abs(w * by_input(mean, w.shape, path, role))
        copies = [w.shape[axis] if axis in role.stacked else 1 for axis in range(w.ndim)]
        return np.abs(w * mean.reshape(*copies, -1).mean(-1))

    return {path: of(path, w) for path, w in weights.items()}


@score("wanda")
def wanda(weights: Leaves, evidence: Evidence) -> Leaves:
    """Absolute weight times the L2 norm of its input over all examples and positions; compared within output rows."""
    decided = _roles(weights, evidence)
    if flat := [path for path in weights if not decided[path].is_matrix]:
        raise ConfigError(f"score 'wanda' is for kernels; leave out {flat[:4]}, for instance by prunable=['**/kernel']")

    def of(path: str, w: np.ndarray) -> np.ndarray:
        norm = _statistics(evidence, path, "wanda").norm
        return np.abs(w) * by_input(norm, w.shape, path, decided[path])

    return {path: of(path, w) for path, w in weights.items()}


def by_input(
    statistic: Float[np.ndarray, "..."], shape: tuple[int, ...], path: str, role: roles_of.Role
) -> Float[np.ndarray, "..."]:
    """A statistic of a layer's inputs, placed on the axes of its kernel that they meet, so that it broadcasts.

    Args:
      statistic: `[*copies, *inputs]`; of a convolution in groups, `[*copies, groups * inputs]`.
      shape: of the kernel.
      path: of the kernel.
      role: of the kernel.

    Raises:
      ParameterTreeError: sizes that do not fit.
      ConfigError: the axes of the kernel are undecided.

    >>> attention = roles_of.Role("kernel", ("in", "out", "out"))
    >>> by_input(np.ones(16), (16, 4, 4), "query/kernel", attention).shape
    (16, 1, 1)
    >>> convolution = roles_of.Role("kernel", ("window", "in", "out"))
    >>> by_input(np.array([1.0, 2.0]), (3, 1, 4), "kernel", convolution).tolist()
    [[[1.0, 1.0, 2.0, 2.0]]]
    """
    axes, sizes = (*role.stacked, *role.inputs), [shape[axis] for axis in role.stacked]
    inputs, outputs = (math.prod(shape[axis] for axis in those) for those in (role.inputs, role.outputs))
    groups, rest = divmod(statistic.size, math.prod(sizes) * inputs)
    if rest or not groups or outputs % groups:
        raise ParameterTreeError(f"{path!r} has shape {shape}, its recorded input {statistic.size} channels")
    placed = statistic.astype(np.float32)
    if groups > 1:  # output channel o belongs to group o // (outputs / groups)
        placed = np.repeat(placed.reshape(*sizes, groups, inputs).swapaxes(-1, -2), outputs // groups, axis=-1)
        axes = (*axes, *role.outputs)
    placed = placed.reshape([shape[axis] for axis in axes]).transpose(np.argsort(axes))
    return placed.reshape([size if axis in axes else 1 for axis, size in enumerate(shape)])


def _roles(weights: Leaves, evidence: Evidence) -> Mapping[str, roles_of.Role]:
    if evidence.roles is not None:
        return evidence.roles
    return roles_of.of(weights, roles=recorded_roles(weights, evidence.activations))


def recorded_roles(paths: Iterable[str], activations: Mapping[str, Any] | None) -> dict[str, roles_of.Role]:
    """What the layers whose inputs were recorded say of their kernels, by path."""
    layers = {path: (activations or {}).get(path.rpartition("/")[0]) for path in paths}
    kernels = {path: getattr(seen, "kernel", None) for path, seen in layers.items() if path.split("/")[-1] == "kernel"}
    return {path: role for path, role in kernels.items() if role is not None}


def _times(weights: Leaves, tree: PyTree, name: str, argument: str) -> Leaves:
    others = _like(weights, tree, name, argument)
    products = {path: (w * others[path]).real for path, w in weights.items()}
    return {path: np.abs(p, out=p) for path, p in products.items()}


def _like(weights: Leaves, tree: PyTree, name: str, argument: str) -> Leaves:
    if tree is None:
        raise ConfigError(f"score {name!r} needs {argument}, a tree like the parameters")
    leaves = trees.flatten(tree)
    found = {path: host(leaves[path]) for path in weights if path in leaves}
    trees.check_same(found, weights, f"what score {name!r} was given in {argument}")
    return found


def _statistics(evidence: Evidence, path: str, name: str) -> Any:
    if evidence.activations is None:
        raise ConfigError(f"score {name!r} needs activations=, from hyperlab.pruning.evidence.activations")
    layer = path.rpartition("/")[0]
    if layer not in evidence.activations:
        raise ConfigError(
            f"no activations were recorded for {path!r}; exclude it or record {layer!r}: "
            f"{nearest(layer, evidence.activations)}"
        )
    return evidence.activations[layer]


def words(key: Key[Array, ""] | int) -> list[int]:
    """A `jax.random` key, or an integer, as the integers that seed a numpy generator.

    >>> words(7), words(jax.random.key(7))
    ([7], [0, 7])
    """
    if isinstance(key, (int, np.integer)):
        return [int(key)]
    typed = jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(key) if typed else key).ravel().tolist()
