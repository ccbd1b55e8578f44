"""Do two versions of hyperlab give the same numbers? Shortened defaults of all studies, byte for byte.

    python benchmarks/same_results.py OLD NEW [STUDY ...] [--keep FOLDER]

OLD and NEW are checkouts. Each study runs in both on this machine; `results.csv`, `choices.json`, `contrasts.csv` and
`per_case.csv` are compared as text, measured times apart. Then NEW goes on in a copy of the folder of OLD from which a
third of the units was taken, and must end the same. Exits with 1 where anything differs.
"""

import argparse
import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from faults import SHORT, TIMES

COMPARED = ("results.csv", "choices.json", "contrasts.csv", "per_case.csv")
CONTRASTS = {
    "pruning": {"contrasts": ("global_magnitude - random",), "arms": ("global_magnitude", "random", "snip")},
    "stability": {"contrasts": ("default - plain",)},
    "rescaling": {"contrasts": ("sshn - stochastic",), "arms": ("fixed", "stochastic", "sshn")},
    "in_context": {"contrasts": ("universeg - squeeze",)},
    "stochastic": {"contrasts": ("tyche - universeg_noise",)},
    "local_sgd": {"contrasts": ("local - synchronous",)},
    "uncertainty": {
        "arms": ("none", "spatial", "element", "ensemble", "bayesian", "tyche", "noise"),
        "contrasts": ("dice: spatial - none", "error_detection: tyche - noise", "likelihood: bayesian - ensemble"),
        "train_shares": (0.5, 1.0),
        "data.borders": (0, 2),
        "dropout_rates": (0.1, 0.2),
        "tyche.widths": (4, 4),
    },
}


def run(checkout: Path, study: str, folder: Path) -> None:
    """Runs a shortened study with the code of a checkout."""
    settings = SHORT[study] | CONTRASTS.get(study, {})
    given = [f"--config.{key}={value}" for key, value in settings.items()]
    words = [sys.executable, "-m", f"experiments.{study}", *given, "--workdir", str(folder)]
    done = subprocess.run(
        words, cwd=checkout, env=os.environ | {"PYTHONPATH": str(checkout)}, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{study} in {checkout} ended with {done.returncode}: {done.stderr[-2000:]}")


def numbers(path: Path) -> Any:
    """What a file says, as text, without what was timed."""
    if path.suffix == ".json":
        return _without_times(json.loads(path.read_text()))
    rows = list(csv.reader(io.StringIO(path.read_text())))
    if not rows:
        return rows
    columns = [index for index, name in enumerate(rows[0]) if not TIMES.search(name)]
    named = rows[0].index("metric") if "metric" in rows[0] else None
    return [[row[c] for c in columns] for row in rows if named is None or not TIMES.search(row[named])]


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(one) for key, one in value.items() if not TIMES.search(key)}
    return [_without_times(one) for one in value] if isinstance(value, list) else value


def differences(old: Path, new: Path) -> list[str]:
    """The compared files that are not equal."""
    found = []
    for name in COMPARED:
        paths = old / name, new / name
        there = [path.exists() for path in paths]
        if any(there) and not (all(there) and numbers(paths[0]) == numbers(paths[1])):
            found.append(name)
    return found


def continued(new: Path, study: str, finished: Path, folder: Path) -> list[str]:
    """What differs after the new code went on in a folder of the old one that lacks a third of its units."""
    shutil.copytree(finished, folder)
    for unit in sorted((folder / "units").glob("*.npz"))[::3]:
        unit.unlink()
    for name in (*COMPARED, "report.html"):
        (folder / name).unlink(missing_ok=True)
    run(new, study, folder)
    return differences(finished, folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("studies", nargs="*", help="by default all")
    parser.add_argument("--keep", type=Path, help="folder for the runs of OLD, which are used again")
    options = parser.parse_args()
    unequal = 0
    with tempfile.TemporaryDirectory(prefix="same-") as temporary:
        kept = options.keep or Path(temporary) / "old"
        for study in options.studies or SHORT:
            old, new = kept / study, Path(temporary) / study
            if not (old / "report.html").exists():
                run(options.old.resolve(), study, old)
            run(options.new.resolve(), study, new)
            found = differences(old, new)
            went_on = continued(options.new.resolve(), study, old, Path(temporary) / f"{study}-continued")
            unequal += bool(found or went_on)
            print(f"{study}: {', '.join(found) or 'equal'}; continued: {', '.join(went_on) or 'equal'}", flush=True)
    return int(unequal > 0)


if __name__ == "__main__":
    sys.exit(main())
