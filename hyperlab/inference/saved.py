"""The network that a run leaves for its user: variables in one file, and beside them all that using it needs.

`<run>/networks/model.json` names the module and its arguments, the file of the variables, what images are divided by,
the classes, the temperature, the window and the score that sorts images. Nothing in it is code.
"""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from hyperlab import models
from hyperlab.data.microscopy import FULL_RANGE, NORMALISATIONS
from hyperlab.errors import ConfigError, DataError, nearest
from hyperlab.files import write_atomically
from hyperlab.train.checkpoints import load_variables, save_variables

FOLDER, FILE = "networks", "model.json"
_KEYS = (
    "module",
    "arguments",
    "file",
    "channels",
    "classes",
    "temperature",
    "normalisation",
    "window",
    "scale",
    "score",
)


class Saved(NamedTuple):
    """A trained network, ready to be used.

    Attributes:
      module: a network of `hyperlab.models`.
      variables: host arrays.
      channels: of an image.
      classes: the name of each label; 0 is the background.
      temperature: divides the logits of every draw.
      normalisation: of images; see `hyperlab.data.microscopy.read`.
      window: `(height, width)` that the network is given.
      scale: of its training images: their pixels for each pixel of the files.
      score: the image score that sorts images; see `hyperlab.uncertainty.image_scores`.
      name: of the file of the variables.
    """

    module: nn.Module
    variables: PyTree
    channels: int
    classes: tuple[str, ...]
    temperature: float
    normalisation: str
    window: tuple[int, int]
    scale: float
    score: str
    name: str = ""


def save(
    run: str | os.PathLike,
    module: nn.Module,
    variables: PyTree,
    *,
    name: str,
    channels: int,
    classes: Sequence[str],
    window: Sequence[int],
    scale: float = 1.0,
    temperature: float = 1.0,
    normalisation: str = FULL_RANGE,
    score: str = "foreground",
) -> Path:
    """Writes a network to `<run>/networks`; of several, the last is the one that `load` finds.

    Args:
      run: the run's folder.
      module: a network of `hyperlab.models` whose attributes JSON can hold, in float32.
      variables: of the module.
      name: of the file of the variables, for instance `spatial_0`.
      channels: of an image; this and what follows is what `Saved` says of it.
      classes: their names, background first.
      window: size of a tile.
      scale: pixels of the training images for one of the file.
      temperature: that divides the logits.
      normalisation: of the grey values.
      score: of an image.

    Returns:
      The file of the description, written last.

    Raises:
      ConfigError: a module that is none of `hyperlab.models`, or a value outside its range.
    """
    if getattr(models, type(module).__name__, None) is not type(module):
        raise ConfigError(f"{type(module).__name__} is no network of hyperlab.models, so no file can name it")
    arguments = {
        each.name: getattr(module, each.name)
        for each in dataclasses.fields(module)
        if each.name not in ("parent", "name", "dtype") and getattr(module, each.name) != each.default
    }
    described: dict[str, Any] = {
        "module": type(module).__name__,
        "arguments": arguments,
        "file": f"{name}.npz",
        "channels": int(channels),
        "classes": list(classes),
        "temperature": float(temperature),
        "normalisation": normalisation,
        "window": [int(n) for n in window],
        "scale": float(scale),
        "score": score,
    }
    folder = Path(run) / FOLDER
    _check(described, str(folder))
    save_variables(folder / described["file"], variables)
    write_atomically(folder / FILE, json.dumps(described, indent=1) + "\n")
    return folder / FILE


def load(run: str | os.PathLike) -> Saved:
    """The network of a run's folder.

    Args:
      run: the folder of the run, or its `networks`.

    Raises:
      DataError: the folder holds no description, or one that cannot be read.
      ConfigError: the description has an unknown module or argument, or a value outside its range.
      CheckpointError: the variables are missing, damaged, or of another network.
    """
    run = Path(run).expanduser()
    folder = run if (run / FILE).is_file() else run / FOLDER
    path = folder / FILE
    if not path.is_file():
        raise DataError(
            f"{run} holds no {FOLDER}/{FILE}, so no network to use; expected the folder of a run that kept one, as "
            "hyperlab run uncertainty does"
        )
    try:
        described = json.loads(path.read_text())
    except ValueError as error:
        raise DataError(f"{path} is no JSON ({error}); copy it again") from error
    _check(described, str(path))
    kind = getattr(models, described["module"], None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        given = str(described["module"])
        raise ConfigError(f"{path}: unknown module {given!r}; {nearest(given, models.__all__)}")
    arguments = {name: tuple(v) if isinstance(v, list) else v for name, v in described["arguments"].items()}
    known = [each.name for each in dataclasses.fields(kind)]
    unknown = next((name for name in arguments if name not in known), None)
    if unknown is not None:
        raise ConfigError(f"{path}: {described['module']} has no argument {unknown!r}; {nearest(unknown, known)}")
    module, window = kind(**arguments), tuple(described["window"])
    image = jnp.zeros((1, *window, described["channels"]))
    like = jax.eval_shape(module.init, jax.random.key(0), image)
    return Saved(
        module,
        load_variables(folder / described["file"], like),
        described["channels"],
        tuple(described["classes"]),
        described["temperature"],
        described["normalisation"],
        window,
        described["scale"],
        described["score"],
        Path(described["file"]).stem,
    )


def _check(described: Any, where: str) -> None:
    missing = [key for key in _KEYS if not isinstance(described, dict) or key not in described]
    if missing:
        raise ConfigError(f"{where} does not say {', '.join(missing)}")
    if len(described["window"]) != 2 or min(described["window"]) < 1:
        raise ConfigError(f"{where}: window {described['window']}, expected [height, width] in pixels")
    if described["channels"] < 1 or len(described["classes"]) < 2:
        raise ConfigError(
            f"{where}: {described['channels']} channels, {len(described['classes'])} classes; expected 1 or more, and "
            "2 or more"
        )
    for key in ("temperature", "scale"):
        if not described[key] > 0:
            raise ConfigError(f"{where}: {key} {described[key]}, expected a number above 0")
    if described["normalisation"] not in NORMALISATIONS:
        given = str(described["normalisation"])
        raise ConfigError(f"{where}: unknown normalisation {given!r}; {nearest(given, NORMALISATIONS)}")
