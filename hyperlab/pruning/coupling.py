"""A function's operations, gone through once: which places of its parameters' axes meet.

Numbers meet where an operation between equal shapes takes them together, or a product sums over both. What an operation
is not known to keep apart is joined to `STAYS`.
"""

from typing import Any

import numpy as np
from jax.extend import core
from jaxtyping import Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hyperlab.metrics.operations import CALLS, subprograms
from hyperlab.pruning.places import FREE, MOVES, Value, spread_of, staying

# fmt: off
_ELEMENTWISE = {
    "abs", "add", "add_any", "and", "atan2", "cbrt", "ceil", "clamp", "convert_element_type", "copy", "copy_p", "cos",
    "cosh", "div", "eq", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt", "integer_pow",
    "is_finite", "le", "log", "log1p", "logistic", "lt", "max", "min", "mul", "ne", "neg", "nextafter", "not", "or",
    "pow", "real", "reduce_precision", "rem", "round", "rsqrt", "select_n", "sign", "sin", "sinh", "sqrt", "square",
    "stop_gradient", "sub", "tan", "tanh", "xor",
}
# fmt: on
_REDUCTIONS = ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or", "argmax", "argmin")
_WINDOWS = ("reduce_window_max", "reduce_window_min", "reduce_window_sum")


class Walk:
    """Goes through a function's operations, and notes which places meet."""

    def __init__(self) -> None:
        self.pairs: list[np.ndarray] = []  # [2, n] each

    def join(self, first: Int[np.ndarray, "*places"], second: Int[np.ndarray, "*places"]) -> np.ndarray:
        """Joins places one by one; what is free takes part in nothing."""
        both = (first != FREE) & (second != FREE)
        self.pairs.append(np.stack([first[both], second[both]]))
        return np.where(first == FREE, second, first)

    def stay(self, numbers: np.ndarray) -> None:
        self.join(numbers, np.zeros_like(numbers))

    def keep(self, value: Value) -> None:
        for numbers in value.axes:
            self.stay(numbers)

    def joined(self, count: int) -> np.ndarray:
        """The component of every number."""
        first, second = np.concatenate([np.zeros((2, 0), int), *self.pairs], axis=1)
        edges = coo_array((np.ones(len(first), bool), (first, second)), shape=(count, count))
        return connected_components(edges, directed=False)[1]

    def run(self, jaxpr: core.Jaxpr, given: list[Value]) -> list[Value]:
        known = dict(zip(jaxpr.invars, given, strict=True))

        def of(variable: Any) -> Value:
            # A constant inside the program has the places that it was written with.
            return known[variable] if not _literal(variable) and variable in known else staying(variable.aval.shape)

        for equation in jaxpr.eqns:
            operands = [of(variable) for variable in equation.invars]
            known.update(zip(equation.outvars, self.step(equation, operands), strict=True))
        return [of(variable) for variable in jaxpr.outvars]

    def step(self, equation: Any, operands: list[Value]) -> list[Value]:
        """What is known of an operation's outputs."""
        name = equation.primitive.name
        data = any(operand.data for operand in operands)
        axes = None
        if name in CALLS:
            (inner,) = subprograms(equation)
            return self.run(inner, operands)
        if name == "cond":
            branches = [self.run(inner, operands[1:]) for inner in subprograms(equation)]
            return [self.elementwise(outs, outs[0].data or data) for outs in zip(*branches, strict=True)]
        if name in _ELEMENTWISE:
            return [self.elementwise(operands, data, equation.outvars[0].aval.shape)]
        if name == "conv_general_dilated":
            axes = self.convolution(equation, *operands)
        elif name == "dot_general":
            axes = self.product(equation, *operands)
        elif name in _REDUCTIONS:
            reduced = equation.params["axes"]
            for axis in reduced:
                self.stay(operands[0].axes[axis])
            axes = [numbers for axis, numbers in enumerate(operands[0].axes) if axis not in reduced]
        elif name in MOVES:
            axes = MOVES[name](self, equation, operands)
        elif name in _WINDOWS:
            axes = self.windows(equation, operands[0])
        if axes is not None:
            return [Value(tuple(axes), data)]
        for operand in operands:
            self.keep(operand)
        return [staying(variable.aval.shape, data) for variable in equation.outvars]

    def elementwise(self, operands: list[Value], data: bool, shape: tuple[int, ...] | None = None) -> Value:
        shape = tuple(len(numbers) for numbers in operands[0].axes) if shape is None else shape
        axes = []
        for axis, size in enumerate(shape):
            numbers = np.full(size, FREE)
            for operand in operands:
                if operand.axes:  # scalars have none
                    numbers = self.join(numbers, spread_of(operand.axes[axis], size))
            axes.append(numbers)
        return Value(tuple(axes), data)

    def contract(self, first: np.ndarray, second: np.ndarray, both_data: bool) -> None:
        """Sums over products: what one operand lacks, the other need not have."""
        if both_data:  # products of activations are often scaled by how many were summed
            self.stay(first)
            self.stay(second)
        self.stay(first[second == FREE])
        self.stay(second[first == FREE])
        self.join(first, second)

    def convolution(self, equation: Any, images: Value, kernel: Value) -> list[np.ndarray] | None:
        parameters = equation.params
        if parameters["feature_group_count"] > 1 or parameters["batch_group_count"] > 1:
            return None
        numbers = parameters["dimension_numbers"]
        shape = equation.outvars[0].aval.shape
        axes = [np.zeros(size, int) for size in shape]
        for value, spec in ((images, numbers.lhs_spec), (kernel, numbers.rhs_spec)):
            for axis in spec[2:]:
                self.stay(value.axes[axis])
        self.contract(images.axes[numbers.lhs_spec[1]], kernel.axes[numbers.rhs_spec[1]], images.data and kernel.data)
        axes[numbers.out_spec[0]] = images.axes[numbers.lhs_spec[0]]
        axes[numbers.out_spec[1]] = kernel.axes[numbers.rhs_spec[0]]
        return axes

    def product(self, equation: Any, first: Value, second: Value) -> list[np.ndarray]:
        (contracted, batched) = equation.params["dimension_numbers"]
        for a, b in zip(*contracted, strict=True):
            self.contract(first.axes[a], second.axes[b], first.data and second.data)
        axes = [self.join(first.axes[a], second.axes[b]) for a, b in zip(*batched, strict=True)]
        for value, summed, shared in zip((first, second), contracted, batched, strict=True):
            axes += [numbers for axis, numbers in enumerate(value.axes) if axis not in (*summed, *shared)]
        return axes

    def windows(self, equation: Any, value: Value) -> list[np.ndarray]:
        """Pooling: axes with a window of one place are as before."""
        axes = []
        for numbers, window, after in zip(
            value.axes, equation.params["window_dimensions"], equation.outvars[0].aval.shape, strict=True
        ):
            if window == 1 and after == len(numbers):
                axes.append(numbers)
            else:
                self.stay(numbers)
                axes.append(np.zeros(after, int))
        return axes


def _literal(variable: Any) -> bool:
    return isinstance(variable, core.Literal)
