"""Seconds from the start of a process to the first training step, and of the whole study, with its peak memory.

    python benchmarks/startup.py --record

`python -m experiments.stability` is run on its embedded default: `cold` with an empty folder of compiled programs, as
after an installation, `warm` with the one that the run before it left. To time the start the study is stopped at its
first step; the whole study runs once each way.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import arguments, interleave, quartiles, ratio, report, verdict

COMMAND = ["-m", "experiments.stability"]
ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = arguments(__doc__, repeats=5)
    parser.add_argument("--start-only", action="store_true", help="leave the whole study out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder))
        turns = {
            "cold": lambda: run(cache.fresh(), whole=False)["first_step"],
            "warm": lambda: run(cache.folder, whole=False)["first_step"],
        }
        times = interleave(turns, options.repeats)
        study = {} if options.start_only else {"cold": run(cache.fresh()), "warm": run(cache.folder)}
    for name, values in times.items():
        q = quartiles(values)
        print(f"{name}: first step after {q['median']:.1f} s [{q['low']:.1f}, {q['high']:.1f}]")
    ratios = [verdict(ratio(times, "warm", "cold"))]
    for name, result in study.items():
        print(f"whole study, {name}: {result['total']:.0f} s, first step at {result['first_step']:.1f} s, ", end="")
        print(f"peak memory {result['peak_bytes'] / 2**20:.0f} MiB")
    results = {"seconds_to_first_step": times, "study": study, "ratios": ratios}
    report("startup", {"command": ["python", *COMMAND]}, results, options.record)


class Cache:
    """Folders of compiled programs."""

    def __init__(self, parent: Path):
        self.parent, self.count = parent, 0

    @property
    def folder(self) -> Path:
        """The newest folder."""
        return self.parent / str(self.count)

    def fresh(self) -> Path:
        """An empty one."""
        self.count += 1
        self.folder.mkdir()
        return self.folder


def run(cache: Path, whole: bool = True) -> dict[str, float]:
    """Runs the study, or its start: seconds to the first step and in total, and the peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder) / "run"
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *COMMAND, "--workdir", str(workdir)],
            cwd=ROOT,
            env={**os.environ, "HYPERLAB_CACHE": str(cache)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        while not whole and first_step(workdir) is None and process.poll() is None:
            time.sleep(0.05)
        if not whole:
            process.send_signal(signal.SIGTERM)
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        total, first = time.perf_counter() - start, first_step(workdir)
        if os.waitstatus_to_exitcode(status) or first is None:
            raise SystemExit(f"the study failed:\n{errors}")
        scale = 1 if sys.platform == "darwin" else 1024
        return {"first_step": first, "total": total, "peak_bytes": usage.ru_maxrss * scale}


def first_step(workdir: Path) -> float | None:
    """What `run.json` says about the first step, once it does."""
    try:
        return json.loads((workdir / "run.json").read_text())["starts"][-1]["seconds_to"]["first_step"]
    except (FileNotFoundError, KeyError):
        return None


if __name__ == "__main__":
    main()
