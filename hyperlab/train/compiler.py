"""Compiler options that were measured to pay, and what a compilation costs."""

import contextlib
import dataclasses
import functools
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from hyperlab.train import capture

# XLA gives convolutions, products and sums on a CPU to YNNPACK where its type of fusion is in this list.
YNNPACK = "xla_cpu_experimental_ynn_fusion_type"
# What jax.monitoring calls the two parts of a compilation: to XLA's input, and from it to a program.
LOWERED, COMPILED = "/jax/core/compile/jaxpr_to_mlir_module_duration", "/jax/core/compile/backend_compile_duration"


def options() -> dict[str, str] | None:
    """What to give to `jax.jit(..., compiler_options=options())` on the default platform; None for the defaults.

    On a CPU it is to do without YNNPACK: a training step of a U-Net takes 1.6 times as long with it as with XLA's
    own convolutions (`benchmarks/step_time.py`). Whoever names the option in `XLA_FLAGS` decides, and an XLA that
    does not have it keeps its defaults.

    Only the outermost `jax.jit` may have options.

    >>> jax.jit(lambda x: x + 1, compiler_options=options())(1)
    Array(2, dtype=int32, weak_type=True)
    """
    if platform() != "cpu" or YNNPACK in os.environ.get("XLA_FLAGS", ""):
        return None
    return {YNNPACK: ""} if _known(YNNPACK) else None


def options_once(gradients: bool = False) -> dict[str, int] | None:
    """The same for a program that runs once or twice, such as that of initial parameters: on a CPU it is not optimised.

    Optimising random number generators takes longer than executing them.

    Args:
      gradients: whether it computes any. Unoptimised, some gradients through convolutions come out as NaN (jaxlib
        0.10.2), so such a program is optimised a little.

    >>> jax.jit(lambda key: jax.random.normal(key), compiler_options=options_once())(jax.random.key(0)).shape
    ()
    """
    return {"xla_backend_optimization_level": int(gradients)} if platform() == "cpu" else None


def platform() -> str:
    """What programs are compiled for: the default backend, or the machine that somebody plans for.

    >>> platform() == jax.default_backend()
    True
    """
    planned = capture.current()
    return jax.default_backend() if planned is None else planned.platform


class Program:
    """A compiled function of a study: `jax.jit`, but where somebody plans it is noted in place of being called.

    Args:
      function: pure.
      name: of the program in a plan; by default that of the function.
      **options: of `jax.jit`.

    >>> float(Program(lambda x: x + 1)(1.0))
    2.0
    """

    def __init__(self, function: Callable, name: str = "", **options: Any):
        self.jitted = jax.jit(function, **options)
        self.name = name or getattr(function, "__name__", "")
        self.__wrapped__ = function

    def __call__(self, *given: Any) -> Any:
        noting = capture.current()
        if noting is None:
            return self.jitted(*given)
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(given)):
            return self.__wrapped__(*given)  # a part of another program, which has the options
        return noting.call(self.name, self.jitted, given)

    def __getattr__(self, name: str) -> Any:
        """`lower`, and whatever else the function has that `jax.jit` gives."""
        if name == "jitted":  # of a copy that is being made
            raise AttributeError(name)
        return getattr(self.jitted, name)


@functools.cache
def _known(name: str) -> bool:
    try:
        jax.jit(lambda: 0, compiler_options={name: ""}).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def uncompiled(program: Any) -> Callable:
    """The function that a `Program`, or what `jax.jit` gave, was made of: to be part of another program.

    >>> uncompiled(jax.jit(len))([1, 2])
    2
    """
    return program.__wrapped__


def timed_compile(function: Any, *example: Any) -> tuple[Any, float]:
    """The program of a jitted function for some arguments, and the seconds that it takes to trace and compile it.

    Where the program comes from the persistent cache, the seconds are those of the compilation that was saved, which
    the cache remembers: a cost must not depend on whether somebody ran the same study before.

    Args:
      function: a `Program`, or from `jax.jit`.
      *example: arguments, or their shapes.

    >>> program, seconds = timed_compile(jax.jit(lambda x: 2 * x), 1.0)
    >>> float(program(3.0)), seconds > 0
    (6.0, True)
    """
    if capture.current() is not None:
        return function, 0.0
    begun = time.perf_counter()
    saved: list[float] = []
    thread = threading.get_ident()

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event.endswith("compile_time_saved_sec") and threading.get_ident() == thread:
            saved.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        program = function.lower(*example).compile()
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return program, time.perf_counter() - begun + sum(saved)


@dataclasses.dataclass
class Compilations:
    """What was compiled so far, by all threads.

    Attributes:
      programs: how many, those that came from the persistent cache included.
      seconds: that lowering and compiling them took; tracing is not in it.
    """

    programs: int = 0
    seconds: float = 0.0


@contextlib.contextmanager
def compilations() -> Iterator[Compilations]:
    """Counts the programs that are compiled inside the block.

    >>> with compilations() as compiled:
    ...     _ = jax.jit(lambda x: 3 * x)(1.0)
    >>> compiled.programs >= 1 and compiled.seconds > 0
    True
    """
    compiled, lock = Compilations(), threading.Lock()

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event in (LOWERED, COMPILED):
            with lock:
                compiled.programs += event == COMPILED
                compiled.seconds += duration_secs

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
