"""Which channels to remove: a score for each, and as many as a target takes.

A channel's score is a norm of everything that would vanish with it. Channels of different groups are compared after
division by the mean of their group, because a sum over more entries is larger for no other reason.

Source: the L1 norm of filters is that of Li, Kadav, Durdanovic, Samet and Graf, "Pruning filters for efficient
convnets" (2016), arXiv 1608.08710; over whole groups, of Fang, Ma, Song, Mi and Wang (2023), arXiv 2301.12900.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, PyTree, Real

from hyperlab import roles, trees
from hyperlab.errors import ConfigError, ParameterTreeError, nearest
from hyperlab.pruning.channels import ChannelGroup

SCOPES = ("global", "layer")
_NORMS = {"l1": 1, "l2": 2}


def channel_scores(
    variables: PyTree, groups: Sequence[ChannelGroup], norm: str = "l1"
) -> dict[str, Float[np.ndarray, " channels"]]:
    """Norms of the entries that each channel has in kernels, over all members of its group.

    Biases, normalisations and statistics vanish with a channel and do not speak for it: their scale is another. Which
    leaves are kernels their names and siblings say, not their rank (`hyperlab.roles`). Complex entries count by their
    modulus.

    Args:
      variables: what the groups were found in, with values.
      groups: of `channel_groups`.
      norm: `l1` or `l2`.

    Returns:
      For each group by name, numbers `[channels]`, float64.

    Raises:
      ConfigError: an unknown norm, or a score that is not finite (the group is named).

    >>> from hyperlab.pruning.channels import Member
    >>> group = ChannelGroup("a", (Member("a", 1, np.arange(2)[:, None]), Member("b", 0, np.arange(4).reshape(2, 2))))
    >>> channel_scores({"a": np.array([[1.0, -2.0]]), "b": np.ones((4, 3))}, [group])
    {'a': array([7., 8.])}
    """
    if norm not in _NORMS:
        raise ConfigError(f"norm {norm!r}; {nearest(norm, _NORMS)}")
    leaves, power, scores = trees.flatten(variables), _NORMS[norm], {}
    kernels = {path for path, role in roles.of(variables).items() if role.is_matrix}
    for group in groups:
        total = np.zeros(group.channels)
        for path, axis, places in group.members:
            if path in kernels:
                lines = np.moveaxis(np.abs(np.asarray(leaves[path])).astype(np.float64), axis, 0)
                by_place = (lines**power).reshape(len(lines), -1).sum(1)
                total += by_place[places].sum(1)
        if not np.isfinite(total).all():
            raise ConfigError(f"scores of the channels of {group.name!r} are not finite; expected finite parameters")
        scores[group.name] = total ** (1 / power)
    return scores


def choose_channels(
    params: PyTree,
    groups: Sequence[ChannelGroup],
    scores: Mapping[str, Real[np.ndarray, " channels"]],
    *,
    compression: float | None = None,
    speedup: float | None = None,
    macs: Mapping[str, int] | None = None,
    total_macs: int | None = None,
    scope: str = "layer",
    minimum: int = 1,
) -> dict[str, Bool[np.ndarray, " channels"]]:
    """The fewest channels to remove, lowest scores first, that reach a target.

    Args:
      params: the parameters (no statistics), or their shapes; the groups' paths may begin with `params/`.
      groups: of `channel_groups`.
      scores: of `channel_scores`, or any numbers `[channels]` by group.
      compression: old number of parameters / new, at least 1; or
      speedup: old number of multiply-accumulates / new, at least 1.
      macs: for a speedup, the multiply-accumulates of every kernel by path: `operations.macs_per_kernel`.
      total_macs: of the whole network; by default the sum of `macs`.
      scope: `layer`, the same share of each group; or `global`, by scores over their group's mean.
      minimum: channels that each group keeps at least.

    Returns:
      For each group by name bools `[channels]`, true where kept; for `slim` and `channel_masks`.

    Raises:
      ConfigError: not exactly one target, no groups, or a target beyond what the groups allow (the ceiling is given).
      ParameterTreeError: a path that is no parameter's.

    >>> from hyperlab.pruning.channels import Member
    >>> group = ChannelGroup("a", (Member("a", 1, np.arange(4)[:, None]), Member("b", 0, np.arange(4)[:, None])))
    >>> choose_channels({"a": np.ones((2, 4)), "b": np.ones((4, 1))}, [group], {"a": np.arange(4)}, compression=2)
    {'a': array([False, False,  True,  True])}
    """
    if not groups:
        raise ConfigError("no channel group: there is no channel in this network that can be removed")
    target = compression if speedup is None else speedup
    if target is None or (compression is not None and speedup is not None) or scope not in SCOPES:
        raise ConfigError(
            f"compression={compression}, speedup={speedup}, scope={scope!r}; expected one of the first two, "
            f"and a scope of {SCOPES}"
        )
    if speedup is not None and macs is None:
        raise ConfigError("a speedup without macs=; expected the multiply-accumulates of every kernel by path")
    cost = _Cost(params, groups, macs if speedup is not None else None, total_macs)
    order, group_of = _order(groups, scores, scope, minimum)
    names = [group.name for group in groups]
    channels = {group.name: group.channels for group in groups}

    def left(removed: int) -> dict[str, int]:
        counts = np.bincount(group_of[:removed], minlength=len(names))
        return {name: channels[name] - int(count) for name, count in zip(names, counts, strict=True)}

    def ratio(removed: int) -> float:
        return cost.whole / cost.of(left(removed))

    if target < 1 or ratio(len(order)) < target:
        what = "compression" if speedup is None else "speedup"
        raise ConfigError(
            f"a {what} of {target:g} by channels; expected 1 to {ratio(len(order)):.4g}, where every group "
            f"keeps {minimum}"
        )
    low, high = 0, len(order)  # costs fall with every channel
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if ratio(middle) >= target else (middle + 1, high)
    kept = {name: np.ones(channels[name], bool) for name in names}
    for index, channel in zip(group_of[:low], order[:low], strict=True):
        kept[names[index]][channel] = False
    return kept


def _order(
    groups: Sequence[ChannelGroup], scores: Mapping[str, np.ndarray], scope: str, minimum: int
) -> tuple[np.ndarray, np.ndarray]:
    """The channels that may go, first to go first, and the group of each; ties by group and place."""
    keys, channels, group_of = [], [], []
    for index, group in enumerate(groups):
        score = np.asarray(scores[group.name], np.float64)
        lowest = np.argsort(score, kind="stable")[: max(group.channels - minimum, 0)]
        share = (1 + np.arange(len(lowest))) / group.channels
        keys.append(share if scope == "layer" else score[lowest] / max(score.mean(), np.finfo(float).tiny))
        channels.append(lowest)
        group_of.append(np.full(len(lowest), index))
    first = np.argsort(np.concatenate(keys), kind="stable")
    return np.concatenate(channels)[first], np.concatenate(group_of)[first]


class _Cost:
    """Parameters or multiply-accumulates of the network that is left, exactly: sizes are products of axes."""

    def __init__(
        self, params: PyTree, groups: Sequence[ChannelGroup], macs: Mapping[str, int] | None, total: int | None
    ):
        self.shapes = {path: leaf.shape for path, leaf in trees.flatten(params).items()}
        self.macs = macs
        for path in macs or ():
            if path not in self.shapes:
                raise ParameterTreeError(f"{path!r} in macs is no parameter; {nearest(path, self.shapes)}")
        # For each parameter and axis, which groups have how many places there for each of their channels.
        self.places: dict[str, dict[int, list[tuple[str, int]]]] = {path: {} for path in self.shapes}
        for group in groups:
            for path, axis, places in group.members:
                found = self.places.get(path, self.places.get(path.removeprefix("params/")))
                if found is not None:  # statistics are no parameters
                    found.setdefault(axis, []).append((group.name, places.shape[1]))
        self.channels = {group.name: group.channels for group in groups}
        self.beside = max(0, (total or 0) - sum((macs or {}).values()))
        self.whole = self.of(self.channels)

    def of(self, left: Mapping[str, int]) -> float:
        sizes = {path: self._size(path, left) for path in (self.shapes if self.macs is None else self.macs)}
        if self.macs is None:
            return sum(sizes.values())
        return self.beside + sum(self.macs[path] * size / math.prod(self.shapes[path]) for path, size in sizes.items())

    def _size(self, path: str, left: Mapping[str, int]) -> int:
        sides = list(self.shapes[path])
        for axis, found in self.places[path].items():
            sides[axis] -= sum(repeats * (self.channels[name] - left[name]) for name, repeats in found)
        return math.prod(sides)
