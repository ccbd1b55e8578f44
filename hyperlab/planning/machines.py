"""Machines by name: what a chip of each computes, holds and sends, as its manufacturer publishes it.

A peak is that of the units for matrices with the precision that XLA gives them: JAX lets a TPU multiply float32 in
bfloat16, and an NVIDIA device in TF32, unless it is told otherwise. What is not published is not here, and a bound
does without it.
"""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from hyperlab.errors import ConfigError, nearest

GB, TERA = 10**9, 10**12
Target = dict[str, int | float | str]
LANES = 128  # of a TPU's registers: the last axis in memory is padded to them


class Chip(NamedTuple):
    """One device of a machine.

    Attributes:
      kind: `tpu`, `cuda` or `cpu`.
      peak: multiplications and additions a second, by what networks compute in; without sparsity.
      memory: bytes; 0: not known.
      bandwidth: bytes a second that its memory gives; 0: not known.
      link: bytes a second that it sends to the others, half of what is published for both directions; 0: not known.
      source: where the numbers are published.
      target: what XLA asks of a CUDA device: see `target_config`.
    """

    kind: str
    peak: Mapping[str, float] = {}
    memory: int = 0
    bandwidth: float = 0.0
    link: float = 0.0
    source: str = ""
    target: Mapping[str, int | float | str] = {}


def _cuda(**own: int | float | str) -> Target:
    """What devices of compute capability 8.0 and 9.0 share (CUDA programming guide), with what is their own."""
    return {"shared_memory_per_block": 49152, "threads_per_core_limit": 2048, "registers_per_core_limit": 65536, **own}


_HOPPER: dict[str, int | float | str] = {
    "shared_memory_per_core": 233472,
    "shared_memory_per_block_optin": 232448,
    "core_count": 132,
}
_HOPPER |= {"fpus_per_core": 128, "l2_cache_size": 52428800, "clock_rate_ghz": 1.98, "major": 9}
_AMPERE: dict[str, int | float | str] = {
    "shared_memory_per_core": 167936,
    "shared_memory_per_block_optin": 166912,
    "core_count": 108,
}
_AMPERE |= {"fpus_per_core": 64, "l2_cache_size": 41943040, "clock_rate_ghz": 1.41, "major": 8}
_TPU = "https://cloud.google.com/tpu/docs/"
_HOPPER_PEAK = {"bfloat16": 989.4 * TERA, "float32": 494.7 * TERA}  # float32 as TF32; half of the "with sparsity"
_AMPERE_PEAK = {"bfloat16": 312 * TERA, "float32": 156 * TERA}

CHIPS: dict[str, Chip] = {
    "v5e": Chip("tpu", dict.fromkeys(("bfloat16", "float32"), 197 * TERA), 16 * GB, 819 * GB, 200 * GB, f"{_TPU}v5e"),
    "v5p": Chip("tpu", dict.fromkeys(("bfloat16", "float32"), 459 * TERA), 95 * GB, 2765 * GB, 600 * GB, f"{_TPU}v5p"),
    "v6e": Chip("tpu", dict.fromkeys(("bfloat16", "float32"), 918 * TERA), 32 * GB, 1640 * GB, 448 * GB, f"{_TPU}v6e"),
    "h100": Chip(
        "cuda", _HOPPER_PEAK, 80 * GB, 3350 * GB, 450 * GB, "NVIDIA H100 Tensor Core GPU data sheet, SXM",
        _cuda(memory_bandwidth=3352320000000, device_memory_size=84978434048, **_HOPPER, name="NVIDIA H100 80GB HBM3"),
    ),
    "h200": Chip(
        "cuda", _HOPPER_PEAK, 141 * GB, 4800 * GB, 450 * GB, "NVIDIA H200 Tensor Core GPU data sheet, SXM",
        _cuda(memory_bandwidth=4800000000000, device_memory_size=151397597184, **_HOPPER, name="NVIDIA H200"),
    ),
    "a100": Chip(
        "cuda", _AMPERE_PEAK, 80 * GB, 2039 * GB, 300 * GB, "NVIDIA A100 Tensor Core GPU data sheet, 80GB SXM",
        _cuda(memory_bandwidth=2039040000000, device_memory_size=85100068864, **_AMPERE, name="NVIDIA A100-SXM4-80GB"),
    ),
    "cpu": Chip("cpu", source="no peaks: CPUs differ"),
}  # fmt: skip
EXAMPLES = ("v5e:4x4", "v5p:2x2x1", "v6e:2x2", "h100x8", "a100x8", "cpu:8")


class Machine(NamedTuple):
    """Some chips of one kind.

    Attributes:
      name: as it was given.
      chip: of `CHIPS`, by name.
      shape: of the slice of a TPU; else how many there are.
    """

    name: str
    chip: str
    shape: tuple[int, ...]

    @property
    def of(self) -> Chip:
        """What each of them is."""
        return CHIPS[self.chip]

    @property
    def devices(self) -> int:
        """How many there are."""
        return math.prod(self.shape)

    @property
    def topology(self) -> str:
        """What libtpu calls a slice."""
        return f"{self.chip}:{'x'.join(map(str, self.shape))}"


def parse(name: str) -> Machine:
    """A machine by name.

    Args:
      name: `v5e:4x4` (slices of TPUs, by their topology), `h100x8` (devices of a node), `cpu:8` (virtual devices).

    Raises:
      ConfigError: there is none of this name; the nearest are named.

    >>> parse("v5e:4x4").devices, parse("h100x8").of.memory, parse("cpu:2").shape
    (16, 80000000000, (2,))
    >>> parse("v5f:4x4")
    Traceback (most recent call last):
    hyperlab.errors.ConfigError: unknown machine 'v5f:4x4'; did you mean 'v5e:4x4' ...
    """
    found = re.fullmatch(r"([a-z]\w*?)(?::(\d+(?:x\d+)*)|x(\d+))?", name)
    if found is None or found[1] not in CHIPS:
        known = {name.replace(found[1], chip) for chip in CHIPS} if found else ()
        raise ConfigError(f"unknown machine {name!r}; {nearest(name, {*EXAMPLES, *known})}")
    chip, shape = found[1], tuple(int(size) for size in (found[2] or found[3] or "").split("x") if size)
    usual, axes = {"tpu": (f"{chip}:2x2x1" if chip == "v5p" else f"{chip}:2x2", 2 + (chip == "v5p"))}.get(
        CHIPS[chip].kind, (f"{chip}:8" if chip == "cpu" else f"{chip}x8", 1)
    )
    if len(shape) != axes or 0 in shape or (found[2] is None) != (":" not in usual):
        raise ConfigError(f"machine {name!r}: expected its sizes, as in {usual!r}")
    return Machine(name, chip, shape)


def target_config(machine: Machine) -> str:
    """A CUDA device as XLA wants it described, in the text form of its `GpuTargetConfigProto`."""
    own = dict(machine.of.target)
    name, major = own.pop("name"), own.pop("major")
    info = {"threads_per_block_limit": 1024, "threads_per_warp": 32, "block_dim_limit_x": 2147483647}
    info |= {"block_dim_limit_y": 65535, "block_dim_limit_z": 65535, "registers_per_block_limit": 65536}
    lines = "\n".join(f"  {key}: {value}" for key, value in {**info, **own}.items())
    return (
        f"gpu_device_info {{\n{lines}\n  cuda_compute_capability {{ major: {major} minor: 0 }}\n}}\n"
        'platform_name: "CUDA"\ndnn_version_info { major: 9 minor: 8 patch: 0 }\n'
        f'runtime_version {{ major: 13 minor: 0 patch: 0 }}\ndevice_description_str: "{name}"\n'
    )
