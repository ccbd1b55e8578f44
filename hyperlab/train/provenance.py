"""Where a result comes from: command, code, versions, devices. Never the whole environment: tokens live there."""

import contextlib
import functools
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LARGEST_PATCH = 1_000_000  # bytes of uncommitted change that are kept beside a run


def collect() -> dict[str, Any]:
    """The provenance of a start, as plain data; `patch` is there when the checkout has uncommitted changes.

    >>> sorted(collect()["git"]) == ["branch", "commit", "dirty"] or collect()["git"] == {}
    True
    """
    import jax

    from hyperlab import __version__

    git, patch = _git()
    devices = jax.devices()
    return {
        "started": now(),
        "command": shlex.join([Path(sys.executable).name, *sys.orig_argv[1:]]),
        "hyperlab": __version__,
        "git": git,
        "python": platform.python_version(),
        "os": platform.platform(),
        "machine": {"name": platform.node(), "cpu": _cpu(), "cores": _cores()},
        "devices": {"backend": jax.default_backend(), "kind": devices[0].device_kind, "count": len(devices)},
        "processes": jax.process_count(),
        "environment": _environment(),
        "packages": dict(_packages()),
        **({"patch": patch} if patch else {}),
    }


def code() -> tuple[str, str | None]:
    """The version of this code, and its commit; None for an installed wheel."""
    from hyperlab import __version__

    return __version__, _git()[0].get("commit")


def now() -> str:
    """The time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def seconds_since_process_start() -> float:
    """Seconds since the operating system started this process, imports included."""
    import psutil

    return time.time() - psutil.Process().create_time()


def peak_memory() -> dict[str, int]:
    """Bytes that were in use at most: by this process since its start, and on a device where that is counted.

    >>> peak_memory()["process"] > 2**20
    True
    """
    import jax

    peak = {"process": _peak_resident()}
    on_device = [(device.memory_stats() or {}).get("peak_bytes_in_use") for device in jax.local_devices()]
    return peak | ({"device": max(filter(None, on_device))} if any(on_device) else {})


def _peak_resident() -> int:
    status = Path("/proc/self/status")
    if status.exists():  # Linux: getrusage would report the parent's size where that was larger before the fork
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return 1024 * int(line.split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@functools.cache  # hundreds of files, and a sweep asks for every row
def _packages() -> dict[str, str]:
    found = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions() if d.metadata["Name"]}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _environment() -> dict[str, str]:
    names = ("XLA_FLAGS", "SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT", "CUDA_VISIBLE_DEVICES")
    chosen = {name: value for name, value in os.environ.items() if name in names or name.startswith("JAX_")}
    return dict(sorted(chosen.items()))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git() -> tuple[dict[str, Any], str | None]:
    """The commit of the checkout that this code was imported from; empty for an installed wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return {}, None
    try:
        commit = _run_git(root, "rev-parse", "HEAD").strip()
        branch = _run_git(root, "rev-parse", "--abbrev-ref", "HEAD").strip()
        changed = _run_git(root, "status", "--porcelain").strip()
        patch = _run_git(root, "diff", "HEAD") if changed else ""
    except (OSError, subprocess.SubprocessError):
        return {}, None
    keep = 0 < len(patch) <= LARGEST_PATCH
    return {"commit": commit, "branch": branch, "dirty": bool(changed)}, patch if keep else None


def _run_git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
