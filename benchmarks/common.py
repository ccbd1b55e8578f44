"""What the timings share: interleaved turns, ratios within a run, a printed table and a recorded file.

Other work on a machine slows everything for a while. So the things that are compared take turns, and a ratio is
the median of the ratios of turns that follow each other.
"""

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import psutil

from hyperlab.train import provenance

RESULTS = Path(__file__).parent / "results"
Turns = Mapping[str, Callable[[], float]]


def _clocks() -> tuple[float, float, float]:
    """Seconds of the wall, of all processors at work, and of this process with those it has waited for."""
    times = psutil.cpu_times()
    return time.monotonic(), sum(times) - times.idle - getattr(times, "iowait", 0.0), sum(os.times()[:4])


BEGIN = _clocks()


def arguments(description: str, repeats: int) -> argparse.ArgumentParser:
    """The arguments of every benchmark."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=repeats, help="turns of each thing that is timed")
    parser.add_argument("--record", action="store_true", help="write results/NAME.DEVICE.json")
    return parser


def machine() -> dict[str, Any]:
    """Hardware, versions and compiler flags."""
    found = provenance.collect()
    versions = {name: found["packages"].get(name) for name in ("jax", "jaxlib", "flax", "optax", "numpy")}
    return {
        "device": device(),
        "cores": found["machine"]["cores"],
        "os": found["os"],
        "python": found["python"],
        "versions": versions,
        "flags": found["environment"],
        "commit": found["git"].get("commit", "")[:10] + ("+" if found["git"].get("dirty") else ""),
        "date": found["started"],
    }


def device() -> str:
    """The model of the GPU, or of the processor where there is none."""
    kind = jax.devices()[0].device_kind
    return provenance.collect()["machine"]["cpu"] if jax.default_backend() == "cpu" else kind


def load_of_others() -> float:
    """Share of the processors that other processes took since the benchmark began, 0 to 1."""
    wall, busy, own = (now - then for now, then in zip(_clocks(), BEGIN, strict=True))
    return max(0.0, (busy - own) / (wall * psutil.cpu_count()))


def compiled(function: Callable, *args: Any, **options: Any) -> tuple[Callable, float]:
    """The program of a function for these arguments, and the seconds of tracing and compiling it."""
    start = time.perf_counter()
    program = jax.jit(function, **options).lower(*args).compile()
    return program, time.perf_counter() - start


def seconds(run: Callable[[], Any], count: int = 1) -> float:
    """Seconds of one call, the mean over `count` calls; `run` returns arrays that are waited for."""
    start = time.perf_counter()
    for _ in range(count):
        result = run()
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / count


def resident(name: str) -> int:
    """Bytes of this process in memory now (`VmRSS`) or at most so far (`VmHWM`)."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return 1024 * int(line.split()[1])


def forget_peak() -> None:
    """Lets `VmHWM` begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def interleave(turns: Turns, repeats: int) -> dict[str, list[float]]:
    """Lets each thing take one turn after another, `repeats` times after one that is not counted.

    Args:
      turns: functions that do their work once and return its seconds.
      repeats: rounds.

    Returns:
      The seconds of every turn by name.
    """
    times: dict[str, list[float]] = {name: [] for name in turns}
    for repeat in range(repeats + 1):
        for name, turn in turns.items():
            value = turn()
            if repeat:
                times[name].append(value)
    return times


def quartiles(values: list[float]) -> dict[str, float]:
    """Median, quartiles and smallest of some numbers."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": middle, "low": low, "high": high, "min": min(values)}


def ratio(times: Mapping[str, list[float]], above: str, below: str) -> dict[str, Any]:
    """The ratio of two things, turn by turn."""
    pairs = [a / b for a, b in zip(times[above], times[below], strict=True)]
    return {"of": above, "to": below, **quartiles(pairs)}


def table(times: Mapping[str, list[float]], compile_seconds: Mapping[str, float], unit: str = "step") -> None:
    """Prints compile seconds and milliseconds of each thing."""
    width = max(map(len, times))
    print(f"{'':{width}}  compile s   ms per {unit}: median [quartiles]   min")
    for name, values in times.items():
        q = {key: 1e3 * value for key, value in quartiles(values).items()}
        compiling = f"{compile_seconds[name]:9.1f}" if name in compile_seconds else f"{'-':>9}"
        print(f"{name:{width}}  {compiling}   {_sig(q['median'])} [{_sig(q['low'])}, {_sig(q['high'])}]", end="")
        print(f"   {_sig(q['min'])}")


def verdict(result: dict[str, Any], target: float | None = None) -> dict[str, Any]:
    """Prints a ratio and whether its median meets a target; returns it with both."""
    print(f"{result['of']} / {result['to']}: {result['median']:.2f} ", end="")
    print(f"[{result['low']:.2f}, {result['high']:.2f}]", end="")
    if target is None:
        print()
        return result
    met = result["median"] <= target
    print(f", target at most {target}: {'met' if met else 'not met'}")
    return {**result, "target": target, "met": met}


def report(name: str, settings: Mapping[str, Any], results: Mapping[str, Any], record: bool) -> None:
    """Prints the machine, and writes everything to `results/NAME.DEVICE.json` if asked."""
    where = {**machine(), "load_of_others": load_of_others()}
    print(f"other processes took {100 * where['load_of_others']:.0f} % of the processors")
    print(f"{where['device']}, {where['cores']} cores; python {where['python']}, ", end="")
    print(", ".join(f"{package} {version}" for package, version in where["versions"].items()))
    if not record:
        return
    path = recorded(name)
    path.parent.mkdir(exist_ok=True)
    content = {"benchmark": name, "machine": where, "settings": dict(settings), **results}
    path.write_text(json.dumps(_rounded(content), indent=1) + "\n")
    print(f"recorded: {path}")


def recorded(name: str) -> Path:
    """Where a benchmark's record of this machine is."""
    slug = re.sub(r"[^a-z0-9]+", "-", device().lower()).strip("-")
    return RESULTS / f"{name}.{slug}.json"


class Child:
    """Another process that takes turns: it answers each line with a line of JSON."""

    def __init__(self, command: list[str]):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line: str) -> Any:
        """The answer to one line."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.read()

    def read(self) -> Any:
        """The next answer."""
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"the child process ended with code {self.process.wait()}")
        return json.loads(answer)

    def close(self) -> None:
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait(timeout=30)


def _sig(value: float) -> str:
    """Three significant digits."""
    digits = 2 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{round(value, digits):.{max(digits, 0)}f}"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
