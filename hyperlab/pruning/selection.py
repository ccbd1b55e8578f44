"""Selection: from the scores of leaves, a pattern and a budget to the masks of those leaves."""

from typing import Any

import numpy as np

from hyperlab.errors import ConfigError
from hyperlab.pruning import distributions, keep, patterns
from hyperlab.pruning.counting import available
from hyperlab.pruning.distributions import Budget

Leaves = dict[str, np.ndarray]


def by_quantile(score: Any, distribution: str, ranked: Leaves, budget: Budget) -> Leaves:
    """Masks of the leaves by ShrinkBench's rule; random ones by a draw for each entry.

    Args:
      score: its name, or a function.
      distribution: `global` or `uniform`.
      ranked: scores by path; minus infinity where pruned already.
      budget: what may be kept.
    """
    fraction = budget.needed() / sum(budget.sizes.values())
    if score == "random":
        return {path: s <= fraction for path, s in ranked.items()}
    if _partly(budget):
        # what is pruned has weight zero there, and with it score zero
        ranked = {path: np.where(np.isneginf(s), 0, s) for path, s in ranked.items()}
    if distribution == "uniform":
        return {path: keep.above_quantile([s], fraction)[0] for path, s in ranked.items()}
    return dict(zip(ranked, keep.above_quantile(list(ranked.values()), fraction), strict=True))


def exactly(option: Any, form: patterns.Pattern, ranked: Leaves, budget: Budget, minimum: int) -> Leaves:
    """Masks of the leaves with exact counts.

    Args:
      option: a distribution, as `distributions.divide` takes it.
      form: the pattern.
      ranked: scores by path; minus infinity where pruned already.
      budget: what may be kept.
      minimum: entries that every leaf keeps at least.

    Raises:
      ConfigError: no budget where one is needed, or a minimum that goes beyond it.
    """
    if isinstance(form, patterns.NM):
        return {path: form.choose(s, path) for path, s in ranked.items()}
    if isinstance(option, str):
        budget.needed()
    alive = {path: ~np.isneginf(s) for path, s in ranked.items()} if _partly(budget) else None
    if alive is not None:
        ranked = {path: np.where(alive[path], s, 0) for path, s in ranked.items()}
    units = {path: form.units(s, path) for path, s in ranked.items()}
    if option == "rows":
        return _rows(distributions.divide(option, units, budget), alive)
    division = distributions.divide(option, units, budget)
    units = dict(division.scores)
    there = {path: u.size for path, u in units.items()}
    if alive is not None:
        lives = {path: form.units(a.astype(np.float32), path) > 0 for path, a in alive.items()}
        units = {path: np.where(lives[path], u, -np.inf) for path, u in units.items()}
        there = available(lives)
    size = {path: form.size(budget.shapes[path]) for path in units}
    size = {path: s + int(budget.sizes[path] > np.prod(budget.shapes[path])) for path, s in size.items()}
    least = {path: min(there[path], -(-minimum // size[path])) for path in units}
    if division.fractions is not None:
        counts = {path: max(least[path], keep.count(division.fractions[path], u.size)) for path, u in units.items()}
        kept = {path: keep.largest([u], min(counts[path], there[path]))[0] for path, u in units.items()}
    else:
        kept = _together(units, size, there, least, budget)
    return {path: form.spread(mask, budget.shapes[path]) for path, mask in kept.items()}


def _together(
    units: Leaves, size: dict[str, Any], there: dict[str, Any], least: dict[str, Any], budget: Budget
) -> Leaves:
    """The best units of all leaves, but for those that every leaf keeps."""
    entries = budget.needed()
    if any(least.values()):
        if (forced := sum(least[path] * size[path] for path in units)) > max(entries, 1):
            raise ConfigError(f"minimum= keeps {forced} entries, but the compression leaves {entries:.6g}")
        first = {path: keep.largest([u], least[path])[0] for path, u in units.items()}
        units = {path: np.where(first[path], np.inf, u) for path, u in units.items()}
    arrays = list(units.values())
    if len(set(size.values())) == 1:
        count = keep.count(entries / sum(budget.sizes.values()), sum(u.size for u in arrays))
        chosen = keep.largest(arrays, min(count, sum(there.values())))
    else:
        chosen = keep.largest_within(arrays, list(size.values()), entries)
    return dict(zip(units, chosen, strict=True))


def _rows(division: distributions.Division, alive: Leaves | None) -> Leaves:
    kept = {}
    assert division.fractions is not None  # rows are kept by fractions alone
    for path, s in division.scores.items():
        if alive is not None:
            s = np.where(alive[path], s, -np.inf)
        matrix = s.reshape(-1, s.shape[-1])
        chosen = keep.largest_along(matrix, keep.count(division.fractions[path], len(matrix)), axis=0)
        kept[path] = chosen.reshape(s.shape)
    return kept


def _partly(budget: Budget) -> bool:
    return any(budget.available[path] < budget.sizes[path] for path in budget.sizes)
