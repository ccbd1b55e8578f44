"""Which channels of a network must vanish together, found in its operations.

An output channel of a convolution takes with it its bias, its entries in a normalisation, the slices of the layers that
read it, and, where layers are added, the same channel of those. Whatever the module is called, these couplings are in
its operations: every place on every axis of every parameter is followed through them, and places that meet are joined.
Operations between equal shapes join them one by one, a convolution or matrix product joins what it sums over, and
flattening (pixel, channel) repeats a channel for each pixel. What is mixed with others in another way (inputs and
outputs of the network, statistics over channels, grouped convolutions, channels that are cut or padded, anything that
is not known) stays: it is joined to what cannot be removed.

The idea of such groups is that of Fang, Ma, Song, Mi and Wang, "DepGraph: towards any structural pruning" (2023),
arXiv 2301.12900.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Int, PyTree

from hyperlab import trees
from hyperlab.errors import ConfigError
from hyperlab.pruning.coupling import Walk
from hyperlab.pruning.places import STAYS, Value, staying


class Member(NamedTuple):
    """Where a group's channels are in one array.

    Attributes:
      path: of the array in the variables.
      axis: on which they are.
      places: `[channels, repeats]`, the places of each channel; several where pixels were flattened.
    """

    path: str
    axis: int
    places: Int[np.ndarray, "channels repeats"]


class ChannelGroup(NamedTuple):
    """Channels of which each can be removed, with all of its places at once.

    Attributes:
      name: path of the first kernel whose output they are.
      members: where they are.
    """

    name: str
    members: tuple[Member, ...]

    @property
    def channels(self) -> int:
        """How many there are."""
        return len(self.members[0].places)


def channel_groups(function: Callable[..., PyTree], variables: PyTree, *inputs: PyTree) -> tuple[ChannelGroup, ...]:
    """The channels of a network that can be removed, by what must vanish together.

    Args:
      function: `function(variables, *inputs)`, as it is at inference; it is traced, neither compiled nor run.
      variables: all collections, or the parameters alone, or their shapes; batch statistics lose entries too.
      *inputs: what they are applied to, or the shapes; at least one.

    Returns:
      Groups in the order of their names.

    Raises:
      ConfigError: no inputs were given.

    >>> import flax.linen as nn, jax.numpy as jnp
    >>> net, images = nn.Sequential([nn.Conv(4, (3, 3)), nn.relu, nn.Conv(2, (3, 3))]), jnp.zeros((1, 8, 8, 3))
    >>> (group,) = channel_groups(net.apply, jax.eval_shape(net.init, jax.random.key(0), images), images)
    >>> group.channels, [(member.path.removeprefix("params/"), member.axis) for member in group.members]
    (4, [('layers_0/bias', 0), ('layers_0/kernel', 3), ('layers_2/kernel', 2)])
    """
    if not inputs:
        raise ConfigError("channel groups of a function of one argument; expected function(variables, *inputs)")
    closed = jax.make_jaxpr(function)(variables, *inputs)
    leaves, walk = trees.flatten(variables), Walk()
    owners: list[tuple[str, int, int]] = []  # of every number above 0: path, axis, place
    given = []
    for path, leaf in leaves.items():
        axes = []
        for axis, size in enumerate(leaf.shape):
            # A single place is never removed: nothing would be left of the axis.
            axes.append(np.arange(size) + 1 + len(owners) if size > 1 else np.zeros(size, int))
            owners += [(path, axis, place) for place in range(size)] if size > 1 else []
        given.append(Value(tuple(axes), data=False))
    given += [staying(variable.aval.shape, data=True) for variable in closed.jaxpr.invars[len(leaves) :]]
    for value in walk.run(closed.jaxpr, given):
        walk.keep(value)
    return _groups(owners, walk.joined(len(owners) + 1), {path: leaf.ndim for path, leaf in leaves.items()})


# -- from joined places to groups ---------------------------------------------------------------------------------


def _groups(
    owners: list[tuple[str, int, int]], components: np.ndarray, ranks: dict[str, int]
) -> tuple[ChannelGroup, ...]:
    channels: dict[int, dict[tuple[str, int], list[int]]] = {}
    for (path, axis, place), component in zip(owners, components[1:].tolist(), strict=True):
        if component != components[STAYS]:
            channels.setdefault(component, {}).setdefault((path, axis), []).append(place)
    alike: dict[tuple[tuple[str, int, int], ...], list[dict[tuple[str, int], list[int]]]] = {}
    for channel in channels.values():
        signature = tuple(sorted((*where, len(places)) for where, places in channel.items()))
        alike.setdefault(signature, []).append(channel)
    groups: list[ChannelGroup] = []
    for signature, found in alike.items():
        if len(signature) < 2:  # what meets nothing is not used
            continue
        members = tuple(Member(path, axis, np.array([c[path, axis] for c in found])) for path, axis, _ in signature)
        groups.append(ChannelGroup(_name(members, ranks, {group.name for group in groups}), members))
    return tuple(sorted(groups, key=lambda group: group.name))


def _name(members: tuple[Member, ...], ranks: dict[str, int], taken: set[str]) -> str:
    """The first kernel that has them on its last axis; with a number if another group has that name."""
    outputs = [m.path for m in members if m.axis == ranks[m.path] - 1 > 0]
    name = (outputs or [members[0].path])[0]
    return next(n for n in (name, *(f"{name}#{i}" for i in range(2, len(taken) + 3))) if n not in taken)
