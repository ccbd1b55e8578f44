#!/usr/bin/env bash
# jax 0.10.2 with flax 0.12.8, on a CPU: the gradient of a bias of a layer that computes in bfloat16 misses most rows.
#
# Sworn: a sum over many bfloat16 numbers accumulates in float32, as jnp.sum of a bfloat16 array does; parameters stay
# float32 with flax's `dtype=bfloat16`, so their gradients are as good as float32 sums of rounded numbers.
# Seen: the bias is cast to bfloat16 and then broadcast, and the transpose of a broadcast is a sum in bfloat16 itself,
# without the float32 accumulator that jnp.sum has. XLA's CPU backend does it literally: ones that are added one by one
# stop at 256, since 257 is no bfloat16 number; how many partial sums there are decides what is left. Dense and Conv
# have it alike; products (the kernel's gradient) do not.
# A bias that is added in float32, after the product, has the right gradient.
#
# Output on the day this was written:
#   jnp.sum of 32768 ones in bfloat16: 32768
#   gradient of the bias, Dense in bfloat16, 32768 rows: 8192
#   gradient of the kernel, the same layer: 32768
#   gradient of the bias, Conv in bfloat16, 32768 pixels: 8192
#   gradient of a bias that is added in float32: 32768
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q jax==0.10.2 jaxlib==0.10.2 flax==0.12.8
cd "$work"
cat > gradients.py <<'P'
import flax.linen as nn
import jax
import jax.numpy as jnp

ROWS = 32768


def gradient(layer, inputs):
    params = layer.init(jax.random.key(0), inputs)
    total = lambda given: layer.apply(given, inputs).astype(jnp.float32).sum()
    return jax.jit(jax.grad(total))(params)["params"]


def added_after(bias):
    return (jnp.zeros((ROWS, 1), jnp.bfloat16).astype(jnp.float32) + bias).sum()


dense = gradient(nn.Dense(1, dtype=jnp.bfloat16), jnp.ones((ROWS, 1)))
conv = gradient(nn.Conv(1, (1, 1), dtype=jnp.bfloat16), jnp.ones((1, 256, 128, 1)))
print(f"jnp.sum of {ROWS} ones in bfloat16: {float(jnp.ones(ROWS, jnp.bfloat16).sum()):.0f}")
print(f"gradient of the bias, Dense in bfloat16, {ROWS} rows: {float(dense['bias'][0]):.0f}")
print(f"gradient of the kernel, the same layer: {float(dense['kernel'][0, 0]):.0f}")
print(f"gradient of the bias, Conv in bfloat16, {ROWS} pixels: {float(conv['bias'][0]):.0f}")
print(f"gradient of a bias that is added in float32: {float(jax.grad(added_after)(jnp.zeros(1))[0]):.0f}")
P
JAX_PLATFORMS=cpu "$work/venv/bin/python" gradients.py | tee seen.txt
grep -q "^jnp.sum of 32768 ones in bfloat16: 32768$" seen.txt
grep -q "^gradient of the kernel, the same layer: 32768$" seen.txt
grep -q "^gradient of a bias that is added in float32: 32768$" seen.txt
awk -F': ' '/^gradient of the bias, / && $2 <= 16384 { lost++ } END { exit lost != 2 }' seen.txt ||
  { echo "changed: bias gradients miss fewer rows now"; exit 1; }
