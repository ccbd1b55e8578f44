"""The settings of registration: which pairs, which network, which loss; of every study that registers."""

from typing import Any

from hyperlab import seeds
from hyperlab.data.datasets import check_root
from hyperlab.errors import ConfigError, DataError, nearest
from hyperlab.registration.datasets import NAMES, TASKS
from hyperlab.registration.losses import SIMILARITIES, SMOOTHNESS
from hyperlab.train import settings
from hyperlab.train.fields import Choice, Number, Text, Whole

DATA = {
    "name": Text(f"of the data set: {', '.join(NAMES)}"),
    "root": Text("folder of its files; empty for synthetic ones"),
    "task": Choice("pairs of different subjects, or of an image and a known warp of it", TASKS, "task"),
    "size": settings.size("images are cut or padded to, round the centre", dims=(2, 3)),
    "downsample": Whole("voxels along an axis that become one", low=1),
    "subjects": Whole("how many; 0: all", low=0),
    "partners": Whole("held-out moving images for each fixed one", low=1),
    "warps_per_image": Whole("known warps of each image", low=1),
    "amplitude": Number("voxels, root mean square of a known warp's velocity", low=0),
    "smoothness": Number("voxels, of a known warp", low=0),
    "noise": Number("standard deviation, added to synthetic and warped images", low=0),
    "seed": Whole("of the split and the warps: no part of a run's seed", low=0, high=seeds.LARGEST),
}
NETWORK = {
    "encoder": settings.widths("channels before each halving of the grid"),
    "decoder": settings.widths("channels before each doubling, and after the last one"),
    "integration_steps": Whole("squarings of the velocity; 0: a displacement that may fold", low=0, high=30),
    "field_downsize": Whole("1: a field at the images' resolution; 2: at half of it", low=1, high=2),
}
LOSS = {
    "similarity": Choice(
        "of images: squared differences, or correlation in windows", tuple(SIMILARITIES), "similarity"
    ),
    "sigma": Number("of 'mse': the expected difference of registered images", above=0),
    "window": Whole("of 'ncc': voxels along each axis, odd", low=1),
    "smoothness": Choice("of the field: what is penalised", tuple(SMOOTHNESS), "smoothness"),
}


def check_network(group: Any, prefix: str) -> None:
    """Refuses a VoxelMorph or a loss that cannot be built.

    Args:
      group: with `network`, `loss` and `data`.
      prefix: of their keys, for messages.

    Raises:
      ConfigError: the keys, and what was expected.
    """
    encoder, decoder = tuple(group.network.encoder), tuple(group.network.decoder)
    if len(decoder) < len(encoder):
        raise ConfigError(
            f"{prefix}network.decoder is {decoder}, expected as many numbers as network.encoder {encoder} has, or more"
        )
    if group.loss.similarity == "ncc" and group.loss.window % 2 == 0:
        raise ConfigError(f"{prefix}loss.window is {group.loss.window}, expected an odd number of voxels")


def check_pairs(data: Any, group: str) -> None:
    """Refuses a name that there is not, and a folder that is missing, or that the set does not read.

    Args:
      data: the settings of `DATA`.
      group: what the config calls them.

    Raises:
      DataError: the key, and what was expected.
    """
    if data.name not in NAMES:
        raise DataError(f"{group}.name is {data.name!r}; {nearest(data.name, NAMES)}")
    reads = [name for name in NAMES if name != "synthetic"]
    check_root(data.name, data.root, group, reads)
    if data.name == "synthetic" and data.task != "warps":
        raise DataError(f"{group}.task of the synthetic set is 'warps': its shapes have no counterpart in one another")
