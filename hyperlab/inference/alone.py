"""What lies beside an exported network so that it predicts without this library: scripts, and their numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from hyperlab.inference import standalone, standalone_set
from hyperlab.models import FilmUNet, UNet

SCRIPT, SET_SCRIPT = "predict.py", "prepared_set.py"


def described(
    network: UNet | FilmUNet, sizes: Sequence[Sequence[int]], *, temperature: float = 1.0
) -> dict[str, Any] | None:
    """A U-Net as `network.json` says it under `architecture`; None where `predict.py` cannot compute it.

    That is with statistics of batches, and in half a precision.

    Args:
      network: the U-Net, or one with FiLM.
      sizes: of its levels, see `UNet`.
      temperature: divides its logits.

    >>> described(UNet((4, 8)), ((8, 8), (4, 4)))["widths"]
    [4, 8]
    """
    unet = network.unet if isinstance(network, FilmUNet) else network
    if unet.normalization == "batch" or jnp.dtype(unet.dtype) != jnp.float32:
        return None
    return {
        "network": "UNet",
        "film": isinstance(network, FilmUNet),
        "widths": list(unet.features),
        "sizes": [list(map(int, size)) for size in sizes],
        "temperature": float(temperature),
        **{
            name: getattr(unet, name)
            for name in ("convs_per_block", "normalization", "groups", "activation", "skip", "rescaled_input")
        },
    }


def text_of(module: Any) -> str:
    """The text of a script that is a module here."""
    return Path(module.__file__).read_text(encoding="utf-8")


def beside(card: dict[str, Any], formats: Sequence[str]) -> dict[str, str]:
    """`{"predict.py": ...}` and what it needs, where the card and the formats (those of `hyperlab.pareto`) allow it."""
    runs = "program" in formats or ("safetensors" in formats and card.get("architecture") is not None)
    how = card.get("preprocessing")
    if not runs or how is None:
        return {}
    return {SCRIPT: text_of(standalone), **({SET_SCRIPT: text_of(standalone_set)} if "set" in how else {})}
