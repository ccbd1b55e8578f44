"""Masks by name: which (score) x how much (distribution) x pattern, at a compression of the whole tree.

A strategy is one line in `STRATEGIES`; what a line cannot say is a function in `scores` or `distributions`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Key, PyTree

from hyperlab import roles as roles_of
from hyperlab import trees
from hyperlab.errors import ConfigError, nearest
from hyperlab.pruning import distributions, layers, patterns, scores, selection
from hyperlab.pruning.counting import available, check
from hyperlab.pruning.scores import Evidence
from hyperlab.pruning.select import PRUNABLE, Patterns, Roles, entries_kept, prunable_paths

Leaves = dict[str, np.ndarray]
RULES = ("exact", "shrinkbench")


class Strategy(NamedTuple):
    """A way to prune.

    Attributes:
      score: a name in `scores.SCORES` or a function `(weights, evidence) -> scores`, by slash path.
      distribution: a name in `distributions.DISTRIBUTIONS`, fractions by path or as a tree, or a function.
      pattern: a name as `patterns.pattern` takes it, or a pattern.
    """

    score: str | Callable[..., Any]
    distribution: str | Mapping[str, Any] | Callable[..., Any] = "global"
    pattern: str | patterns.Pattern = "unstructured"


STRATEGIES = {
    "global_magnitude": Strategy("magnitude"),
    "layer_magnitude": Strategy("magnitude", "uniform"),
    "global_gradient": Strategy("gradient"),
    "layer_gradient": Strategy("gradient", "uniform"),
    "global_activation": Strategy("activation"),
    "layer_activation": Strategy("activation", "uniform"),
    "random": Strategy("random"),
    "layer_random": Strategy("random", "uniform"),
    "erk_magnitude": Strategy("magnitude", "erk"),
    "erk_random": Strategy("random", "erk"),
    "lamp": Strategy("magnitude", "lamp"),
    "snip": Strategy("snip"),
    "grasp": Strategy("grasp"),
    "synflow": Strategy("synflow"),
    "taylor": Strategy("taylor"),
    "wanda": Strategy("wanda", "rows"),
    "magnitude_2_4": Strategy("magnitude", "uniform", "n_m:2,4"),
    "channel_l1": Strategy("magnitude", "uniform", "channel"),
    "channel_l2": Strategy("squared", "uniform", "channel"),
    "channel_taylor": Strategy("taylor", "global", "channel"),
    "channel_random": Strategy("random", "uniform", "channel"),
}


def masks(
    strategy: str | Strategy,
    params: PyTree,
    compression: float | None,
    *,
    prunable: Patterns = PRUNABLE,
    exclude: Patterns = (),
    grads: PyTree = None,
    activations: Mapping[str, Any] | None = None,
    key: Key[Array, ""] | int | None = None,
    evidence: Evidence | None = None,
    masks: PyTree = None,
    rule: str = "exact",
    distribution: Any = None,
    pattern: Any = None,
    minimum: int = 0,
    roles: Roles = None,
) -> PyTree[Bool[np.ndarray, "..."]]:
    r"""The masks that prune a tree of parameters to a compression.

    The compression is over all parameters, prunable or not. Of the units that are ranked together (all prunable
    entries, a leaf's, a row's), $n$ in number, $1 + \lfloor f (n - 1) \rfloor$ are kept, within one of $f n$: a global
    ranking meets the compression to within one entry, a ranking by leaf to within one entry for each leaf. Ties are
    broken by order: leaves sorted by path, row-major within a leaf.

    Layers that are stacked in one leaf (`nn.scan`) are pruned as the same layers in a loop: each is a leaf of its own
    to patterns and distributions (fractions that are given by leaf are of the whole leaf). Complex weights count by
    their modulus, and both their parts go together; integers are never pruned.

    Args:
      strategy: a name in `STRATEGIES`, or a `Strategy`.
      params: a tree of arrays: a network's, a generated theta, a hypernetwork's theta0; also in the boxes of Flax
        (`nnx.State`, partitioning of Linen), which are in no path.
      compression: original size over new size, from 1 to below the ceiling; None where fractions are given or N:M
        decides.
      prunable: glob patterns on slash paths.
      exclude: glob patterns of what stays dense, for instance `["classifier/**"]`.
      grads: gradients of a loss, a tree like `params`; for `gradient`, `snip` and `taylor`.
      activations: from `evidence.activations`; for `activation` and `wanda`.
      key: a `jax.random` key or an integer; for `random`.
      evidence: the same and more in one value (`hessian_gradient` for `grasp`, `flow` for `synflow`).
      masks: the current masks, to prune further: what is pruned stays so.
      rule: `exact`, or `shrinkbench`: keep what is not strictly below the quantile, ties included (more is kept than
        asked for where scores are equal), and for `random` each entry with probability f. Where no scores are equal
        the two are the same, `random` apart.
      distribution: replaces the strategy's: a name, or fractions by path or as a tree (`counting.fractions_of` of
        another method's masks).
      pattern: replaces the strategy's.
      minimum: entries that every tensor keeps at least.
      roles: which axes a kernel sums over, `{glob pattern: "in out out"}`, where neither the activations' layers nor
        names and siblings tell; or all that a module says, `hyperlab.roles.of(params, module, *inputs)`.

    Returns:
      A tree like `params`, of bool numpy arrays: true where kept, all true where not prunable.

    Raises:
      ConfigError: unknown names; evidence that is missing; a compression below 1, beyond the ceiling N / U (which is
        given), or below what the current masks have; a pattern that does not divide an axis;
        an axis that is needed and undecided (the leaf is named, and how to say it).
      PatternError: nothing to prune, or an exclusion that matches nothing.
      ParameterTreeError: gradients or masks that are not like `params`.
      NonFiniteError: scores that are NaN or infinite; the leaf is named.

    Source of the rules: Blalock, Gonzalez Ortiz, Frankle and Guttag (2020), arXiv 2003.03033, and its authors' library.

    >>> params = {"conv": {"kernel": np.array([[3.0, -1.0], [2.0, 0.5]])}, "classifier": {"kernel": np.ones((2, 1))}}
    >>> kept = masks("global_magnitude", params, compression=1.5, exclude=["classifier/**"])
    >>> kept["conv"]["kernel"].astype(int).tolist(), kept["classifier"]["kernel"].all()
    ([[1, 0], [1, 0]], np.True_)
    """
    chosen = _strategy(strategy, distribution, pattern, rule)
    form = patterns.pattern(chosen.pattern)
    if not isinstance(minimum, int | np.integer) or isinstance(minimum, bool) or minimum < 0:
        raise ConfigError(f"minimum is {minimum!r}, expected a whole number of entries from 0")
    if minimum and (rule != "exact" or isinstance(form, patterns.NM) or chosen.distribution == "rows"):
        raise ConfigError("minimum= is for the exact rule; N:M patterns and rows keep some of every output anyway")
    boxed, (params, masks, grads) = params, map(trees.unboxed, (params, masks, grads))
    leaves = trees.flatten(params)
    given = {"grads": grads, "activations": activations, "key": key}
    evidence = evidence or Evidence()
    evidence = evidence._replace(**{name: value for name, value in given.items() if value is not None})
    said = {**scores.recorded_roles(leaves, evidence.activations), **roles_of.given(roles, leaves)}
    decided = roles_of.of(params, roles=said)
    evidence = evidence._replace(roles=decided)
    paths = prunable_paths(params, prunable, exclude, decided)
    ruled, followers = _ruled(paths, leaves, decided, form, chosen.distribution == "rows")
    current = None
    if masks is not None:
        check(masks, params)
        current = {path: np.asarray(mask) for path, mask in trees.flatten(masks).items()}

    parts = _parts([*ruled, *followers.values()], leaves, decided, chosen, form)
    if not (isinstance(chosen.distribution, str) or callable(chosen.distribution)):
        chosen = chosen._replace(distribution=parts.spread(chosen.distribution))
    budget = _budget(params, compression, ruled, followers, current, parts)
    ranked = scores.evaluate(chosen.score, {path: scores.host(leaves[path]) for path in ruled}, evidence)
    if current is not None:
        ranked = {path: np.where(current[path], s, -np.inf) for path, s in ranked.items()}
    ranked = parts.apart(ranked)
    if rule == "shrinkbench" and isinstance(chosen.distribution, str):  # as it always is then
        kept = selection.by_quantile(chosen.score, chosen.distribution, ranked, budget)
    else:
        kept = selection.exactly(chosen.distribution, form, ranked, budget, minimum)
    for kernel, bias in followers.items():
        for name, its_bias in zip(parts.names(kernel), parts.names(bias), strict=True):
            kept[its_bias] = np.asarray(kept[name].reshape(-1, kept[name].shape[-1]).any(0))
    kept = parts.together(kept, [*ruled, *followers.values()])
    result = {path: kept[path] if path in kept else np.ones(leaf.shape, bool) for path, leaf in leaves.items()}
    if current is not None:
        result = {path: mask & current[path] for path, mask in result.items()}
    if isinstance(form, patterns.NM) or not isinstance(chosen.distribution, str):
        _reached(compression, result)
    return jax.tree.unflatten(jax.tree.structure(boxed), jax.tree.leaves(trees.unflatten(result, params)))


def _strategy(strategy: str | Strategy, distribution: Any, pattern: Any, rule: str) -> Strategy:
    if isinstance(strategy, str):
        if strategy not in STRATEGIES:
            raise ConfigError(f"unknown strategy {strategy!r}; {nearest(strategy, STRATEGIES)}")
        strategy = STRATEGIES[strategy]
    if rule not in RULES:
        raise ConfigError(f"unknown rule {rule!r}; {nearest(rule, RULES)}")
    replaced = {"distribution": distribution, "pattern": pattern}
    chosen = strategy._replace(**{name: value for name, value in replaced.items() if value is not None})
    form = patterns.pattern(chosen.pattern)
    if isinstance(form, patterns.NM) and distribution is not None:
        raise ConfigError(f"a pattern {form.n}:{form.m} decides the fraction of every leaf; leave out distribution=")
    if chosen.distribution == "rows" and not isinstance(form, (patterns.Unstructured, patterns.NM)):
        raise ConfigError(f"distribution 'rows' ranks the entries of one output; pattern {form} has none of them apart")
    if rule == "shrinkbench" and not (
        isinstance(form, patterns.Unstructured) and chosen.distribution in ("global", "uniform")
    ):
        raise ConfigError(
            f"rule 'shrinkbench' is for unstructured masks, global or uniform; got {form} and {chosen.distribution!r}"
        )
    return chosen


def _ruled(
    paths: list[str], leaves: dict[str, Any], roles: Mapping[str, roles_of.Role], form: patterns.Pattern, rows: bool
) -> tuple[list[str], dict[str, str]]:
    """The leaves that are ranked, and the biases that follow a kernel's channels."""
    if not (form.matrices_only or rows):
        return paths, {}
    ruled = [path for path in paths if roles[path].is_matrix]
    if not ruled:
        raise ConfigError(f"pattern {form} is for kernels of two dimensions or more; prunable are {paths[:8]}")
    if not form.takes_bias:
        return ruled, {}
    biases = {path.rpartition("/")[0]: path for path in paths if roles[path].kind == "bias"}
    followers = {path: biases[layer] for path in ruled if (layer := path.rpartition("/")[0]) in biases}

    def fits(kernel: str, bias: str) -> bool:
        sizes = [leaves[kernel].shape[axis] for axis in (*roles[kernel].stacked, *roles[kernel].outputs)]
        same = roles[kernel].copies(leaves[kernel].shape) == roles[bias].copies(leaves[bias].shape)
        return same and np.prod(sizes) == np.prod(leaves[bias].shape)

    return ruled, {kernel: bias for kernel, bias in followers.items() if fits(kernel, bias)}


def _parts(
    paths: list[str],
    leaves: dict[str, Any],
    roles: Mapping[str, roles_of.Role],
    chosen: Strategy,
    form: patterns.Pattern,
) -> layers.Layers:
    """The layers that are compared: those in each leaf, but where fractions are by leaf or all entries compete."""
    shapes = {path: tuple(leaves[path].shape) for path in paths}
    by_leaf = not (isinstance(chosen.distribution, str) or callable(chosen.distribution))
    if isinstance(form, patterns.Unstructured) and (by_leaf or chosen.distribution == "global"):
        return layers.without_layers(shapes)
    return layers.of(shapes, roles, form.matrices_only or chosen.distribution in ("rows", "erk"))


def _budget(
    params: PyTree,
    compression: float | None,
    ruled: list[str],
    followers: dict[str, str],
    current: Leaves | None,
    parts: layers.Layers,
) -> distributions.Budget:
    """What may be kept over the ranked layers and their followers."""
    leaves = trees.flatten(params)
    size = {path: int(np.prod(leaves[path].shape, dtype=np.int64)) for path in leaves}
    bias_of = {
        name: its_bias
        for kernel, bias in followers.items()
        for name, its_bias in zip(parts.names(kernel), parts.names(bias), strict=True)
    }

    def of_layers(counts: dict[str, int]) -> dict[str, int]:
        names = [name for path in ruled for name in parts.names(path)]
        return {name: counts[name] + (counts[bias_of[name]] if name in bias_of else 0) for name in names}

    shapes = {name: parts.parts.get(path, parts.shapes[path]) for path in parts.shapes for name in parts.names(path)}
    sizes = of_layers({name: int(np.prod(shape, dtype=np.int64)) for name, shape in shapes.items()})
    left, entries = dict(sizes), None
    if compression is not None:
        entries = entries_kept(params, compression, [*ruled, *followers.values()])
    if current is not None:
        there = available(current)
        left = of_layers(available(parts.apart({path: current[path] for path in parts.shapes})))
        if compression is not None and entries is not None:
            # what is pruned elsewhere already leaves room here
            entries += sum(size.values()) - sum(sizes.values()) - (sum(there.values()) - sum(left.values()))
            if entries >= sum(left.values()) + len(sizes):  # one for the rounding of each layer
                now = sum(size.values()) / sum(there.values())
                raise ConfigError(
                    f"compression {float(compression):g} is lower than the {now:.4g} that the current masks have; "
                    f"pruning does not bring weights back: start from the dense parameters, without masks="
                )
    return distributions.Budget(entries, {name: shapes[name] for name in sizes}, sizes, left)


def _reached(compression: float | None, kept: Leaves) -> None:
    if compression is None:
        return
    reached = sum(mask.size for mask in kept.values()) / max(1, sum(available(kept).values()))
    if abs(reached / compression - 1) > 0.01:
        raise ConfigError(
            f"compression {compression:g} was asked for, but the pattern or the given fractions make it {reached:.4g}; "
            f"pass compression=None to take what they give"
        )
