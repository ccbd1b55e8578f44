"""What a network costs at given shapes: counted by a rule, and as the compiled program reports it.

The columns do not mean the same. `macs` is what papers compare. `flops` and `bytes_accessed` are the compiler's own
estimates for its program (about two flops a multiply-accumulate, borders and activations counted its way); what
surrounds a call to a library may be missing from them. `peak_memory` is what the program holds at once.
"""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from hyperlab import trees
from hyperlab.metrics.operations import operations


class Cost(NamedTuple):
    """The cost of one call; NaN where the backend does not say. `cost._asdict()` gives the columns of a table.

    Attributes:
      parameters: how many numbers the network holds (its `params`, where it has other collections).
      macs: multiply-accumulates of its own layers; see `hyperlab.metrics.operations`.
      other_macs: those of matrix products without parameters, for instance interpolation.
      flops: floating-point operations, as the compiler estimates.
      bytes_accessed: bytes read and written by the operations of the program, as the compiler estimates.
      peak_memory: bytes of arguments, outputs and temporaries, less what they share.
      compile_seconds: time to compile; NaN where a compiled program was given. A persistent compilation cache
        makes it the time to read from it.
    """

    parameters: int
    macs: int
    other_macs: int
    flops: float
    bytes_accessed: float
    peak_memory: float
    compile_seconds: float


def cost(function: Callable[..., PyTree], variables: PyTree, *inputs: PyTree, compiled: Any = None) -> Cost:
    """The cost of `function(variables, *inputs)` at the shapes of the example; nothing is run.

    Args:
      function: a pure function, jitted or not.
      variables: arrays or their shapes (`jax.ShapeDtypeStruct`).
      *inputs: arrays or their shapes, at least one; the batch counts.
      compiled: the function compiled for these shapes, if there is one: `jax.jit(function).lower(...).compile()`.

    Raises:
      ConfigError: see `hyperlab.metrics.operations`.

    >>> import jax.numpy as jnp
    >>> result = cost(lambda w, x: x @ w, jnp.zeros((4, 8)), jnp.zeros((2, 4)))
    >>> result.parameters, result.macs, result.other_macs, result.peak_memory
    (32, 64, 0, 224.0)
    """
    counted = operations(function, variables, *inputs)
    seconds = float("nan")
    if compiled is None:
        lowered = jax.jit(function).lower(variables, *inputs)
        start = time.perf_counter()
        compiled = lowered.compile()
        seconds = time.perf_counter() - start
    own = variables["params"] if isinstance(variables, Mapping) and "params" in variables else variables
    reported = _reported(compiled)
    return Cost(
        trees.count(own),
        *counted,
        reported.get("flops", math.nan),
        reported.get("bytes accessed", math.nan),
        _peak_memory(compiled),
        seconds,
    )


def _reported(compiled: Any) -> dict[str, float]:
    """The compiler's estimates by name; negative numbers stand for "unknown" in them."""
    try:
        analysis = compiled.cost_analysis()
    except (NotImplementedError, jax.errors.JaxRuntimeError):  # backends may have none
        return {}
    if isinstance(analysis, (list, tuple)):
        analysis = analysis[0] if analysis else None
    return {name: float(value) for name, value in (analysis or {}).items() if value >= 0}


def _peak_memory(compiled: Any) -> float:
    try:
        memory = compiled.memory_analysis()
    except (NotImplementedError, jax.errors.JaxRuntimeError):
        memory = None
    if memory is None:
        return math.nan
    parts = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return float(parts - memory.alias_size_in_bytes)
