"""The gradient through a theta for each image of a batch (`apply_per_sample`), in two versions, and for one theta.

    python benchmarks/per_sample.py OLD NEW [--repeats 7] [--record]

OLD and NEW are checkouts. The primary is a U-Net of 3 levels and 16 channels on a batch of 16 images of 64 x 64. Each
version runs a process of its own, which stays, and takes turns.
"""

import json
import sys
from pathlib import Path

from common import Child, arguments, interleave, ratio, report, table, verdict

TARGET = 0.75
CHILD = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import jax, jax.numpy as jnp
import hyperlab as hl
from hyperlab.models import UNet
from hyperlab.train import compiler

images = jax.random.normal(jax.random.key(0), (16, 64, 64, 1))
gammas = jnp.linspace(0, 1, 16)[:, None]
model = hl.hypernetize(UNet((16, 16, 16)), images[:1], hidden=(16, 32))
params = model.init(jax.random.key(1))["params"]

def own(params):
    return jnp.square(model.apply_per_sample({"params": params}, gammas, images)).mean()

def one(params):
    return jnp.square(model.apply({"params": params}, gammas[0], images)).mean()

programs = {}
for line in sys.stdin:
    name = json.loads(line)
    if name not in programs:
        function = jax.jit(jax.value_and_grad({"own": own, "one": one}[name]), compiler_options=compiler.options())
        programs[name] = function.lower(params).compile()
        programs[name](params)
    begun = time.perf_counter()
    value, gradient = jax.block_until_ready(programs[name](params))
    seconds = time.perf_counter() - begun
    temporary = programs[name].memory_analysis().temp_size_in_bytes / 2**20
    print(json.dumps({"seconds": seconds, "value": float(value), "temporary": temporary}), flush=True)
"""


def main() -> None:
    parser = arguments(__doc__, repeats=7)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    options = parser.parse_args()
    folders = {"before": options.old.resolve(), "now": options.new.resolve()}
    children = {name: Child([sys.executable, "-W", "ignore", "-c", CHILD, str(at)]) for name, at in folders.items()}
    last: dict[str, dict] = {}

    def turn(version: str, form: str) -> float:
        last[version, form] = children[version].ask(json.dumps(form))
        return last[version, form]["seconds"]

    turns = {
        f"{form}, {version}": lambda version=version, form=form: turn(version, form)
        for version in children
        for form in ("own", "one")
    }
    times = interleave(turns, options.repeats)
    for child in children.values():
        child.close()
    table(times, {}, "gradient")
    ratios = [
        verdict(ratio(times, "own, now", "own, before"), TARGET),
        verdict(ratio(times, "own, now", "one, now")),
        verdict(ratio(times, "one, now", "one, before")),
    ]
    values = {f"{form}, {version}": found for (version, form), found in last.items()}
    report("per_sample", {"target": TARGET}, {"seconds": times, "ratios": ratios, "last": values}, options.record)


if __name__ == "__main__":
    main()
