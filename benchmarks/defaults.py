"""What each study costs on its embedded default: start, compilation, step, memory, and the whole of it.

    python benchmarks/defaults.py [STUDY ...] [--seconds 20 | --whole] [--table FILE] [--record]

Every study runs in a process of its own, with no program compiled before, and is asked to stop some seconds after its
first training step; `--whole` lets it end. A step is timed from one report of progress to the next of the same thread,
so that its median is free of compilations and evaluations; the share of the time that was not spent in such steps is
beside it.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from common import arguments, report

from hyperlab import launch, studies
from hyperlab.train.progress import Progress

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = ("study", "first step, s", "programs", "compiling, s", "ms a step", "in steps, %", "peak, MiB", "whole, s")


def main() -> None:
    parser = arguments(__doc__, repeats=1)
    parser.add_argument("studies", nargs="*", metavar="STUDY", help="by default all of them")
    parser.add_argument("--seconds", type=float, default=20, help="of training after the first step")
    parser.add_argument("--whole", action="store_true", help="to the end of each study, its report included")
    parser.add_argument("--table", type=Path, help="also write the table into this file, as Markdown")
    parser.add_argument("--child", type=Path, help="the run folder of a child process")
    options = parser.parse_args()
    if options.child:
        return measure(options.studies[0], options.child, None if options.whole else options.seconds)
    found = {}
    rows = [COLUMNS, ["---"] * len(COLUMNS)]
    for name in options.studies or studies.studies():
        found[name] = in_child(name, options.whole, options.seconds)
        rows.append(row(name, found[name]))
        print("  ".join(map(str, rows[-1])), file=sys.stderr, flush=True)
    table = "\n".join(f"| {' | '.join(map(str, line))} |" for line in rows)
    print(table)
    if options.table:
        options.table.write_text(table + "\n")
    settings = {"whole": options.whole, "seconds": options.seconds}
    report("defaults", settings, {"studies": found}, options.record)


def in_child(name: str, whole: bool, seconds: float) -> dict[str, Any]:
    """Runs a study in another process, which starts without compiled programs."""
    with tempfile.TemporaryDirectory() as folder:
        child = [sys.executable, __file__, name, f"--seconds={seconds}", "--child", f"{folder}/run"]
        child += ["--whole"] * whole
        environment = {**os.environ, "HYPERLAB_CACHE": f"{folder}/cache"}
        ended = subprocess.run(child, cwd=ROOT, env=environment, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"{name} failed:\n{ended.stderr}")
    return json.loads(ended.stdout.splitlines()[-1])


def measure(name: str, folder: Path, seconds: float | None) -> None:
    """Runs a study in this process for `seconds` after its first step and prints what it cost."""
    clock = Clock(seconds)
    update = Progress.update

    def timed(self: Progress, done: int, **shown: float) -> None:
        clock.tick(done)
        update(self, done, **shown)

    Progress.update = timed
    begun = time.monotonic()
    launch.run(launch.load_study(name).get_config(), folder, stop=clock)
    ended = time.monotonic()
    start = json.loads((folder / "run.json").read_text())["starts"][-1]
    print(
        json.dumps(
            {
                "first_step": start.get("seconds_to", {}).get("first_step", float("nan")),
                **start["compiled"],
                **clock.steps(),
                "peak_bytes": start["peak_bytes"],
                "total": ended - begun if seconds is None else None,
            }
        )
    )


class Clock:
    """Notes when steps were done, in which thread, and asks for a stop some seconds after the first.

    Args:
      seconds: after the first step; None for never.
    """

    reason = "timed"

    def __init__(self, seconds: float | None):
        self.seconds, self.first, self.done = seconds, None, 0
        self.last: dict[int, float] = {}  # thread: when it reported
        self.times: list[tuple[float, int]] = []  # seconds from one report to the next, and the steps between them
        self.lock = threading.Lock()

    @property
    def requested(self) -> bool:
        """Whether it is time to stop."""
        return self.seconds is not None and self.first is not None and time.monotonic() - self.first > self.seconds

    def tick(self, done: int) -> None:
        """So many steps were done, in all threads together."""
        now, thread = time.monotonic(), threading.get_ident()
        with self.lock:
            self.first = self.first or (now if done else None)  # a report of no step yet does not count
            if thread in self.last and done > self.done:
                self.times.append((now - self.last[thread], done - self.done))
            self.last[thread], self.done = now, done

    def steps(self) -> dict[str, float]:
        """Median seconds of a step in its thread, and the share of the threads' time that such steps account for."""
        if not self.times:
            return {"step": float("nan"), "in_steps": float("nan")}
        step = statistics.median(seconds / steps for seconds, steps in self.times)
        spent = sum(seconds for seconds, _ in self.times)
        return {"step": step, "in_steps": min(1.0, step * sum(steps for _, steps in self.times) / spent)}


def row(name: str, found: dict[str, Any]) -> list[Any]:
    """A study's line of the table."""
    return [
        name,
        f"{found['first_step']:.1f}",
        found["programs"],
        f"{found['seconds']:.1f}",
        f"{1e3 * found['step']:.3g}",
        f"{100 * found['in_steps']:.0f}",
        f"{found['peak_bytes']['process'] / 2**20:.0f}",
        "" if found["total"] is None else f"{found['total']:.0f}",
    ]


if __name__ == "__main__":
    main()
