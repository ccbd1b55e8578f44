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
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from hyperlab import trees
from hyperlab.errors import ConfigError, NonFiniteError, ParameterTreeError, nearest

PyTree = Any
Leaves = dict[str, np.ndarray]


class Evidence(NamedTuple):
    """What scores may rest on beside the weights; what is missing is None.

    Attributes:
      grads: gradients of the loss, a tree like the parameters.
      hessian_gradient: the Hessian of the loss times its gradient, likewise.
      flow: gradients of the synaptic flow, likewise.
      activations: statistics of the inputs by layer path, see `evidence.activations`.
      key: a `jax.random` key, or an integer.
    """

    grads: PyTree = None
    hessian_gradient: PyTree = None
    flow: PyTree = None
    activations: Mapping[str, Any] | None = None
    key: Any = None


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
        # a sum is finite only if all are; it costs no array of flags, which is drawn up only to be sure
        if not np.isfinite(leaf.sum(dtype=np.float64)) and (bad := int((~np.isfinite(leaf)).sum())):
            raise NonFiniteError(f"{bad} of {leaf.size} scores of {path!r} are NaN or infinite: nothing can be ranked")
    return scores


def host(leaf: Any) -> np.ndarray:
    """A numpy array in at least float32; no copy where it is one on the host already."""
    array = np.asarray(leaf)
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)


@score("magnitude")
def magnitude(weights: Leaves, evidence: Evidence) -> Leaves:
    """The absolute value."""
    return {path: np.abs(w) for path, w in weights.items()}


@score("squared")
def squared(weights: Leaves, evidence: Evidence) -> Leaves:
    """The square: its sum over a channel ranks channels by their L2 norms."""
    return {path: np.square(w) for path, w in weights.items()}


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
    return {path: w * product[path] for path, w in weights.items()}


@score("synflow")
def synflow(weights: Leaves, evidence: Evidence) -> Leaves:
    """Weight times the gradient of the synaptic flow, absolute; to be used in rounds, see `schedules.in_rounds`."""
    return _times(weights, evidence.flow, "synflow", "Evidence(flow=...)")


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

    def of(path: str, w: np.ndarray) -> np.ndarray:
        mean = _statistics(evidence, path, "activation").mean
        return np.abs(w * (mean.mean() if w.ndim == 1 else by_input(mean, w.shape, path)))

    return {path: of(path, w) for path, w in weights.items()}


@score("wanda")
def wanda(weights: Leaves, evidence: Evidence) -> Leaves:
    """Absolute weight times the L2 norm of its input over all examples and positions; compared within output rows."""
    if flat := [path for path, w in weights.items() if w.ndim < 2]:
        raise ConfigError(f"score 'wanda' is for kernels; leave out {flat[:4]}, for instance by prunable=['**/kernel']")

    def of(path: str, w: np.ndarray) -> np.ndarray:
        return np.abs(w) * by_input(_statistics(evidence, path, "wanda").norm, w.shape, path)

    return {path: of(path, w) for path, w in weights.items()}


def by_input(statistic: np.ndarray, shape: tuple[int, ...], path: str) -> np.ndarray:
    """A statistic of the inputs `[groups * in]`, spread to a kernel `[..., in, out]` of that many groups.

    >>> by_input(np.array([1.0, 2.0]), (2, 3), "a").shape, by_input(np.array([1.0, 2.0]), (3, 3, 1, 4), "a").tolist()
    ((2, 1), [[1.0, 1.0, 2.0, 2.0]])
    """
    inputs, outputs = shape[-2:]
    if statistic.size == inputs:
        return statistic.astype(np.float32).reshape(inputs, 1)
    groups, rest = divmod(statistic.size, inputs)
    if rest or outputs % max(groups, 1):
        raise ParameterTreeError(f"{path!r} has shape {shape}, its recorded input {statistic.size} channels")
    # output channel o belongs to group o // (outputs / groups)
    return np.repeat(statistic.astype(np.float32).reshape(groups, inputs).T, outputs // groups, axis=1)


def _times(weights: Leaves, tree: PyTree, name: str, argument: str) -> Leaves:
    others = _like(weights, tree, name, argument)
    products = {path: w * others[path] for path, w in weights.items()}
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


def words(key: Any) -> list[int]:
    """A `jax.random` key, or an integer, as the integers that seed a numpy generator.

    >>> words(7), words(jax.random.key(7))
    ([7], [0, 7])
    """
    if isinstance(key, (int, np.integer)):
        return [int(key)]
    typed = jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(key) if typed else key).ravel().tolist()
