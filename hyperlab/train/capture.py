"""What a study would compile, noted in place of being compiled: for a plan on machines that are not there.

Inside `capturing`, a study is set up as for a run. Whatever would be put on a device is promised (its shape, type and
place), and a compiled program that is called is noted with what it is given, and promises what it would return. Nothing
is computed; where the host asks for a value, `NotComputed` ends what was going on. Outside, nothing here is used.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding
from jaxtyping import PyTree

SETUP, TRAINING, EVALUATION, PREDICTION = "setup", "training", "evaluation", "prediction"


class NotComputed(Exception):  # an end, no error
    """The value of an array was asked for that nobody computed."""


class Promised(jax.ShapeDtypeStruct):
    """An array that would be on a device: shape, type and place, and values only where the host has put them there.

    >>> len(Promised((3, 2), np.float32))
    3
    """

    value: Any

    def __init__(self, shape: tuple[int, ...], dtype: Any, *, sharding: Any = None, value: Any = None):
        super().__init__(shape, dtype, sharding=sharding)
        object.__setattr__(self, "value", value)

    def __array__(self, *given: Any, **options: Any) -> np.ndarray:
        return np.asarray(self._value() if self.value is None else self.value, *given)

    def __getitem__(self, index: Any) -> Any:
        return np.asarray(self)[index]

    def __len__(self) -> int:
        return self.shape[0]

    def _value(self, *_: Any, **__: Any) -> Any:
        raise NotComputed

    __jax_array__ = __iter__ = __float__ = __int__ = __bool__ = __index__ = _value
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __neg__ = _value
    __lt__ = __le__ = __gt__ = __ge__ = astype = reshape = mean = sum = any = all = item = tolist = _value


@dataclasses.dataclass
class Noted:
    """A program that would be compiled.

    Attributes:
      name: of its function.
      kind: `TRAINING`, `EVALUATION` or `PREDICTION`: what was going on when it was called.
      cell: of the study, by its key.
      jitted: from `jax.jit`.
      given: shapes, types and places of its arguments.
      calls: how often it was called, in as many steps as were looked at.
    """

    name: str
    kind: str
    cell: str
    jitted: Any
    given: tuple[Any, ...]
    calls: int = 0


class Capture:
    """Notes the programs of a study for the devices of some machine.

    Args:
      platform: that programs are compiled for: `cpu`, `tpu`, `cuda`.
      devices: of the machine, which may be descriptions alone.
      memory: of one of them, in bytes.
      only: keys of cells that are looked at; none: all are.

    Attributes:
      known: keys of the study's cells.
      mesh: sizes by axis of the devices of a training; empty: one device.
      programs: noted so far, in the order of their first calls.
      steps: training steps that were looked at, by cell.
      planned: training steps of the whole study.
      planned_of: of its cells, by key.
    """

    def __init__(self, platform: str, devices: Sequence[Any], memory: int, only: Sequence[str] = ()):
        self.platform, self.devices, self.memory, self.only = platform, list(devices), memory, only
        self.known: list[str] = []
        self.mesh: dict[str, int] = {}
        self.programs: list[Noted] = []
        self.steps: dict[str, int] = {}
        self.planned, self.planned_of = 0, dict[str, int]()
        self.cell, self._kind, self._known = "", SETUP, dict[Any, Noted]()
        self._whole: Sharding = SingleDeviceSharding(self.devices[0])

    @contextlib.contextmanager
    def of(self, cell: str, mesh: Any) -> Iterator[None]:
        """Inside the block programs are those of a cell, until a value is asked for."""
        self.cell, self._kind, self.mesh = cell, SETUP, dict(mesh.shape) if mesh else {}
        self._whole = NamedSharding(mesh, PartitionSpec()) if mesh else SingleDeviceSharding(self.devices[0])
        with until_asked(self):
            yield

    @property
    def setting_up(self) -> bool:
        """Whether no training of the cell has begun."""
        return self._kind == SETUP

    def fit(
        self,
        state: PyTree,
        step: Callable,
        given: Callable[[int], Any],
        key: jax.Array,
        *,
        indices: range,
        evaluate: Callable | None,
    ) -> PyTree:
        """What `train.loop.fit` would call: some first steps, and an evaluation; the state after them is promised."""
        self._kind = TRAINING
        for index in indices:
            state, _ = step(state, given(index), key)
            self.steps[self.cell] = index + indices.step
        if evaluate is not None:
            self._kind = EVALUATION
            with until_asked():
                evaluate(state, 0, None)
        self._kind = PREDICTION
        return state

    def call(self, name: str, jitted: Any, given: tuple[Any, ...]) -> PyTree:
        """Notes the call of a program, and promises what it would return."""
        shapes = jax.tree.map(self._abstract, given)
        leaves, structure = jax.tree.flatten(shapes)
        seen = (jitted, self.cell, structure, *((leaf.shape, leaf.dtype, leaf.sharding) for leaf in leaves))
        if self._kind != SETUP:
            if seen not in self._known:
                self._known[seen] = Noted(name, self._kind, self.cell, jitted, shapes)
                self.programs.append(self._known[seen])
            self._known[seen].calls += self._kind == self._known[seen].kind
        return promised(jax.eval_shape(jitted, *shapes))

    def _abstract(self, leaf: Any) -> jax.ShapeDtypeStruct:
        where = leaf.sharding if isinstance(leaf, Promised) and leaf.sharding is not None else self._whole
        dtype = leaf.dtype if hasattr(leaf, "dtype") else jax.dtypes.canonicalize_dtype(np.result_type(leaf))
        if not jax.dtypes.issubdtype(dtype, jax.dtypes.extended):
            dtype = jax.dtypes.canonicalize_dtype(dtype)
        weak = bool(getattr(leaf, "weak_type", isinstance(leaf, int | float)))
        return jax.ShapeDtypeStruct(np.shape(leaf), dtype, sharding=where, weak_type=weak)


@contextlib.contextmanager
def until_asked(capture: Capture | None = None) -> Iterator[None]:
    """What goes on in the block ends where it asks for a value that nobody computed.

    Args:
      capture: whose training must have begun by then.
    """
    try:
        yield
    except (NotComputed, TypeError) as error:
        # jax says by a type error what an argument is not that a function takes which is not compiled
        asked = isinstance(error, NotComputed) or Promised.__name__ in str(error)
        if not asked or (capture is not None and capture.setting_up):
            raise


_CAPTURE: contextvars.ContextVar[Capture | None] = contextvars.ContextVar("capture", default=None)


def current() -> Capture | None:
    """What notes programs, where somebody plans; None on the ordinary path.

    >>> current() is None
    True
    """
    return _CAPTURE.get()


@contextlib.contextmanager
def capturing(capture: Capture) -> Iterator[Capture]:
    """Inside the block programs are noted, in place of being compiled and run."""
    token = _CAPTURE.set(capture)
    try:
        yield capture
    finally:
        _CAPTURE.reset(token)


def promised(tree: PyTree, where: PyTree = None) -> PyTree:
    """Arrays or their shapes as promises, at a tree of places, or at those that they have."""

    def one(leaf: Any, place: Any = None) -> Promised:
        place = getattr(leaf, "sharding", None) if place is None else place
        place = SingleDeviceSharding(place) if isinstance(place, jax.Device) else place
        dtype = leaf.dtype if hasattr(leaf, "dtype") else jax.dtypes.canonicalize_dtype(np.result_type(leaf))
        value = leaf if isinstance(leaf, np.ndarray | np.generic) else None
        return Promised(np.shape(leaf), dtype, sharding=place, value=value)

    return jax.tree.map(one, tree) if where is None else jax.tree.map(one, tree, where)


def computed(function: Callable[..., PyTree], *given: PyTree) -> PyTree:
    """A pure function of arrays; where somebody plans, a promise of what it would return, of promises.

    >>> float(computed(lambda x: x + 1, 1.0))
    2.0
    """
    return function(*given) if current() is None else promised(jax.eval_shape(function, *given))


def put(tree: PyTree, where: Any) -> PyTree:
    """`jax.device_put`; where somebody plans, a promise.

    Args:
      tree: arrays.
      where: one place for all, or a tree of places.
    """
    if current() is None:
        return jax.device_put(tree, where)
    one = isinstance(where, jax.Device | Sharding | None)
    return promised(tree, jax.tree.map(lambda _: where, tree) if one else where)
