"""Gradient of a U-Net inside and outside a loop: `hyperlab.nn.Conv` against `flax.linen.Conv`.

    python benchmarks/conv_gradient.py --record

The same network with the same parameters; in a loop, `lax.scan` takes gradient steps on the same batch.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import arguments, compiled, interleave, ratio, report, seconds, table, verdict
from networks import UNet

from hyperlab.nn import Conv
from hyperlab.train import compiler

SETTINGS = {"batch": 4, "size": 64, "levels": 3, "features": 16, "steps": 2, "rate": 0.01}


def main() -> None:
    options = arguments(__doc__, repeats=9).parse_args()
    images = np.random.default_rng(0).normal(size=(SETTINGS["batch"], SETTINGS["size"], SETTINGS["size"], 1))
    images = jnp.asarray(images, jnp.float32)
    turns, compiling, after = {}, {}, {}
    for name, layer in (("hyperlab", Conv), ("flax", nn.Conv)):
        for place, steps in (("outside", 1), ("in a loop", SETTINGS["steps"])):
            key = f"{name}, {place}"
            turns[key], compiling[key], after[key] = steps_of(layer, images, steps)
    for place in ("outside", "in a loop"):
        ours, theirs = after[f"hyperlab, {place}"], after[f"flax, {place}"]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), ours, theirs)
    times = interleave(turns, options.repeats)
    table(times, compiling)
    ratios = [verdict(ratio(times, f"hyperlab, {place}", f"flax, {place}")) for place in ("outside", "in a loop")]
    results = {"compile_seconds": compiling, "seconds_per_step": times, "ratios": ratios}
    report("conv_gradient", SETTINGS, results, options.record)


def steps_of(layer: type, images: jax.Array, steps: int):
    """A turn of gradient steps, the seconds of their compilation, and the parameters after them."""
    net = UNet(SETTINGS["levels"], SETTINGS["features"], layer)
    labels = (images > 0.5).astype(jnp.float32)
    variables = net.init(jax.random.key(0), images)

    def loss(variables):
        return optax.sigmoid_binary_cross_entropy(net.apply(variables, images), labels).mean()

    def step(variables):
        return jax.tree.map(lambda v, g: v - SETTINGS["rate"] * g, variables, jax.grad(loss)(variables))

    def train(variables):
        if steps == 1:
            return step(variables)
        return jax.lax.scan(lambda carry, _: (step(carry), None), variables, length=steps)[0]

    program, compile_seconds = compiled(train, variables, compiler_options=compiler.options())
    return lambda: seconds(lambda: program(variables)) / steps, compile_seconds, program(variables)


if __name__ == "__main__":
    main()
