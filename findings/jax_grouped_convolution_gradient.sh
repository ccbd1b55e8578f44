#!/usr/bin/env bash
# jax and jaxlib 0.10.2, on a CPU: a convolution in groups is several times slower to differentiate than the same
# products as separate convolutions, one for each group.
#
# Sworn: `feature_group_count=4` does a quarter of the products of a full convolution, so its gradient takes less time
# than the full one's, and no more than that of four small convolutions whose outputs are joined.
# Seen: forward it is as expected. The gradient of the kernel is stated by `batch_group_count`, and that of the images
# by reshaped dimension numbers, for neither of which the CPU backend has its fast routine: outside of any loop the
# gradient takes many times as long as four separate ones that give the same numbers. Inside `lax.scan` full ones fall
# out of that routine too (jax issue 12868); here nothing is in a loop. On CUDA the like was reported (jax issue 13800).
#
# Output on the day this was written (seconds depend on the machine, the ratio little):
#   forward: four separate convolutions 1.9 ms, one in groups 5.0 ms
#   gradient: four separate 7.4 ms, one in groups 293.3 ms, 40 times as long
#   the gradients agree: True
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q jax==0.10.2 jaxlib==0.10.2
cd "$work"
cat > groups.py <<'P'
import time

import jax
import jax.numpy as jnp
from jax import lax

GROUPS = 4
images = jax.random.normal(jax.random.key(0), (8, 32, 32, 32))
kernel = jax.random.normal(jax.random.key(1), (3, 3, 32 // GROUPS, 32))
numbers = ("NHWC", "HWIO", "NHWC")


def in_groups(x, k):
    return lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=GROUPS)


def separate(x, k):
    pairs = zip(jnp.split(x, GROUPS, -1), jnp.split(k, GROUPS, -1))
    each = [lax.conv_general_dilated(a, b, (1, 1), "SAME", dimension_numbers=numbers) for a, b in pairs]
    return jnp.concatenate(each, -1)


def milliseconds(function):
    compiled = jax.jit(function)
    jax.block_until_ready(compiled(images, kernel))
    seconds = []
    for _ in range(7):
        begun = time.perf_counter()
        jax.block_until_ready(compiled(images, kernel))
        seconds.append(time.perf_counter() - begun)
    return 1e3 * min(seconds), compiled(images, kernel)


def gradient(convolution):
    return jax.grad(lambda x, k: (convolution(x, k) ** 2).sum(), argnums=(0, 1))


forward, _ = milliseconds(separate)
forward_in_groups, _ = milliseconds(in_groups)
backward, expected = milliseconds(gradient(separate))
backward_in_groups, found = milliseconds(gradient(in_groups))
agree = all(jnp.allclose(a, b, rtol=1e-3, atol=1e-2) for a, b in zip(expected, found))
print(f"forward: four separate convolutions {forward:.1f} ms, one in groups {forward_in_groups:.1f} ms")
print(f"gradient: four separate {backward:.1f} ms, one in groups {backward_in_groups:.1f} ms, ", end="")
print(f"{backward_in_groups / backward:.0f} times as long")
print(f"the gradients agree: {agree}")
assert agree
assert backward_in_groups > 4 * backward, "the gradient of a convolution in groups has become fast: this has changed"
P
"$work/venv/bin/python" groups.py
