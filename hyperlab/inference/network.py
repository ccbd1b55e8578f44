"""A network of a finished run, ready to be used: images to probabilities, and a scan to labels on its own grid."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

from hyperlab import files
from hyperlab.data.prepared import windowed
from hyperlab.data.preprocessing import Placement
from hyperlab.data.preprocessing import Preprocessing as Recorded
from hyperlab.data.readers.scan import Scan, read_scan
from hyperlab.errors import DataError
from hyperlab.inference.tiles import tiled_rows
from hyperlab.train import compiler

PREPROCESSING = "preprocessing.json"  # of a run folder
_AGAIN = "run the study again in its folder, which writes it again"


class Preprocessing(Protocol):
    """What a network asks of what lies between it and files; `hyperlab.data.preprocessing.Preprocessing` is one."""

    @property
    def size(self) -> tuple[int, ...]:
        """Of the images that the network is given; larger ones are cut into overlapping windows of it."""

    @property
    def channels(self) -> int | None:
        """Of a scan; None: any."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, the background's first."""

    @property
    def values(self) -> tuple[int, ...]:
        """What stands for each class in a mask."""

    def forward(self, scan: Scan, name: str = "the scan") -> tuple[np.ndarray, Any]:
        """Images `[n, *spatial, channel]`, and where they belong."""

    def backward(self, probabilities: Any, placement: Any) -> np.ndarray:
        """Labels on the scan's grid, from an answer for each image."""

    def indices(self, mask: np.ndarray, name: str = "the mask") -> np.ndarray:
        """The class of every pixel of a mask's values."""

    def record(self) -> dict[str, Any]:
        """All numbers, as JSON."""


@dataclasses.dataclass(frozen=True)
class Card:
    """Which network it is, and what it was measured to be worth.

    Attributes:
      study: of its run.
      arm: of the study.
      seed: of its training.
      class_names: the background's first.
      test_dice: `estimate`, `low` and `high` (an interval over subjects; None where these are too few) and `subjects`;
        None where nothing was measured.
      preprocessing: see `Preprocessing.record`.
      rescaling_factor: that it runs at, of a network that has one.
      width: the same.
      digest: of its variables.
      over: what Dice and its interval are over.
    """

    study: str
    arm: str
    seed: int | None
    class_names: tuple[str, ...]
    test_dice: dict[str, Any] | None
    preprocessing: dict[str, Any]
    rescaling_factor: float | None = None
    width: float | None = None
    digest: str = ""
    over: str = "subjects"

    def __str__(self) -> str:
        at = f" at phi {self.rescaling_factor:g}" if self.rescaling_factor is not None else ""
        at += f", width {self.width:g}" if self.width not in (None, 1.0) else ""
        dice = self.test_dice
        worth = "Dice not measured" if dice is None else f"test Dice {dice['estimate']:.3f}"
        if dice is not None and dice["low"] is not None:
            worth += f" [{dice['low']:.3f}, {dice['high']:.3f}]"
        worth += f" over {dice['subjects']} {self.over}" if dice is not None else ""
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.arm}{at}{seed} of {self.study}: {worth}"


class Network:
    """A network with its preprocessing.

    Args:
      apply: `(variables, images [batch, *size, channel]) -> logits [batch, *size, class]`.
      variables: of it.
      preprocessing: from files to it and back.
      card: what is told of it.
      batch: images a call.
      overlap: the share of a window that its neighbour covers too, where images are larger than the network's.

    >>> from hyperlab.data.preprocessing import Preprocessing as Numbers
    >>> how = Numbers((4, 4), 1, ("background", "bright"), (0, 7))
    >>> def apply(variables, images):  # stands for a network
    ...     return jax.numpy.concatenate([0 * images, images - variables], -1)
    >>> network = Network(apply, 0.5, how, Card("none", "bright", 0, how.classes, None, how.record()))
    >>> network(np.zeros((3, 4, 4, 1), np.float32)).shape
    (3, 4, 4, 2)
    >>> network.predict(np.array([[0.0, 1.0], [1.0, 0.0]])).tolist()
    [[0, 7], [7, 0]]
    """

    def __init__(
        self,
        apply: Callable[[Any, jax.Array], jax.Array],
        variables: Any,
        preprocessing: Preprocessing,
        card: Card,
        *,
        batch: int = 4,
        overlap: float = 0.5,
    ):
        self.preprocessing, self.card, self.batch, self.overlap = preprocessing, card, batch, overlap
        self.apply, self.variables = apply, variables
        self._program = jax.jit(
            lambda given, images: jax.nn.softmax(apply(given, images), axis=-1), compiler_options=compiler.options()
        )

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities `[n, *size, class]` of images `[n, *size, channel]` in 0..1, as `preprocessing.forward` gives.

        Raises:
          DataError: images of another size.
        """
        if images.ndim != len(self.preprocessing.size) + 2 or images.shape[1:-1] != tuple(self.preprocessing.size):
            raise DataError(f"images are {images.shape}, expected [n, {_shown(self.preprocessing.size)}, channel]")
        parts = []
        for start in range(0, len(images), self.batch):
            part = np.asarray(images[start : start + self.batch], np.float32)
            filled = np.concatenate([part, np.repeat(part[-1:], self.batch - len(part), 0)])  # one program
            parts.append(np.asarray(self._program(self.variables, filled))[: len(part)])
        return np.concatenate(parts)

    def answers(self, scan: Any, name: str = "the scan") -> Iterator[tuple[Any, int, int, np.ndarray]]:
        """Probabilities on a scan's own grid, some rows of a plane at a time.

        Args:
          scan: see `predict`.
          name: of it, for messages.

        Yields:
          The placement of the scan, the number of the plane, its first row, and probabilities
          `[rows, *spatial, class]`.
        """
        how = self.preprocessing
        images, placement = how.forward(self._scan(scan), name)
        if isinstance(how, windowed.Windowed):
            whole = how.restored((np.concatenate(list(blocks)) for _, blocks in self._blocks(images)), placement)
            yield Placement(placement.shape, None, placement.shape), 0, 0, whole
            return
        assert isinstance(how, Recorded)
        for number, blocks in self._blocks(images):
            for start, rows in how.restore(blocks, placement):
                yield placement, number, start, rows

    def predict(self, scan: Any, name: str | None = None) -> np.ndarray:
        """The labels of a scan on its own grid, in the values of the masks that the run was trained on.

        Args:
          scan: a file, a `Scan`, or values `[*spatial, channel]` (of one channel, that axis may be left out).
          name: of it, for messages.

        Returns:
          int32 `[*spatial]`; of a NIfTI file in the closest canonical orientation, as `read_scan` gives it.

        Raises:
          DataError: other channels or dimensions than those of the training, values that its normalisation cannot take,
            a file that cannot be read.
        """
        name = name or (str(scan) if isinstance(scan, str | Path) else "the scan")
        how = self.preprocessing
        if not isinstance(how, Recorded):
            images, placement = how.forward(self._scan(scan), name)
            answers = (rows for _, rows in self._blocks(images))
            if isinstance(how, windowed.Windowed):
                return how.backward_rows(answers, placement)
            return how.backward((np.concatenate(list(rows)) for rows in answers), placement)
        labels: np.ndarray | None = None
        for placement, number, start, rows in self.answers(scan, name):
            labels = np.zeros(placement.shape, np.int32) if labels is None else labels
            placement.put(labels, number, start, how.labels(rows))
        assert labels is not None
        return labels

    def _scan(self, given: Any) -> Scan:
        if isinstance(given, Scan):
            return given
        if isinstance(given, str | Path):
            return read_scan(given)
        values = np.asarray(given)
        channels = getattr(self.preprocessing, "channels", None)
        return Scan(values[..., None] if channels == 1 and values.shape[-1] != 1 else values)

    def _blocks(self, images: np.ndarray) -> Iterator[tuple[int, Iterator[np.ndarray]]]:
        """For every image its number, and its probabilities as consecutive rows."""
        window = tuple(self.preprocessing.size)
        if images.shape[1:-1] == window:
            for start in range(0, len(images), self.batch):
                for number, answer in enumerate(self(images[start : start + self.batch]), start):
                    yield number, iter([answer])
            return
        for number, image in enumerate(images):
            yield number, tiled_rows(self, image, window, overlap=self.overlap, batch=self.batch)


def preprocessing_of(run: Path) -> Preprocessing:
    """What a run kept of its preprocessing.

    Raises:
      DataError: it kept none.
      DamagedError: the file is damaged.
    """
    path = run / PREPROCESSING
    files.check_seal(path, _AGAIN)
    found = files.read_object(path, _AGAIN)
    if found is None:
        raise DataError(
            f"{run} holds no {PREPROCESSING}, so nothing says how its images were made: an older version made it, or "
            "it is not finished. Run its command again in its folder: what was trained is kept, and this file is added"
        )
    return windowed.Windowed.of(found) if found.get("form") == windowed.FORM else Recorded.of(found)


def _shown(size: tuple[int, ...]) -> str:
    return ", ".join(map(str, size))
