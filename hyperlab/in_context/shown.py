"""An in-context network with the examples that it is shown, as any network of a run: scans to labels."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyperlab.data.preprocessing import Placement
from hyperlab.data.readers.scan import Scan
from hyperlab.errors import ConfigError, DataError
from hyperlab.in_context.examples import load_support, pixels
from hyperlab.in_context.planes import labelled_slices
from hyperlab.in_context.segment import segment
from hyperlab.inference.network import Card, Network

MOST_EXAMPLES = 64  # a pass


@dataclasses.dataclass(frozen=True)
class Examples:
    """What a network is shown, and with it the way of a scan: grey values in 0..1 as those of the examples.

    Attributes:
      folder: where they are.
      images: `[*spatial]` each, in 0..1.
      labels: the same, their masks.
      values: the label values, with 0 for the background first.
      size: that the network works at.
    """

    folder: str
    images: Sequence[np.ndarray]
    labels: Sequence[np.ndarray]
    values: tuple[int, ...]
    size: tuple[int, ...]

    channels = None  # colours are averaged, as in training

    @classmethod
    def read(cls, folder: str | Path, size: Sequence[int]) -> "Examples":
        """Those of a folder of images with masks.

        Raises:
          DataError: it holds none, or damaged ones.
        """
        images, labels, values, *_ = load_support(Path(folder).expanduser(), "auto", False)
        return cls(str(folder), images, labels, (0, *values), tuple(size))

    @property
    def classes(self) -> tuple[str, ...]:
        """Their values as names."""
        return ("background", *(f"value {value}" for value in self.values[1:]))

    @property
    def slice_axis(self) -> int | None:
        """Across which volumes are segmented: the last."""
        return 2 if self.images[0].ndim == 3 else None

    def forward(self, scan: Scan, name: str = "the scan") -> tuple[np.ndarray, Placement]:
        """One image or volume, `[1, *spatial]`.

        Raises:
          DataError: another number of dimensions than the examples have.
        """
        image, shape = pixels(scan, name, "auto"), scan.values.shape[:-1]
        if image.ndim != self.images[0].ndim:
            raise DataError(
                f"{name} has {image.ndim} dimensions, the examples in {self.folder} have {self.images[0].ndim}"
            )
        return image[None], Placement(tuple(shape), None, image.shape)

    def backward(self, probabilities: Any, placement: Placement) -> np.ndarray:
        """Labels int32 `[*shape]` of `[1, *spatial, class]`."""
        (answer,) = probabilities
        return np.array(self.values, np.int32)[np.asarray(answer).argmax(-1)].reshape(placement.shape)

    def indices(self, mask: np.ndarray, name: str = "the mask") -> np.ndarray:
        """The class of every pixel of a mask.

        Raises:
          DataError: a value that no example has.
        """
        strange = sorted(set(np.unique(mask).tolist()) - set(self.values))
        if strange:
            raise DataError(f"{name} holds the label {strange[0]}; the examples hold {self.values}")
        return np.searchsorted(self.values, mask).astype(np.int32)

    def record(self) -> dict[str, Any]:
        """What there is to tell."""
        return {"support": self.folder, "examples": len(self.images), "values": list(self.values),
                "size": list(self.size)}  # fmt: skip


class ShownNetwork(Network):
    """A network that answers from examples; see `hyperlab.in_context.segment`.

    A class's probability is that of its own pass, and the background's what is left of the largest, so that the most
    probable class is the one above 1/2: they do not sum up to 1.

    Args:
      module: `(target, support_images, support_labels) -> logits`.
      params: of it.
      examples: that it is shown: all of them, or 64 at random.
      card: what is told of it.
    """

    def __init__(self, module: Any, params: Any, examples: Examples, card: Card):
        super().__init__(lambda given, images: images, params, examples, card)
        self._module, self._examples = module, examples
        pool = len(examples.images)
        if examples.slice_axis is not None:
            pool = len(labelled_slices(examples.images, examples.labels, examples.values[1:], examples.slice_axis)[0])
        if not pool:
            raise ConfigError(f"{examples.folder} shows no class")
        self._count = min(MOST_EXAMPLES, pool)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities `[n, *spatial, class]` of grey images or volumes `[n, *spatial]` in 0..1, of any size."""
        shown = self._examples
        found = segment(
            list(images),
            shown.images,
            shown.labels,
            self.variables,
            module=self._module,
            classes=shown.values[1:],
            size=shown.size,
            slice_axis=shown.slice_axis,
            support_size=self._count,
        )
        foreground = np.stack([np.asarray(one) for one in found.probabilities])
        return np.concatenate([1 - foreground.max(-1, keepdims=True), foreground], -1)

    def _scan(self, given: Any) -> Scan:
        grey_ones = isinstance(given, np.ndarray) and given.ndim == self._examples.images[0].ndim
        return super()._scan(given[..., None] if grey_ones else given)

    def answers(self, scan: Any, name: str = "the scan") -> Iterator[tuple[Any, int, int, np.ndarray]]:
        """All probabilities at once; see `Network.answers`."""
        images, placement = self._examples.forward(self._scan(scan), name)
        yield placement, 0, 0, self(images)[0]

    def predict(self, scan: Any, name: str | None = None) -> np.ndarray:
        """The labels of a scan on its own grid, in the values of the examples; see `Network.predict`."""
        name = name or (str(scan) if isinstance(scan, str | Path) else "the scan")
        images, placement = self._examples.forward(self._scan(scan), name)
        return self._examples.backward(self(images), placement)
