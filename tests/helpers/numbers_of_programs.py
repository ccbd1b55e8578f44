"""In which numbers a program computes, read from its jaxpr."""

import collections

import jax

PRODUCTS = ("conv_general_dilated", "dot_general")
SUMS = ("reduce_sum", "reduce_window_sum")


def equations(jaxpr):
    """All equations of a jaxpr, those of the jaxprs inside it as well."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_jaxpr):
            if _is_jaxpr(inner):
                yield from equations(getattr(inner, "jaxpr", inner))


def products(function, *given):
    """How many convolutions and products of matrices a function has, by name and the dtypes of their operands.

    >>> products(lambda a: a @ a, jax.numpy.ones((2, 2)))
    {('dot_general', 'float32'): 1}
    """
    return dict(
        collections.Counter(
            (one.primitive.name, *sorted({operand.aval.dtype.name for operand in one.invars}))
            for one in equations(jax.make_jaxpr(function)(*given).jaxpr)
            if one.primitive.name in PRODUCTS
        )
    )


def half_sums(function, *given):
    """How many numbers each sum of a function in half a precision is of, the largest first.

    >>> half_sums(lambda a: jax.lax.reduce_sum_p.bind(a, axes=(0,), out_sharding=None), jax.numpy.ones(9, "bfloat16"))
    [9]
    """
    sums = []
    for one in equations(jax.make_jaxpr(function)(*given).jaxpr):
        if one.primitive.name in SUMS and one.invars[0].aval.dtype.itemsize == 2:
            sums.append(one.invars[0].aval.size // max(1, one.outvars[0].aval.size))
    return sorted(sums, reverse=True)


def _is_jaxpr(value):
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")
