"""What a step of a study's training takes in two versions of hyperlab: what the loop and all around it cost.

    python benchmarks/engine.py OLD NEW [STUDY ...] [--pairs 5] [--record]

OLD and NEW are checkouts. Each runs a shortened study in a process of its own, in turns, with one training at a time;
a step is the median time from one draw of a batch to the next, compilation and evaluations apart. Printed is the ratio
of the new step to the old one, by pairs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import report
from faults import SHORT

STEPS = 300
LENGTHS = {"rescaling": ("train_length",), "pruning": ("parent_length", "tuning_length"),
           "uncertainty": ("train_length",), "in_context": ("train_length",), "local_sgd": ("length",),
           "registration": ("train_length",)}  # fmt: skip
# In a process of its own, in the checkout that it is given: it prints the seconds of a step.
TIMED = """
import json, statistics, sys, time
import hyperlab
from hyperlab import launch
from hyperlab.train import loop

fit, gaps = loop.fit, []

def timed(state, step, batches, **options):
    drawn = []
    def batch(index):
        drawn.append(time.perf_counter())
        return batches(index)
    trained = fit(state, step, batch, **options)
    gaps.extend(later - sooner for sooner, later in zip(drawn[5:], drawn[6:]))
    return trained

loop.fit = timed
study, folder, *words = sys.argv[1:]
hyperlab.run(launch.parse(study, words)[1], folder)
print(json.dumps(statistics.median(gaps)))
"""


def seconds(checkout: Path, study: str) -> float:
    """Of a step of a study, in a checkout."""
    given = {**SHORT[study], **dict.fromkeys(LENGTHS[study], f"{STEPS} steps"), "workers": 1, "report_seeds": 1}
    if study == "registration":
        del given["workers"]
    words = [f"--config.{key}={value}" for key, value in given.items()]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-W", "ignore", "-c", TIMED, study, f"{folder}/run", *words]
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{study} in {checkout}: {done.stderr[-800:]}")
    return float(json.loads(done.stdout.splitlines()[-1]))


def measured(old: Path, new: Path, study: str, pairs: int) -> dict[str, Any]:
    """Steps of a study in both, by turns, and their ratio with its spread."""
    turns = [(seconds(old, study), seconds(new, study)) for _ in range(pairs)]
    ratios = sorted(later / before for before, later in turns)
    before, later = (1e3 * statistics.median(one) for one in zip(*turns, strict=True))
    row = {"old_ms": round(before, 3), "new_ms": round(later, 3), "pairs": pairs}
    return row | {
        "ratio": round(statistics.median(ratios), 3),
        "ratio_range": [round(ratios[0], 3), round(ratios[-1], 3)],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("studies", nargs="*", default=["rescaling", "pruning", "uncertainty"], metavar="STUDY")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    checkouts = options.old.resolve(), options.new.resolve()
    found = {}
    for study in options.studies:
        found[study] = measured(*checkouts, study, options.pairs)
        print(study, json.dumps(found[study]), flush=True)
    report("engine", {"steps": STEPS}, found, options.record)
