r"""Adam at half of its memory, for heads whose moments do not fit.

At one gamma the gradient of a dense head is an outer product, $g_{ij} = h_i d_j$, and so is its square: rows and
columns say all of it. The second moment is kept as means over rows and over columns,

    $r_i = \mathrm{mean}_j\, v_{ij}, \quad c_j = \mathrm{mean}_i\, v_{ij}, \quad
    \hat v_{ij} = r_i c_j / \mathrm{mean}(r)$,

which is exact where the directions of h and d do not change from step to step, and keeps means over rows and columns
in any case. The first moment is stored in bfloat16 and computed in float32. Beside parameters of 4 bytes a number
there are 2, in place of 8.

Source of the factored moment: Shazeer and Stern (2018), "Adafactor", arXiv 1804.04235. What is taken over is the
factoring alone; decay rates, bias correction and scale are those of Adam.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

_PARTS = 16
LEAST = 1 << 20  # numbers of a leaf that is worth it; smaller ones are updated by Adam as it is


class Factors(NamedTuple):
    """A second moment.

    Attributes:
      rows: float32 `[*leading, in]`, means over the last axis.
      columns: float32 `[*leading, out]`, means over the last but one.
    """

    rows: Array
    columns: Array


class LeanAdamState(NamedTuple):
    """Of `scale_by_lean_adam`.

    Attributes:
      done: updates so far, int32.
      mu: first moments; bfloat16 of large leaves.
      nu: second moments; `Factors` of large leaves.
    """

    done: Array
    mu: PyTree
    nu: PyTree


def scale_by_lean_adam(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, *, least: int = LEAST
) -> optax.GradientTransformation:
    """Adam's direction, with a factored second moment and a first one in bfloat16 for large leaves.

    Args:
      b1: decay of the first moment.
      b2: of the second.
      eps: added to the root of the second.
      least: numbers of a leaf of two axes or more from which on it counts as large.

    >>> optimizer = scale_by_lean_adam(least=4)
    >>> params = {"head": jnp.ones((2, 3)), "bias": jnp.ones(3)}
    >>> updates, state = optimizer.update(params, optimizer.init(params))
    >>> state.nu["head"].rows.shape, state.mu["head"].dtype, bool(jnp.allclose(updates["head"], 1, rtol=0.01))
    ((2,), dtype(bfloat16), True)
    """

    def large(leaf: Array) -> bool:
        return leaf.ndim > 1 and leaf.size >= least

    def init(params: PyTree) -> LeanAdamState:
        mu = jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.bfloat16 if large(p) else p.dtype), params)
        nu = jax.tree.map(lambda p: _no_factors(p) if large(p) else jnp.zeros_like(p), params)
        return LeanAdamState(jnp.zeros((), jnp.int32), mu, nu)

    def update(updates: PyTree, state: LeanAdamState, params: PyTree = None) -> tuple[PyTree, LeanAdamState]:
        del params
        done = optax.safe_increment(state.done)
        mu = jax.tree.map(lambda g, m: (b1 * m + (1 - b1) * g).astype(m.dtype), updates, state.mu)
        nu = jax.tree.map(lambda g, v: _decayed(g, v, b2), updates, state.nu)
        first, second = 1 - b1**done, 1 - b2**done

        def direction(g: Array, m: Array, v: Array | Factors) -> Array:
            moment = _whole(v) if isinstance(v, Factors) else v
            return ((m.astype(g.dtype) / first) / (jnp.sqrt(moment / second) + eps)).astype(g.dtype)

        return jax.tree.map(direction, updates, mu, nu), LeanAdamState(done, mu, nu)

    return optax.GradientTransformation(init, update)


def _no_factors(leaf: Array) -> Factors:
    *leading, rows, columns = leaf.shape
    return Factors(jnp.zeros((*leading, rows)), jnp.zeros((*leading, columns)))


def _decayed(gradient: Array, moment: Array | Factors, decay: float) -> Array | Factors:
    if not isinstance(moment, Factors):
        return decay * moment + (1 - decay) * jnp.square(gradient)
    # XLA writes out what it adds up: so some columns at a time, each part after the one before it
    width = gradient.shape[-1]
    ends = [width * k // _PARTS for k in range(_PARTS + 1)]
    rows, columns, after = jnp.zeros_like(moment.rows), [], jnp.zeros(())
    for start, stop in itertools.pairwise(ends):
        square = jnp.square(gradient[..., start:stop] + after)
        rows = rows + square.sum(-1) / width
        after = 0 * rows.reshape(-1)[0]
        columns.append(square.sum(-2) / gradient.shape[-2])
    means = Factors(rows, jnp.concatenate(columns, -1))
    return jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, moment, means)


def _whole(moment: Factors) -> Float[Array, "..."]:
    mean = moment.rows.mean(-1, keepdims=True)
    scaled = moment.rows / jnp.where(mean > 0, mean, 1)
    return scaled[..., :, None] * moment.columns[..., None, :]
