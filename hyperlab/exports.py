"""What a run leaves to be taken along: its network as files that need no study, and for some none of this library.

Which studies keep a network is a table here; the others measure networks and throw them away.
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from hyperlab import __version__, pareto, trees
from hyperlab.errors import CheckpointError, ConfigError, DataError, WorkdirError, nearest, require
from hyperlab.inference import alone, saved
from hyperlab.inference.network import PREPROCESSING, preprocessing_of
from hyperlab.models import UNet
from hyperlab.nn import level_sizes
from hyperlab.pareto.export import CARD, ORBAX, PROGRAM, SAFETENSORS, whole_folder
from hyperlab.train.checkpoints import load_variables
from hyperlab.train.run_folder import CONFIG

FORMATS = {
    "safetensors": "safetensors",
    "stablehlo": "program",
    "orbax": "orbax",
}  # as the command and pareto name them
FILES = {"safetensors": SAFETENSORS, "stablehlo": PROGRAM, "orbax": ORBAX}


def export(
    run: str | os.PathLike,
    out: str | os.PathLike,
    to: Sequence[str] = ("safetensors",),
    network: str | None = None,
    *,
    arm: str | None = None,
    phi: float | None = None,
    seed: int | None = None,
    width: float = 1.0,
) -> Path:
    """Writes the network of a finished run to a folder of its own, all of it or nothing.

    Args:
      run: the folder of a run of `rescaling` (the U-Net at the chosen factor, or with `arm` and `phi` any that it
        kept), `uncertainty` (the U-Net that the run kept; one pass without dropout, logits divided by the
        temperature), `in_context` or `stochastic` (the weights of one network; it takes several arrays, so it has no
        program of its own).
      out: a folder that is not there yet, or empty.
      to: some of `safetensors`, `stablehlo` (a program with the variables inside, for any batch size), `orbax`.
      network: which, where a run of `in_context` or `stochastic` kept several.
      arm: of a run of `rescaling`, with `phi`.
      phi: the rescaling factor that the arm's network is taken at.
      seed: of the training; by default the first that was kept.
      width: of the networks of the arm `width`.

    Returns:
      The folder; `network.json` in it says what the files are.

    Raises:
      ConfigError: an unknown format or network, or a format that the network cannot have; an arm, factor or seed of
        which no network was kept, or one without the other.
      DataError: no run folder, or one whose study keeps no network, or that kept none.
      WorkdirError: `out` is there and not empty.
      MissingExtraError: a format needs a package that is not installed.
    """
    run, out, to = Path(run).expanduser(), Path(out).expanduser().absolute(), list(dict.fromkeys(to))
    for name in to:
        if name not in FORMATS:
            raise ConfigError(f"unknown format {name!r}; {nearest(str(name), FORMATS)}")
    if not to:
        raise ConfigError(f"no format; {nearest('', FORMATS)}")
    study = study_of(run)
    if study not in STUDIES:
        raise DataError(f"runs of {study} keep no network to export; those of {', '.join(STUDIES)} do")
    if network is not None and STUDIES[study] is not _weights:
        raise ConfigError(f"network {network!r}: a run of {study} has one network; leave it out")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise WorkdirError(f"{out} is there already; choose a new folder: nothing is written over")
    if (arm, phi, seed, width) == (None, None, None, 1.0):
        STUDIES[study](run, out, to, network)
    else:
        _kept_by_rescaling(study, run, out, to, arm=arm, phi=phi, seed=seed, width=width)
    return out


def study_of(run: Path) -> str:
    """The study of a run folder.

    Raises:
      DataError: it is none.
    """
    try:
        return str(json.loads((run / CONFIG).read_text())["study"])
    except FileNotFoundError:
        raise DataError(f"{run} is no run folder: it has no {CONFIG}") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{run / CONFIG} cannot be read ({type(error).__name__}: {error})") from error


def _exported(run: Path, out: Path, to: list[str], network: str | None) -> None:
    """The study has written its network already: the files that are asked for, with their card."""
    source = run / "network"
    if not (source / CARD).is_file():
        raise DataError(
            f"{run} holds no network/: it is not finished, or kept no network for all factors (an arm of the prior, "
            "keep_networks above 0); of the others choose one: --arm fixed --phi 0.3"
        )
    missing = [name for name in to if not (source / FILES[name]).exists()]
    if missing:
        there = [name for name in FORMATS if (source / FILES[name]).exists()]
        raise ConfigError(f"{source} has no {missing[0]}: a package was not installed then; it has {', '.join(there)}")
    card = pareto.load(source).card  # refuses damaged files
    names = [FILES[name] for name in to]
    card["sha256"] = {name: digest for name, digest in card["sha256"].items() if name in names}

    with whole_folder(out) as folder:
        for name in [
            *names,
            *(script for script in alone.beside(card, [FORMATS[name] for name in to]) if (source / script).is_file()),
        ]:
            (shutil.copytree if (source / name).is_dir() else shutil.copyfile)(source / name, folder / name)
        (folder / CARD).write_text(json.dumps(card, indent=2) + "\n")


def _kept_by_rescaling(
    study: str, run: Path, out: Path, to: list[str], *, arm: str | None, phi: float | None, **which: Any
) -> None:
    """Any network that a run of rescaling kept, at a factor."""
    if study != "rescaling":
        raise ConfigError(f"arm, phi and seed choose a network of a run of rescaling; {run} is one of {study}")
    if arm is None or phi is None:
        raise ConfigError("arm and phi go together, for instance --arm fixed --phi 0.3: they say which network")
    from hyperlab.studies.rescaling import exporting

    exporting.export(run, out, [FORMATS[name] for name in to], arm=arm, factor=phi, **which)


def _kept(run: Path, out: Path, to: list[str], network: str | None) -> None:
    """The network that the run kept for its user."""
    kept, formats = saved.load(run), [FORMATS[name] for name in to]
    how = preprocessing_of(run).record() if (run / PREPROCESSING).is_file() else None
    architecture = None
    if isinstance(kept.module, UNet):
        sizes = level_sizes(kept.window, 0.5, len(kept.module.widths))
        architecture = alone.described(kept.module, sizes, temperature=kept.temperature)

    def tempered(variables: PyTree, images: Any) -> Any:
        logits: Any = kept.module.apply(variables, images)
        return logits / kept.temperature

    card = {
        "class_names": list(kept.classes),
        "normalisation": kept.normalisation,
        "temperature": kept.temperature,
        "answer": "logits of one pass without dropout, divided by the temperature",
        "preprocessing": how,
        "architecture": architecture,
        **_told(run),
    }
    pareto.export(
        out,
        tempered,
        kept.variables,
        jax.ShapeDtypeStruct((1, *kept.window, kept.channels), jnp.float32),
        card,
        formats=formats,
        beside=alone.beside(card, formats),
    )


def _told(run: Path) -> dict[str, Any]:
    """Arm, seed and Dice of the network that the run kept, of runs that kept what is needed to say so."""
    if not (run / PREPROCESSING).is_file():
        return {}
    from hyperlab.studies.uncertainty import exporting

    card = exporting.load_network(run).card
    return {"arm": card.arm, "seed": card.seed, "test_dice": card.test_dice}


def _weights(run: Path, out: Path, to: list[str], network: str | None) -> None:
    """The weights of a network that takes several arrays."""
    names = sorted(path.stem for path in (run / "networks").glob("*.npz"))
    if not names:
        raise DataError(f"{run} holds no networks/*.npz: it is not finished, or keep_networks was 0")
    if network is None and len(names) > 1:
        raise ConfigError(f"{run} kept several networks, {', '.join(names)}; choose one: --network {names[0]}")
    if network is not None and network not in names:
        raise ConfigError(f"{run} kept no network {network!r}; {nearest(network, names)}")
    if to != ["safetensors"]:
        other = next(name for name in to if name != "safetensors")
        raise ConfigError(
            f"{other}: this network takes an image and a support set, and only its weights are exported, as safetensors"
        )
    name = network or names[0]
    writer = require("safetensors.numpy", "export", "writing safetensors")
    try:
        weights = load_variables(run / "networks" / f"{name}.npz")
    except CheckpointError as error:
        raise DataError(f"{run} cannot be exported: {error}") from error

    with whole_folder(out) as folder:
        writer.save_file(trees.flatten(weights), folder / SAFETENSORS)
        card = {"network": name, "parameters": trees.count(weights), "versions": {"hyperlab": __version__}}
        (folder / CARD).write_text(json.dumps(card, indent=2) + "\n")


STUDIES: dict[str, Callable[[Path, Path, list[str], str | None], None]] = {
    "in_context": _weights,
    "rescaling": _exported,
    "stochastic": _weights,
    "uncertainty": _kept,
}
