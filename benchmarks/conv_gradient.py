"""Gradients of convolutions inside and outside a loop: `hyperlab.nn.Conv` against `flax.linen.Conv`.

    python benchmarks/conv_gradient.py --record

A U-Net, then single layers with strides, dilations and groups: the same network with the same parameters; in a loop,
`lax.scan` takes gradient steps on the same batch. Ratios are to the layer of flax outside of a loop.
"""

from typing import Any

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
# One layer of 32 channels: window, its options, shape of the images.
LAYERS: dict[str, tuple[tuple[int, ...], dict[str, Any], tuple[int, ...]]] = {
    "3x3, strides 2": ((3, 3), {"strides": 2}, (8, 32, 32, 32)),
    "1x1, strides 2": ((1, 1), {"strides": 2}, (8, 32, 32, 32)),
    "7x7, strides 2, of 3 channels": ((7, 7), {"strides": 2}, (4, 64, 64, 3)),
    "3x3, dilation 2": ((3, 3), {"kernel_dilation": 2}, (8, 32, 32, 32)),
    "3x3, 4 groups": ((3, 3), {"feature_group_count": 4}, (8, 32, 32, 32)),
    "3x3, channel by channel": ((3, 3), {"feature_group_count": 32}, (8, 32, 32, 32)),
    "3x3x3, strides 2": ((3, 3, 3), {"strides": 2}, (1, 16, 16, 16, 32)),
}


def main() -> None:
    options = arguments(__doc__, repeats=9).parse_args()
    rng = np.random.default_rng(0)
    results = {}
    images = jnp.asarray(rng.normal(size=(SETTINGS["batch"], SETTINGS["size"], SETTINGS["size"], 1)), jnp.float32)
    results["U-Net"] = compare(lambda layer: UNet(SETTINGS["levels"], SETTINGS["features"], layer), images, options)
    for name, (window, given, shape) in LAYERS.items():
        print(f"\n{name}")
        images = jnp.asarray(rng.normal(size=shape), jnp.float32)
        results[name] = compare(lambda layer, w=window, g=given: layer(32, w, **g), images, options)
    settings = {**SETTINGS, "layers": {name: [list(w), g, list(shape)] for name, (w, g, shape) in LAYERS.items()}}
    report("conv_gradient", settings, results, options.record)


def compare(network: Any, images: jax.Array, options: Any) -> dict[str, Any]:
    """Both layers in both places, and that their steps agree."""
    turns, compiling, after = {}, {}, {}
    for name, layer in (("hyperlab", Conv), ("flax", nn.Conv)):
        for place, steps in (("outside", 1), ("in a loop", SETTINGS["steps"])):
            key = f"{name}, {place}"
            turns[key], compiling[key], after[key] = steps_of(network(layer), images, steps)
    for place in ("outside", "in a loop"):
        ours, theirs = after[f"hyperlab, {place}"], after[f"flax, {place}"]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), ours, theirs)
    times = interleave(turns, options.repeats)
    table(times, compiling)
    ratios = [verdict(ratio(times, key, "flax, outside")) for key in times if key != "flax, outside"]
    return {"compile_seconds": compiling, "seconds_per_step": times, "ratios": ratios}


def steps_of(net: nn.Module, images: jax.Array, steps: int):
    """A turn of gradient steps, the seconds of their compilation, and the parameters after them."""
    variables = net.init(jax.random.key(0), images)
    labels = (jax.random.normal(jax.random.key(1), net.apply(variables, images).shape) > 0.5).astype(jnp.float32)

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
