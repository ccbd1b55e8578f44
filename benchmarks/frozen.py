"""Inference of a network that a hypernetwork generated, against one that was trained alone at the same factor.

    python benchmarks/frozen.py --record

The frozen network is exported with `pareto.export` and loaded back as a program; the other is the same U-Net with
parameters of its own, compiled as the study compiles it. One image of 128x128; both take turns. With two cores and
other work beside, repeat it: the target is three per cent either way.
"""

import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
from common import arguments, compiled, interleave, quartiles, ratio, report, seconds, table

from hyperlab import pareto, trees
from hyperlab.hypernet import hypernetize
from hyperlab.models import published_size
from hyperlab.nn import level_sizes
from hyperlab.train import compiler

SETTINGS = {"size": 128, "factors": (0.1, 0.3, 0.5), "hidden": (16, 64, 96), "calls": 10, "margin": 0.03}


def main() -> None:
    options = arguments(__doc__, repeats=25).parse_args()
    net, images = published_size(), jnp.ones((1, SETTINGS["size"], SETTINGS["size"], 1))
    model = hypernetize(net, images, encoding="z_1mz", hidden=SETTINGS["hidden"])
    variables, own = model.init(jax.random.key(0)), net.init(jax.random.key(1), images)
    print(f"{trees.count(own):,} parameters of the U-Net, {trees.count(variables):,} of the hypernetwork")
    ratios = {}
    for factor in SETTINGS["factors"]:
        sizes = level_sizes(images.shape[1:-1], factor, len(net.widths))

        def apply(variables, images, sizes=sizes):
            return net.apply(variables, images, sizes)

        theta = model.freeze(variables, jnp.array([factor]))[1]
        with tempfile.TemporaryDirectory() as folder:
            example = jax.ShapeDtypeStruct(images.shape, images.dtype)
            card = {"rescaling_factor": factor, "sizes": [list(size) for size in sizes]}
            pareto.export(Path(folder) / "network", apply, theta, example, card, formats=("orbax",))
            loaded = pareto.load(Path(folder) / "network")
            parameters = jax.tree.map(jnp.asarray, loaded.variables)
        given = {"compiler_options": compiler.options()}
        frozen, frozen_seconds = compiled(apply, parameters, images, **given)
        fixed, fixed_seconds = compiled(apply, own, images, **given)
        turns = {
            "frozen": lambda f=frozen, p=parameters: seconds(lambda: f(p, images), SETTINGS["calls"]),
            "fixed": lambda f=fixed: seconds(lambda: f(own, images), SETTINGS["calls"]),
        }
        times = interleave(turns, options.repeats)
        print(f"phi {factor:g}")
        table(times, {"frozen": frozen_seconds, "fixed": fixed_seconds}, "image")
        ratios[f"phi {factor:g}"] = found = ratio(times, "frozen", "fixed")
        inside = abs(found["median"] - 1) <= SETTINGS["margin"]
        print(f"frozen / fixed: {found['median']:.3f} [{found['low']:.3f}, {found['high']:.3f}], ", end="")
        print(f"target 1.00 +- {SETTINGS['margin']}: {'met' if inside else 'not met'}")
        ratios[f"phi {factor:g}"] |= {"seconds": {name: quartiles(values) for name, values in times.items()}}
    report("frozen", SETTINGS, {"ratios": ratios}, options.record)


if __name__ == "__main__":
    main()
