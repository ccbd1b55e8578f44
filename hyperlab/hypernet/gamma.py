"""The conditioning input: its names, sizes and range, and the checks that refuse a wrong one."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree, Real

from hyperlab import prng
from hyperlab.errors import GammaError, nearest

Range = tuple[float, float] | None


@dataclasses.dataclass(frozen=True)
class GammaSpec:
    """Names, sizes and ranges of the conditioning inputs.

    Attributes:
      dims: size of each input; the single key "" stands for one unnamed input.
      ranges: the range each input must lie in, or None.
      allow_extrapolation: accept values outside their range (for evaluation; training should not).
      debug: check values under `jit` too, by a callback that costs a round trip to the host.
    """

    dims: tuple[tuple[str, int], ...]
    ranges: tuple[tuple[str, Range], ...]
    allow_extrapolation: bool = False
    debug: bool = False

    @classmethod
    def of(cls, gamma_dim: int | Mapping[str, int], ranges: Mapping[str, Range], **options: Any) -> "GammaSpec":
        """The spec of `gamma_dim`, an int or `{name: int}`.

        Raises:
          GammaError: no input, a size below 1, names that are no text, a range of an input that is not there, or one
            that is not `(low, high)` with `low < high`.
        """
        named = isinstance(gamma_dim, Mapping)
        dims = by_name(gamma_dim)
        if not dims:
            raise GammaError("gamma_dim is empty; expected {name: size} with at least one conditioning input")
        for name, dim in dims.items():
            if named and not (isinstance(name, str) and name):
                raise GammaError(f"gamma_dim names an input {name!r}; expected text, for instance 'age'")
            if not isinstance(dim, int) or isinstance(dim, bool) or dim < 1:
                raise GammaError(f"gamma_dim{name and f'[{name!r}]'} is {dim!r}; expected an int of at least 1")
        for name in ranges:
            if name not in dims:
                raise GammaError(f"gamma_range names the unknown input {name!r}; {nearest(str(name), dims)}")
        checked = tuple((name, _checked_range(name, ranges.get(name))) for name in sorted(dims))
        return cls(tuple(sorted(dims.items())), checked, **options)

    @property
    def size(self) -> int:
        """How many numbers condition the network."""
        return sum(dim for _, dim in self.dims)

    def example(self, fraction: float = 0.5) -> PyTree[Float[Array, "..."]]:
        """A gamma at that fraction of each range (0.5 where there is none)."""
        values = {}
        for (name, dim), (_, bounds) in zip(self.dims, self.ranges, strict=True):
            low, high = bounds or (0.0, 1.0)
            values[name] = jnp.full((dim,), low + fraction * (high - low), jnp.float32)
        return values[""] if "" in values else values

    def sample(self, key: Key[Array, ""], leading: tuple[int, ...] = ()) -> PyTree[Float[Array, "..."]]:
        """Uniform draws within the ranges (within [0, 1] where there is none)."""
        values = {}
        for (name, dim), (_, bounds) in zip(self.dims, self.ranges, strict=True):
            low, high = bounds or (0.0, 1.0)
            key, draw = prng.split(key)
            values[name] = prng.uniform(draw, (*leading, dim), jnp.float32, low, high)
        return values[""] if "" in values else values

    def grid(self, points: int, bounds: tuple[float, float] | None = None) -> PyTree[Float[Array, "{points} d"]]:
        """`points` gammas along the diagonal of the range, `[points, d]` each."""
        fractions = np.linspace(0, 1, points, dtype=np.float32)[:, None]
        values = {}
        for (name, dim), (_, own) in zip(self.dims, self.ranges, strict=True):
            low, high = bounds or own or (0.0, 1.0)
            values[name] = jnp.asarray(low + fractions * (high - low)) * jnp.ones((1, dim), jnp.float32)
        return values[""] if "" in values else values

    def check(self, gamma: PyTree, leading: tuple[str, ...] = ()) -> PyTree[Real[Array, "..."]]:
        """Refuses a gamma of the wrong names, size or range, and returns it as arrays.

        Args:
          gamma: `[d]`, or `{name: [d]}`; with one more leading axis for each name in `leading`.
          leading: names of the leading axes, for the message.

        Raises:
          GammaError: what was given, what was expected. Values are looked at only outside `jit`, unless
            `debug` is set.
        """
        named = dict(self.dims)
        if "" in named:
            if isinstance(gamma, Mapping):
                raise GammaError(f"gamma is a mapping {sorted(gamma)}; expected one array of size {named['']}")
            given = {"": gamma}
        else:
            if not isinstance(gamma, Mapping):
                raise GammaError(f"gamma has no names; expected a mapping with {sorted(named)}")
            for name in gamma:
                if name not in named:
                    raise GammaError(f"unknown conditioning input {name!r}; {nearest(name, named)}")
            missing = sorted(set(named) - set(gamma))
            if missing:
                raise GammaError(f"gamma lacks {missing}; expected {sorted(named)}")
            given = dict(gamma)
        checked = {name: self._check_one(name, given[name], leading) for name in named}
        return checked[""] if "" in checked else checked

    def _check_one(self, name: str, value: Any, leading: tuple[str, ...]) -> jax.Array:
        label = f"gamma[{name!r}]" if name else "gamma"
        dim = dict(self.dims)[name]
        try:
            array = jnp.asarray(value)
        except (TypeError, ValueError):
            raise GammaError(f"{label} is {value!r}; expected {dim} numbers") from None
        if jnp.issubdtype(array.dtype, jnp.complexfloating):
            raise GammaError(f"{label} holds {array.dtype} values; expected real numbers")
        if array.ndim != 1 + len(leading) or array.shape[-1] != dim:
            expected = "[" + ", ".join([*leading, str(dim)]) + "]"
            hint = ""
            if not leading and array.ndim == 2:
                hint = "; for one theta per sample use apply_per_sample, for several draws jax.vmap over apply"
            raise GammaError(f"{label} has shape {list(array.shape)}; expected {expected}{hint}")
        bounds = dict(self.ranges)[name]
        if bounds is None or self.allow_extrapolation:
            return array
        if not isinstance(array, jax.core.Tracer):
            _check_values(label, bounds, np.asarray(array))
        elif self.debug:
            jax.debug.callback(lambda values: _check_values(label, bounds, np.asarray(values)), array)
        return array


def _checked_range(name: str, bounds: Any) -> Range:
    if bounds is None:
        return None
    try:
        low, high = (float(end) for end in bounds)
    except (TypeError, ValueError):
        low, high = np.nan, np.nan
    if not -np.inf < low < high < np.inf:
        label = f"gamma_range[{name!r}]" if name else "gamma_range"
        raise GammaError(f"{label} is {bounds!r}; expected (low, high) with low < high, or None for no check")
    return low, high


def _check_values(label: str, bounds: tuple[float, float], values: np.ndarray) -> None:
    low, high = bounds
    slack = 1e-6 * max(1.0, abs(low), abs(high))
    # Written so that NaN fails too.
    if not np.all((values >= low - slack) & (values <= high + slack)):
        raise GammaError(
            f"{label} is {np.min(values):.6g} to {np.max(values):.6g}, outside its range [{low:g}, {high:g}]; "
            "rescale it, or build the model with allow_extrapolation=True to evaluate outside"
        )


def by_name(gamma_dim: int | Mapping[str, int]) -> dict[str, int]:
    """Sizes by the names of the inputs; a single input has the empty name."""
    return dict(gamma_dim) if isinstance(gamma_dim, Mapping) else {"": gamma_dim}
