"""Networks from which channels have been removed: smaller arrays, and the same module applied to them.

A layer of Linen says how many features it has, and refuses a kernel with fewer. So the module is applied with its
convolutions and dense layers replaced by copies that have as many as their kernels; everything else is as it was.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import numpy as np
from jaxtyping import Bool, PyTree

from hyperlab import trees
from hyperlab.errors import ConfigError, ParameterTreeError, nearest
from hyperlab.pruning.channels import ChannelGroup

Kept = Mapping[str, np.ndarray]


def slim(variables: PyTree, groups: Sequence[ChannelGroup], kept: Kept) -> PyTree:
    """The variables without the channels that are not kept.

    Args:
      variables: what the groups were found in.
      groups: of `channel_groups`.
      kept: for each group by name bools `[channels]`, true where kept; groups that are not named are kept whole.

    Returns:
      A tree of smaller arrays, of the same structure.

    Raises:
      ConfigError: an unknown group, another number of channels, or a group of which nothing is kept.
      ParameterTreeError: a member that the variables do not have, or with fewer places.

    >>> import jax, jax.numpy as jnp
    >>> from hyperlab.pruning.channels import channel_groups
    >>> net, x = nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(2)]), jnp.ones((1, 3))
    >>> variables = net.init(jax.random.key(0), x)
    >>> (group,) = channel_groups(net.apply, variables, x)
    >>> small = slim(variables, [group], {group.name: np.array([True, False, True, False])})
    >>> small["params"]["layers_0"]["kernel"].shape, small["params"]["layers_2"]["kernel"].shape
    ((3, 2), (2, 2))
    >>> slim_apply(net)(small, x).shape
    (1, 2)
    """
    kept_places = _kept_places(variables, groups, kept)
    leaves = trees.flatten(variables)
    for path, axes in kept_places.items():
        for axis, places in axes.items():
            leaves[path] = leaves[path].take(np.flatnonzero(places), axis)
    return trees.unflatten(leaves, variables)


def channel_masks(variables: PyTree, groups: Sequence[ChannelGroup], kept: Kept) -> PyTree[Bool[np.ndarray, "..."]]:
    """The same choice as a mask: false at every place of every removed channel.

    Where these are zero, the network gives what the slim one gives.

    Args:
      variables: as for `slim`.
      groups: as for `slim`.
      kept: as for `slim`.

    Returns:
      A tree like the variables, of bool arrays; its `params`, if there are collections, is the mask of the parameters.

    Raises:
      ConfigError: as for `slim`.
      ParameterTreeError: as for `slim`.

    >>> from hyperlab.pruning.channels import Member
    >>> group = ChannelGroup("a", (Member("a", 1, np.arange(3)[:, None]), Member("b", 0, np.arange(3)[:, None])))
    >>> channel_masks({"a": np.ones((1, 3)), "b": np.ones(3)}, [group], {"a": np.array([True, False, True])})["b"]
    array([ True, False,  True])
    """
    kept_places = _kept_places(variables, groups, kept)
    masks = {path: np.ones(leaf.shape, bool) for path, leaf in trees.flatten(variables).items()}
    for path, axes in kept_places.items():
        for axis, places in axes.items():
            np.moveaxis(masks[path], axis, 0)[~places] = False
    return trees.unflatten(masks, variables)


def slim_apply(module: nn.Module) -> Callable[..., Any]:
    """The module's `apply` for variables from which channels have been removed.

    It serves modules made of `Conv`, `ConvTranspose` and `Dense` (subclasses too), and of layers that take their sizes
    from their inputs, such as `BatchNorm`. A module that reads the number of its channels elsewhere than in these
    fails, or has to be told (compare `models.resnet.ResidualBlock.shortcut`).

    Returns:
      A function with the arguments of `module.apply`.
    """

    def apply(variables: PyTree, *args: Any, **options: Any) -> Any:
        with nn.intercept_methods(_fit_features):
            return module.apply(variables, *args, **options)

    return apply


def _fit_features(following: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any], context: Any) -> Any:
    """Replaces a layer whose kernel has fewer features than it says."""
    layer = context.module
    if context.method_name != "__call__" or not isinstance(layer, nn.Conv | nn.ConvTranspose | nn.Dense):
        return following(*args, **options)
    if not layer.has_variable("params", "kernel"):
        return following(*args, **options)
    transposed = getattr(layer, "transpose_kernel", False)
    kernel: Any = layer.get_variable("params", "kernel")
    features = kernel.shape[-2 if transposed else -1]
    if features == layer.features:
        return following(*args, **options)
    return layer.clone(parent=None, features=features).apply({"params": layer.variables["params"]}, *args, **options)


def _kept_places(variables: PyTree, groups: Sequence[ChannelGroup], kept: Kept) -> dict[str, dict[int, np.ndarray]]:
    """Which places of which axes are kept, of those that lose any."""
    shapes = {path: leaf.shape for path, leaf in trees.flatten(variables).items()}
    by_name = {group.name: group for group in groups}
    places: dict[str, dict[int, np.ndarray]] = {}
    for name, chosen in kept.items():
        if name not in by_name:
            raise ConfigError(f"no channel group {name!r}; {nearest(name, by_name)}")
        group, chosen = by_name[name], np.asarray(chosen)
        if chosen.shape != (group.channels,) or chosen.dtype != bool:
            raise ConfigError(
                f"kept channels of {name!r}: {chosen.dtype} of shape {chosen.shape}; expected bools ({group.channels},)"
            )
        if not chosen.any():
            raise ConfigError(
                f"nothing is kept of {name!r}: without one of its {group.channels} channels the network ends"
            )
        for path, axis, where in group.members:
            if path not in shapes or shapes[path][axis] <= where.max():
                raise ParameterTreeError(
                    f"group {name!r} has {where.max() + 1} places on axis {axis} of {path!r}; "
                    f"given {shapes.get(path, 'no such array')}; {nearest(path, shapes)}"
                )
            axes = places.setdefault(path, {})
            axes.setdefault(axis, np.ones(shapes[path][axis], bool))[where[~chosen]] = False
    return places
