"""A guard that names the bytes before anything is allocated."""

import jax
import psutil

from hyperlab.errors import MemoryGuardError

# Share of the device's memory that one operation may ask for when no limit is given.
DEFAULT_SHARE = 0.5


def default_limit() -> int:
    """Half of the first device's memory, in bytes (of the machine's on a CPU)."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    total = (stats or {}).get("bytes_limit") or psutil.virtual_memory().total
    return int(total * DEFAULT_SHARE)


def guard(needed: int, limit: int | None, what: str, advice: str) -> None:
    """Refuses an allocation above the limit.

    Args:
      needed: bytes that would be allocated.
      limit: bytes that are allowed; None for half of the device's memory.
      what: what needs them, with the factors written out.
      advice: what to do instead.

    Raises:
      MemoryGuardError: with both numbers.
    """
    limit = default_limit() if limit is None else limit
    if needed > limit:
        raise MemoryGuardError(
            f"{what} needs {needed:,} bytes ({needed / 2**30:.2f} GiB), more than the limit of {limit:,} bytes; "
            f"{advice}, or raise memory_limit"
        )
