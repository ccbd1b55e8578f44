"""What the studies' larger configs take on machines that are not there: memory, collectives, bounds, by the compiler.

    python benchmarks/plan.py [--rows ROW ...] [--machines NAME ...] [--tpu-python PATH] [--cuda-python PATH] [--record]

Each row is a study with a config, as `hyperlab plan` compiles it; rows whose data are read from files need
`--data DIR`. Numbers are the compiler's, so exact and the same on any machine; what was recorded of other rows stays.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from common import RESULTS, arguments

from hyperlab.planning import parse

ROOT = Path(__file__).resolve().parents[1]
FILE = RESULTS / "plan.json"
MACHINES = ("v5e:1x1", "v5e:4x4", "h100x1", "h100x8")
# Of each study its default on a larger network or batch; DATA stands for the folder of data sets.
ROWS = {
    "stability": ["stability", "--config", "configs/stability/mnist.py", "--config.data.root=DATA/mnist"],
    "rescaling": ["rescaling", "--config.primary.widths=(32,64,64,64)", "--config.batch_size=16"],
    "rescaling, wide": ["rescaling", "--config", "configs/rescaling/wide.py"],
    "registration": ["registration", "--config.batch_size=16"],
    "in_context": ["in_context", "--config.batch_size=16"],
    "stochastic": ["stochastic", "--config.batch_size=16"],
    "pruning": ["pruning", "--config.batch_size=64"],
    "local_sgd": ["local_sgd", "--config.batch_size=64"],
    "uncertainty": ["uncertainty", "--config.batch_size=16"],
}
COLUMNS = ("row", "machine", "fits", "temporaries, MiB", "needed, MiB", "all-reduces", "all-gathers", "least ms a step")


def main() -> None:
    parser = arguments(__doc__, repeats=1)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="ROW")
    parser.add_argument("--machines", nargs="+", default=list(MACHINES), metavar="NAME")
    parser.add_argument("--data", default="../shared/data", help="the folder of data sets")
    parser.add_argument("--tpu-python", help="an interpreter with the compiler for TPUs")
    parser.add_argument("--cuda-python", help="an interpreter with the compiler for NVIDIA devices")
    options = parser.parse_args()
    pythons = {"tpu": options.tpu_python, "cuda": options.cuda_python, "cpu": None}
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}")
    for name in options.rows:
        for machine in options.machines:
            words = [word.replace("DATA", options.data) for word in ROWS[name]]
            made = planned(words, machine, pythons[parse(machine).of.kind])
            print(f"| {' | '.join(map(str, row(name, machine, made)))} |", flush=True)
            known.setdefault(name, {})[machine] = made
            if options.record and "error" not in made:
                FILE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


def planned(words: list[str], machine: str, python: str | None) -> dict[str, Any]:
    """The plan of a row, or what the command says in place of one."""
    command = [sys.executable, "-m", "hyperlab", "plan", *words, "--machine", machine, "--json"]
    command += ["--python", python] if python else []
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if ended.returncode > 1 or not ended.stdout:
        return {"error": ended.stderr.splitlines()[-1]}
    return json.loads(ended.stdout)


def row(name: str, machine: str, made: dict[str, Any]) -> list[Any]:
    """A plan's training steps in a line, together."""
    if "error" in made:
        return [name, machine, made["error"], *["-"] * (len(COLUMNS) - 3)]
    steps = [one for one in made["programs"] if one["kind"] == "training"]
    most = lambda what: round(max(one.get(what, 0) for one in steps) / 2**20, 1)  # noqa: E731
    count = lambda what: sum(one.get("collectives", {}).get(what, [0])[0] for one in steps)  # noqa: E731
    least = f"{1e3 * made['seconds']:.3g}"
    fits = "yes" if made["fits"] else f"no; {(made['largest_batch'] or {}).get('batch')} would"
    return [name, machine, fits, most("temporaries"), most("needed"), count("all-reduce"), count("all-gather"), least]


if __name__ == "__main__":
    main()
