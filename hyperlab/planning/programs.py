"""The programs that a study would compile: it is set up as for a run, and none of them is."""

import contextlib
import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ml_collections

from hyperlab.configured import load_study
from hyperlab.errors import ConfigError, nearest
from hyperlab.metrics.operations import operations
from hyperlab.train import compiler
from hyperlab.train.capture import TRAINING, Capture, NotComputed, Noted, capturing
from hyperlab.train.run_folder import RunFolder


def noted(config: Any, platform: str, devices: Sequence[Any], memory: int, cells: Sequence[str] = ()) -> Capture:
    """What a study would compile for some devices; its data are read, nothing is computed or left behind.

    Args:
      config: of the study that it names, checked.
      platform: `cpu`, `tpu` or `cuda`.
      devices: which; descriptions will do.
      memory: of one of them, in bytes: sets of examples of more than half stay on the host.
      cells: whose programs alone are looked at, by their keys; none: of all.

    Raises:
      HyperlabError: as from a run, before its first training: a mesh that does not fit the devices, for instance.
      ConfigError: a cell that the study does not have; a study that would compile no training step.

    >>> import jax
    >>> from experiments import pruning
    >>> found = noted(pruning.get_config(), "cpu", jax.devices()[:1], 2**33)
    >>> [(program.kind, program.name) for program in found.programs]
    [('training', 'step'), ('evaluation', 'rank')]
    """
    config, study = ml_collections.ConfigDict(config), load_study(config["study"])
    capture, never = (
        Capture(platform, devices, memory, cells),
        SimpleNamespace(requested=False, request=lambda reason: None),
    )
    quiet = contextlib.redirect_stderr(io.StringIO())
    with tempfile.TemporaryDirectory() as scratch, quiet, capturing(capture):
        folder = RunFolder.open(Path(scratch) / "run", config)
        try:
            study.run(ml_collections.FrozenConfigDict(config), folder, never)
        except NotComputed as error:
            raise ConfigError(f"{capture.cell}: its first step needs numbers that nobody computed") from error
        finally:
            folder.finish("planned")
    for cell in cells:
        if cell not in capture.known:
            raise ConfigError(f"the study trains no {cell!r}; {nearest(cell, capture.known)}")
    if not any(program.kind == TRAINING for program in capture.programs):
        raise ConfigError("the study trains nothing that could be compiled")
    return capture


def flops(program: Noted) -> int | None:
    """Floating-point operations of one call on all devices together, two for each multiply-accumulate of its products.

    None where a product is repeated an unknown number of times.
    """
    first, *rest = program.given
    function = compiler.uncompiled(program.jitted)
    try:
        found = operations(lambda first, rest: function(first, *rest), first, rest)
    except ConfigError:
        return None
    return 2 * (found.macs + found.other_macs)


def heaviest(programs: Sequence[Noted], cost: Callable[[Noted], float]) -> list[Noted]:
    """Of all programs of one kind and name the one of the greatest cost: those of arms that differ are alike."""
    found: dict[tuple[str, str], Noted] = {}
    for program in programs:
        name = program.kind, program.name
        if name not in found or cost(program) > cost(found[name]):
            found[name] = program
    return list(found.values())
