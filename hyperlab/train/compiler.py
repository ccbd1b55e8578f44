"""Compiler options that were measured to pay."""

import functools
import os

import jax

# XLA gives convolutions, products and sums on a CPU to YNNPACK where its type of fusion is in this list.
YNNPACK = "xla_cpu_experimental_ynn_fusion_type"


def options() -> dict[str, str] | None:
    """What to give to `jax.jit(..., compiler_options=options())` on the default platform; None for the defaults.

    On a CPU it is to do without YNNPACK: a training step of a U-Net takes 1.6 times as long with it as with XLA's
    own convolutions (`benchmarks/step_time.py`). Whoever names the option in `XLA_FLAGS` decides, and an XLA that
    does not have it keeps its defaults.

    Only the outermost `jax.jit` may have options.

    >>> jax.jit(lambda x: x + 1, compiler_options=options())(1)
    Array(2, dtype=int32, weak_type=True)
    """
    if jax.default_backend() != "cpu" or YNNPACK in os.environ.get("XLA_FLAGS", ""):
        return None
    return {YNNPACK: ""} if _known(YNNPACK) else None


@functools.cache
def _known(name: str) -> bool:
    try:
        jax.jit(lambda: 0, compiler_options={name: ""}).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
