"""Seconds to load the results of a thousand run folders, from their files.

    python benchmarks/results_loading.py [--runs 1000] [--from RUN ...] [--record]

Without `--from`, the folders hold tables of 300 rows, which is what a row of a sweep leaves; with it, copies of the
given runs in turn. Every turn is a process of its own, as a command is, and its imports are counted apart.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from common import arguments, quartiles, report

FILES = ("config.json", "run.json", "results.csv")
TARGET = 5.0  # seconds for 1,000 runs
TURN = """
import sys, time
start = time.perf_counter()
from hyperlab.results import loading
imported = time.perf_counter()
frame = loading.results(sys.argv[1])
print(imported - start, time.perf_counter() - imported, *frame.shape)
"""


def synthetic(folder: Path, seed: int) -> None:
    """A run of a sweep: three arms, ten seeds, ten metrics."""
    folder.mkdir(parents=True)
    config = {"study": "stability", "seed": seed, "gamma": {"dim": seed % 7}, "arms": ["plain", "additive", "mip"]}
    (folder / "config.json").write_text(json.dumps(config))
    start = {"started": "2026-01-01T00:00:00+00:00", "ended": "2026-01-01T00:01:00+00:00", "exit_reason": "finished",
             "hyperlab": "0.1.0", "packages": {"jax": "0.10.2"}, "config_digest": f"{seed:016x}"}  # fmt: skip
    (folder / "run.json").write_text(json.dumps({"starts": [start], "data": {"digits": "0"}}))
    rows = pd.MultiIndex.from_product(
        [config["arms"], range(100, 110), [f"metric_{k}" for k in range(10)]], names=["arm", "seed", "metric"]
    ).to_frame(index=False)
    values = np.random.default_rng(seed).normal(size=len(rows))
    rows.assign(split="test", learning_rate=0.1, value=values).to_csv(folder / "results.csv", index=False)


def copied(source: Path, folder: Path) -> None:
    """The files of a run that are read."""
    folder.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(source / name, folder / name)


def turn(root: Path) -> tuple[float, float, int, int]:
    """Seconds of the imports and of loading in a new process, rows and columns."""
    done = subprocess.run([sys.executable, "-c", TURN, str(root)], capture_output=True, text=True, check=True)
    imports, loading, rows, columns = done.stdout.split()
    return float(imports), float(loading), int(rows), int(columns)


def main() -> None:
    parser = arguments(__doc__, repeats=5)
    parser.add_argument("--runs", type=int, default=1000, help="run folders")
    parser.add_argument("--from", dest="sources", type=Path, nargs="+", default=[], help="runs whose files are copied")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        for number in range(options.runs):
            folder = root / f"row{number:04d}"
            if options.sources:
                copied(options.sources[number % len(options.sources)], folder)
            else:
                synthetic(folder, number)
        imported, times, shape = [], [], []
        for _ in range(options.repeats):
            imports, seconds, *shape[:] = turn(root)
            imported.append(imports)
            times.append(seconds)
    print(f"{options.runs} runs, {shape[0]:,} rows, {shape[1]} columns")
    found = quartiles(times)
    print(f"loading {found['median']:.2f} s [{found['low']:.2f}, {found['high']:.2f}]")
    print(f"imports {quartiles(imported)['median']:.2f} s; target of {TARGET:g} s: ", end="")
    print("met" if found["median"] <= TARGET else "not met")
    report(
        "results_loading",
        {"runs": options.runs, "rows": shape[0], "columns": shape[1], "sources": len(options.sources)},
        {"seconds": found, "import_seconds": quartiles(imported)},
        options.record,
    )


if __name__ == "__main__":
    main()
