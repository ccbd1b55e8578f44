#!/usr/bin/env bash
# jax and jaxlib 0.10.2, on a CPU: a program that draws random numbers under several keys compiles many times as long
# as one that states the same generator, round by round, in element-wise operations, and the numbers are the same.
#
# Sworn: a loop over the rounds of a generator is what keeps programs small, so that writing the twenty rounds out
# costs compilation.
# Seen: the other way round. `jax.random.normal` under `jax.vmap` lowers Threefry-2x32 for CPUs to a loop over groups of
# rounds, whose body compiles slowly; the rounds written out are one kernel. Drawing is not slower either.
#
# Output on the day this was written (seconds of processor time):
#   compilation: jax.random 1.02 s, written out 0.07 s, 14 times as long
#   the numbers are equal: True
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q jax==0.10.2 jaxlib==0.10.2
cd "$work"
cat > generator.py <<'P'
import time

import jax
import jax.numpy as jnp
import numpy as np

SHAPE = (2, 32, 32)
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def written_out(key):
    """Standard normal numbers of SHAPE by Threefry-2x32 (Salmon et al. 2011), one counter for each."""
    first, second = jax.random.key_data(key)
    keys = (first, second, first ^ second ^ jnp.uint32(0x1BD11BDA))
    left = jnp.zeros(SHAPE, jnp.uint32) + keys[0]
    right = jnp.arange(np.prod(SHAPE), dtype=jnp.uint32).reshape(SHAPE) + keys[1]
    for index in range(20):
        turn = ROTATIONS[index // 4 % 2][index % 4]
        left = left + right
        right = ((right << turn) | (right >> (32 - turn))) ^ left
        if index % 4 == 3:
            number = index // 4 + 1
            left = left + keys[number % 3]
            right = right + keys[(number + 1) % 3] + jnp.uint32(number)
    mantissa = ((left ^ right) >> 9) | jnp.uint32(0x3F800000)
    uniform = jax.lax.bitcast_convert_type(mantissa, jnp.float32) - 1
    low = np.nextafter(np.float32(-1), np.float32(0))
    return jnp.float32(np.sqrt(2)) * jax.lax.erf_inv(jnp.maximum(low, uniform * (1 - low) + low))


def compiled(function, keys):
    lowered = jax.jit(jax.vmap(function)).lower(keys)
    begun = time.process_time()
    program = lowered.compile()
    return program, time.process_time() - begun


keys = jax.random.split(jax.random.key(0), 36)
compiled(lambda key: jax.random.key_data(key) + 1, keys)  # what is done once in a process
theirs, slow = compiled(lambda key: jax.random.normal(key, SHAPE), keys)
ours, quick = compiled(written_out, keys)
equal = np.array_equal(theirs(keys), ours(keys))
print(f"compilation: jax.random {slow:.2f} s, written out {quick:.2f} s, {slow / quick:.0f} times as long")
print(f"the numbers are equal: {equal}")
assert equal
assert slow > 4 * quick, "a program that draws compiles as fast as the rounds written out: this has changed"
P
JAX_PLATFORMS=cpu "$work/venv/bin/python" generator.py
