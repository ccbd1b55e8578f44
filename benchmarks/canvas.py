"""A training step on canvases against the exact form at the same rescaling factor, averaged over the factor's prior.

    python benchmarks/canvas.py --record
    python benchmarks/canvas.py --volume 96

A step is loss, gradient and SGD; batch 8 of 64x64x1. The factors stand in the middle of equal shares of U(0, 0.5);
both forms take turns at each. With `--volume`, the exact form of a 16-32-64 U-Net on one volume instead: the memory of
a forward pass and of a training step, and that of the process.
"""

import resource

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import arguments, compiled, interleave, quartiles, report, seconds, table, verdict

from hyperlab import trees
from hyperlab.models import UNet
from hyperlab.nn import bucket_of, level_sizes, overhead, plan
from hyperlab.train import compiler

SETTINGS = {"batch": 8, "size": 64, "widths": (16, 16, 16, 16), "convs_per_block": 2, "normalization": None}
SETTINGS |= {
    "prior": (0.0, 0.5),
    "rate": 0.01,
    "volume_widths": (16, 32, 64),
    "volume_factors": (0.25, 0.5),
    "volume_limit_gib": 12,
}


def main() -> None:
    parser = arguments(__doc__, repeats=5)
    parser.add_argument("--programs", type=int, default=8, help="canvas programs at most")
    parser.add_argument("--factors", type=int, default=8, help="factors that stand for the prior")
    parser.add_argument("--widths", type=int, nargs="+", help="of the U-Net's levels")
    parser.add_argument("--size", type=int, help="of the images")
    parser.add_argument("--normalization", choices=("group", "batch"), help="of the U-Net")
    parser.add_argument("--volume", type=int, help="measure the memory of a volume of this size instead")
    options = parser.parse_args()
    SETTINGS.update({key: value for key in ("widths", "size", "normalization") if (value := getattr(options, key))})
    if options.volume:
        return volume(options)
    return canvases(options)


def canvases(options) -> None:
    """Times of both forms at the same factors, taking turns."""
    chosen = {key: SETTINGS[key] for key in ("convs_per_block", "normalization")}
    net = UNet(tuple(SETTINGS["widths"]), **chosen)
    shape, levels = (SETTINGS["size"],) * 2, len(SETTINGS["widths"])
    low, high = SETTINGS["prior"]
    weights = net.pixel_costs(2)
    buckets = plan(shape, levels, low, high, options.programs, weights=weights)
    batch = example((SETTINGS["batch"], *shape, 1))
    variables = net.init(jax.random.key(0), batch[0])
    shares = (np.arange(options.factors) + 0.5) / options.factors
    factors = [float(factor) for factor in low + (high - low) * shares]
    all_sizes = [level_sizes(shape, factor, levels) for factor in factors]
    print(f"{trees.count(variables):,} parameters; {len(buckets)} programs, {len(set(all_sizes))} sizes measured")
    print(f"expected from the pixels alone: {overhead(buckets, weights=weights):.3f}")

    programs, turns, compiling, first, second = {}, {}, {}, [], []
    for factor, sizes in zip(factors, all_sizes, strict=True):
        canvases, traced = bucket_of(buckets, factor).canvases, jnp.array(sizes)
        known = canvases in programs
        if not known:
            programs[canvases] = compiled(step_of(net, canvases), variables, batch, traced, **flags())
        program, canvas_seconds = programs[canvases]
        # Until the first step of this size is done: a new compilation, or nothing but the step where it exists.
        until = seconds(lambda program=program, traced=traced: program(variables, batch, traced))
        (second if known else first).append(until + (0 if known else canvas_seconds))
        exact, exact_seconds = compiled(step_of(net, None, sizes), variables, batch, **flags())
        losses = program(variables, batch, traced)[0], exact(variables, batch)[0]
        np.testing.assert_allclose(*losses, rtol=1e-5)
        label = f"phi {factor:.3f}"
        turns[f"{label}, canvas"] = lambda program=program, traced=traced: seconds(
            lambda: program(variables, batch, traced)
        )
        turns[f"{label}, exact"] = lambda exact=exact: seconds(lambda: exact(variables, batch))
        compiling |= {f"{label}, exact": exact_seconds} | ({} if known else {f"{label}, canvas": canvas_seconds})
    times = interleave(turns, options.repeats)
    table(times, compiling)

    by_form = {form: [times[f"phi {factor:.3f}, {form}"] for factor in factors] for form in ("canvas", "exact")}
    means = {form: np.mean(rows, axis=0) for form, rows in by_form.items()}  # over the prior, a round each
    ratios = (means["canvas"] / means["exact"]).tolist()
    ratio = verdict({"of": "canvas, mean over the prior", "to": "exact", **quartiles(ratios)}, 1.2)
    start = {"first_size_of_a_program": np.mean(first), "second_size": np.mean(second) if second else None}
    exact_start = np.mean([compiling[f"phi {factor:.3f}, exact"] for factor in factors])
    if second:
        print(f"until the first step: {np.mean(first):.2f} s with a new program, {np.mean(second):.3f} s with a second")
        print(f"size of the same bucket; the exact form compiles {exact_start:.2f} s for every size")
    SETTINGS["programs"], SETTINGS["compiler_options"] = len(buckets), compiler.options()
    results = {"factors": factors, "canvases": list(programs), "compile_seconds": compiling, "starts": start}
    results |= {"seconds_per_step": times, "ratio": ratio, "overhead_of_pixels": overhead(buckets, weights=weights)}
    report("canvas", SETTINGS, results, options.record)


def volume(options) -> None:
    """Memory of the compiled programs and of the process, with one volume."""
    net = UNet(tuple(SETTINGS["volume_widths"]), convs_per_block=SETTINGS["convs_per_block"])
    shape, levels = (options.volume,) * 3, len(SETTINGS["volume_widths"])
    batch = example((1, *shape, 1))
    variables = net.init(jax.random.key(0), jnp.zeros((1, 8, 8, 8, 1)))
    print(
        f"{trees.count(variables):,} parameters; sizes, GiB of the program (arguments, results, temporaries), seconds"
    )
    results = {}
    for factor in SETTINGS["volume_factors"]:
        sizes = level_sizes(shape, factor, levels)
        functions = {
            "forward": lambda variables, batch, sizes=sizes: net.apply(variables, batch[0], sizes),
            "step": step_of(net, None, sizes),
        }
        for name, function in functions.items():
            program, compile_seconds = compiled(function, variables, batch, **flags())
            memory = program.memory_analysis()
            peak = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
            took = [seconds(lambda program=program: program(variables, batch)) for _ in range(2)][-1]
            resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            row = {"program_gib": peak / 2**30, "process_gib": resident / 2**30, "seconds": took}
            results[f"phi {factor:g}, {name}"] = {"sizes": sizes, "compile_seconds": compile_seconds, **row}
            print(f"phi {factor:g}, {name}: program {row['program_gib']:.2f} GiB, ", end="")
            print(f"process at most {row['process_gib']:.2f} GiB, {took:.1f} s")
    most = max(row["process_gib"] for row in results.values())
    limit = SETTINGS["volume_limit_gib"]
    print(f"most: {most:.2f} GiB, limit {limit}: {'met' if most <= limit else 'not met'}")
    SETTINGS["volume"], SETTINGS["compiler_options"] = options.volume, compiler.options()
    report("canvas_volume", SETTINGS, {"programs": results}, options.record)


def example(shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Noise, and labels that depend on it."""
    images = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return jnp.asarray(images), jnp.asarray((images[..., 0] > 0.5).astype(np.int32))


def step_of(net: UNet, canvases, sizes=None):
    """A step of SGD: sizes are an argument with canvases, and fixed without."""

    def loss(variables, batch, sizes):
        logits = net.apply(variables, batch[0], sizes, canvases=canvases)
        # Not by integer labels: the gradient of picking a logit is a scatter.
        return optax.softmax_cross_entropy(logits, jax.nn.one_hot(batch[1], logits.shape[-1])).mean()

    def step(variables, batch, sizes=sizes):
        value, gradient = jax.value_and_grad(loss)(variables, batch, sizes)
        return value, jax.tree.map(lambda v, g: v - SETTINGS["rate"] * g, variables, gradient)

    return step


def flags() -> dict:
    return {"compiler_options": compiler.options()}


if __name__ == "__main__":
    main()
