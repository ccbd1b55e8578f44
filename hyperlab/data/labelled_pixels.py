"""The segmentation set that a config names: one group of settings for every study that segments images."""

from typing import Any

from hyperlab.data import patched
from hyperlab.data.datasets import STORE, load
from hyperlab.data.splits import Splits
from hyperlab.errors import ConfigError

# texts that say of a folder which files are masks and whom a case shows; a config that does not need them has none
FOLDER_OPTIONS = ("masks", "mask_suffix", "subjects")


def optional_keys(group: str = "data") -> dict[str, str]:
    """The keys of `FOLDER_OPTIONS` in a group of a config, with their defaults: what a study's `OPTIONAL` holds.

    >>> optional_keys()
    {'data.masks': '', 'data.mask_suffix': '', 'data.subjects': ''}
    """
    return {f"{group}.{name}": "" for name in FOLDER_OPTIONS}


def folder_options(settings: Any) -> dict[str, str]:
    """Those of `FOLDER_OPTIONS` that settings have, as `hyperlab.data.load` takes them."""
    return {name: value for name in FOLDER_OPTIONS if (value := getattr(settings, name, ""))}


def load_segmented(settings: Any, group: str = "data") -> Splits:
    """The splits of a set with a class for every pixel; of the name `store`, a prepared one (`data.patched`).

    Args:
      settings: `name`, `root` (`""` for none), `split_seed`, `limit` (0 for none), `size` (of the images, `()` for
        their own), and, of procedural shapes, `count` and `difficulty`; perhaps `FOLDER_OPTIONS`.
      group: what the config calls the settings, for messages.

    Raises:
      ConfigError: a set with one class an image.
      DataError: data that cannot be read.

    >>> from types import SimpleNamespace
    >>> shapes = SimpleNamespace(name="shapes", root="", split_seed=0, limit=4, size=(16, 16), count=30, difficulty=0.1)
    >>> load_segmented(shapes).train.labels.shape
    (4, 16, 16)
    """
    if settings.name == STORE:
        limit = settings.limit or None
        foreground = getattr(settings, "foreground", patched.FOREGROUND)
        size = tuple(settings.size)
        return patched.load(settings.root, size, split_seed=settings.split_seed, limit=limit, foreground=foreground)
    options: dict[str, Any] = {"size": tuple(settings.size)} if settings.size else {}
    if settings.name == "shapes":
        options |= {"count": settings.count, "difficulty": settings.difficulty}
    options |= folder_options(settings)
    limit = settings.limit or None
    splits = load(settings.name, settings.root or None, split_seed=settings.split_seed, limit=limit, **options)
    if splits.train.labels.ndim == 1:
        raise ConfigError(f"{group}.name is {settings.name!r}, which has one class an image; images are segmented here")
    return splits
