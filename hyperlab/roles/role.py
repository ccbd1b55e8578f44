"""What a leaf of a parameter tree is in its layer: its kind, and what each of its axes is for."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from hyperlab import trees
from hyperlab.errors import ConfigError, PatternError, nearest

Shape = tuple[int, ...]

KINDS = ("kernel", "bias", "scale", "embedding", "other")
AXES = ("copy", "window", "in", "out")


@dataclasses.dataclass(frozen=True)
class Role:
    """What a leaf is, and a word for each of its axes.

    Attributes:
      kind: `kernel`, `bias`, `scale` (the gain of a normalisation), `embedding` or `other`.
      axes: for each axis `copy` (over layers that are stacked), `window` (the receptive field of a convolution), `in`
        (summed over) or `out`.
      undecided: why the axes are not known; empty where they are.

    >>> Role("kernel", ("copy", "in", "out", "out")).outputs
    (2, 3)
    """

    kind: str
    axes: tuple[str, ...] = ()
    undecided: str = ""

    @property
    def stacked(self) -> tuple[int, ...]:
        """The axes over copies of one layer, as `nn.scan` and `nn.vmap` make them."""
        return self._named("copy")

    @property
    def window(self) -> tuple[int, ...]:
        """The axes of a convolution's receptive field."""
        return self._named("window")

    @property
    def inputs(self) -> tuple[int, ...]:
        """The axes of input features."""
        return self._named("in")

    @property
    def reduction(self) -> tuple[int, ...]:
        """The axes that an output sums over: the receptive field and the input features."""
        return self._named("window", "in")

    @property
    def outputs(self) -> tuple[int, ...]:
        """The axes of output features."""
        return self._named("out")

    @property
    def is_matrix(self) -> bool:
        """Whether it maps inputs to outputs: a kernel, or a table of embeddings."""
        return self.kind in ("kernel", "embedding")

    def copies(self, shape: Shape) -> int:
        """How many layers are stacked in a leaf of that shape.

        >>> Role("kernel", ("copy", "in", "out")).copies((3, 4, 5))
        3
        """
        return _product(shape, self.stacked)

    def fan_in(self, shape: Shape) -> int:
        """Inputs of one output unit of one layer, receptive field included; of a vector, its size.

        >>> Role("kernel", ("in", "out", "out")).fan_in((16, 4, 8)), Role("bias", ("copy", "out")).fan_in((3, 4))
        (16, 4)
        """
        return _product(shape, self.reduction if self.is_matrix else self.outputs)

    def fan_out(self, shape: Shape) -> int:
        """Outputs of one input unit of one layer, receptive field included; of a vector, its size.

        >>> Role("kernel", ("window", "in", "out")).fan_out((3, 4, 8))
        24
        """
        return _product(shape, (*self.window, *self.outputs) if self.is_matrix else self.outputs)

    def within(self, stacked: Shape) -> "Role":
        """The role of the same leaf with more axes of copies, at these places.

        >>> Role("kernel", ("in", "out")).within((1,)).axes
        ('in', 'copy', 'out')
        """
        if self.undecided:
            return self
        words, rest = [], iter(self.axes)
        for axis in range(len(self.axes) + len(stacked)):
            words.append("copy" if axis in stacked else next(rest))
        return dataclasses.replace(self, axes=tuple(words))

    def _named(self, *words: str) -> tuple[int, ...]:
        if self.undecided:
            raise ConfigError(self.undecided)
        return tuple(axis for axis, word in enumerate(self.axes) if word in words)

    def __str__(self) -> str:
        return " ".join([self.kind, *self.axes])


def of_text(text: str, path: str, shape: Shape) -> Role:
    """A role as one says it: `"in out out"`, `"copy in out"`, `"scale"`, `"bias copy out"`.

    Args:
      text: a kind, by default `kernel`, and a word for each axis; of a vector they may be left out.
      path: of the leaf.
      shape: of the leaf.

    Raises:
      ConfigError: an unknown word, or more or fewer words than axes.

    >>> of_text("in out out", "query/kernel", (16, 4, 4)).reduction
    (0,)
    """
    words = text.split()
    kind = words.pop(0) if words and words[0] in KINDS else "kernel"
    for word in words:
        if word not in AXES:
            raise ConfigError(
                f"role {text!r} of {path!r}: no axis is called {word!r}; {nearest(word, (*AXES, *KINDS))}"
            )
    if not words and kind not in ("kernel", "embedding"):
        words = ["out"] * len(shape)
    if len(words) != len(shape):
        raise ConfigError(
            f"role {text!r} of {path!r} says {len(words)} axes, its shape {tuple(shape)} has {len(shape)}; "
            f"expected a word of {AXES} for each"
        )
    return Role(kind, tuple(words))


def given(roles: Mapping[str, str | Role] | None, leaves: Mapping[str, Any]) -> dict[str, Role]:
    """The roles that were said, by path.

    Args:
      roles: by glob pattern on slash paths, words or a `Role`; where several match, the last one holds.
      leaves: by slash path, arrays or shapes.

    Raises:
      PatternError: a pattern matches no leaf.
      ConfigError: as for `of_text`.
    """
    found: dict[str, Role] = {}
    for pattern, role in (roles or {}).items():
        hits = [pattern] if pattern in leaves else [path for path in leaves if trees.matches(pattern, path)]
        if not hits:
            raise PatternError(f"roles pattern {pattern!r} matches none of the parameters; {nearest(pattern, leaves)}")
        for path in hits:
            found[path] = role if isinstance(role, Role) else of_text(role, path, leaves[path].shape)
    return found


def _product(shape: Shape, axes: Shape) -> int:
    return math.prod(shape[axis] for axis in axes)
