"""What a user is given for an image: mask and maps as TIFF, an overlay as PNG, rows of tables.

All files of an image are written before its row, which says that it is finished: whatever ends a process, another start
goes on with the next image. Every file is written whole or not at all.
"""

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyperlab.errors import ConfigError, nearest
from hyperlab.files import write_atomically
from hyperlab.uncertainty import Maps
from hyperlab.uncertainty.image_scores import SCORES
from hyperlab.uncertainty.objects import object_table

FOLDERS = ("masks", "mean", "epistemic", "aleatoric", "overlays", "rows")
OBJECT_COLUMNS = (
    "image", "class", "object", "y", "x", "area", "touches_border", "mean_probability", "epistemic", "aleatoric",
)  # fmt: skip
_SETTINGS = "settings.json"
_OUTLINE = np.array([80, 220, 255], np.float32)
# black, purple, orange, white: the darker the surer, also for readers who see no red
_HEAT = np.array([[0, 0, 0], [90, 20, 110], [240, 120, 30], [255, 255, 240]], np.float32)


class Outputs:
    """The folder of one prediction.

    Args:
      folder: made if it is not there.
      classes: the name of each label.
      score: by which images are sorted, one of `hyperlab.uncertainty.image_scores.SCORES`.
      settings: what determines the results, as JSON; a folder that was written with others is refused.
      smallest: pixels of the smallest object that has a row; smaller ones are counted as `specks` of their image.

    Raises:
      ConfigError: `folder` is a file, or was written with other settings (the first that differs is named); an
        unknown score.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        classes: Sequence[str],
        score: str,
        settings: dict[str, Any],
        *,
        smallest: int = 1,
    ):
        if score not in SCORES:
            raise ConfigError(f"unknown image score {score!r}; {nearest(score, SCORES)}")
        self.folder, self.classes, self.score, self.smallest = Path(folder), tuple(classes), score, smallest
        if self.folder.exists() and not self.folder.is_dir():
            raise ConfigError(f"{self.folder} is a file, expected a folder")
        written = self.folder / _SETTINGS
        settings = json.loads(json.dumps(settings))
        if written.is_file():
            before = json.loads(written.read_text())
            for key in settings:
                if before.get(key) != settings[key]:
                    raise ConfigError(
                        f"{self.folder} was written with {key} {before.get(key)!r}, now it is {settings[key]!r}; "
                        "give another folder, or remove this one"
                    )
        for name in FOLDERS:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        write_atomically(written, json.dumps(settings, indent=1) + "\n")

    def finished(self, name: str) -> bool:
        """Whether all files of an image are there."""
        return self._row(name).is_file()

    def write(self, name: str, pixels: np.ndarray, maps: Maps, **more: Any) -> dict[str, Any]:
        """Writes all files of an image.

        Args:
          name: of the image.
          pixels: `[height, width, channel]` in 0..1, for the overlay.
          maps: of the image, host arrays without a batch axis.
          **more: further columns of the image's row.

        Returns:
          The row of the image.
        """
        mask = maps.mean.argmax(-1).astype(np.uint8)
        self._tiff("masks", name, mask)
        for label in range(1, len(self.classes)):
            tail = f"_{label}" if len(self.classes) > 2 else ""
            self._tiff("mean", name + tail, maps.mean[..., label])
        self._tiff("epistemic", name, maps.epistemic)
        self._tiff("aleatoric", name, maps.aleatoric)
        shown = overlay(pixels, mask, maps.epistemic, maps.aleatoric, np.log(len(self.classes)))
        _replace(self.folder / "overlays" / f"{name}.png", lambda path: _save(shown, path, "PNG"))
        everything = self._objects(name, mask, maps)
        found = [one for one in everything if one["area"] >= self.smallest]
        row = {
            "image": name,
            "score": float(SCORES[self.score](maps.epistemic[None], mask[None])[0]),
            "objects": len(found),
            "specks": len(everything) - len(found),
            "foreground": float((mask > 0).mean()),
            "epistemic": float(maps.epistemic.mean()),
            "aleatoric": float(maps.aleatoric.mean()),
            "height": mask.shape[0],
            "width": mask.shape[1],
            **more,
        }
        write_atomically(self._row(name), json.dumps({"image": row, "objects": found}) + "\n")
        return row

    def tables(self, names: Sequence[str]) -> tuple[Path, Path]:
        """Writes `images.csv` and `objects.csv` of the finished images among `names`, the least sure first.

        Images are sorted by their score (of the epistemic map), objects by their mean epistemic uncertainty; what has
        no number comes last.
        """
        import pandas as pd

        rows = [json.loads(self._row(name).read_text()) for name in names if self.finished(name)]
        images = pd.DataFrame([row["image"] for row in rows])
        found = pd.DataFrame([one for row in rows for one in row["objects"]], columns=OBJECT_COLUMNS)
        paths = self.folder / "images.csv", self.folder / "objects.csv"
        for path, table, key in zip(paths, (images, found), ("score", "epistemic"), strict=True):
            if len(table):
                table = table.sort_values(key, ascending=False, kind="stable")
            write_atomically(path, table.to_csv(index=False, float_format="%.6g"))
        return paths

    def _objects(self, name: str, mask: np.ndarray, maps: Maps) -> list[dict[str, Any]]:
        """A row for each object, class by class; its values are means over its pixels."""
        rows = []
        for label in range(1, len(self.classes)):
            kept = {"probability": maps.mean[..., label], "epistemic": maps.epistemic, "aleatoric": maps.aleatoric}
            table = object_table(mask == label, kept)
            table |= {"y": table["centre_0"], "x": table["centre_1"]}
            table |= {"epistemic": table["mean_epistemic"], "aleatoric": table["mean_aleatoric"]}
            for place in range(len(table["object"])):
                values = {column: table[column][place].item() for column in OBJECT_COLUMNS[2:]}
                rows.append({"image": name, "class": self.classes[label], **values})
        return rows

    def _row(self, name: str) -> Path:
        return self.folder / "rows" / f"{name}.json"

    def _tiff(self, kind: str, name: str, values: np.ndarray) -> None:
        _replace(self.folder / kind / f"{name}.tif", lambda path: _save(values, path, "TIFF"))


def overlay(
    pixels: np.ndarray, mask: np.ndarray, epistemic: np.ndarray, aleatoric: np.ndarray, top: float
) -> np.ndarray:
    """Three panels: the image with the outlines of its objects, the epistemic map and the aleatoric one.

    Args:
      pixels: `[height, width, channel]` in 0..1; of one channel it is grey, of three it has colours, else their mean.
      mask: int `[height, width]`.
      epistemic: `[height, width]`, in nats.
      aleatoric: `[height, width]`, in nats.
      top: what is shown as white in both maps.

    Returns:
      uint8 `[height, 3 * width, 3]`.
    """
    grey = pixels if pixels.shape[-1] == 3 else np.repeat(pixels.mean(-1, keepdims=True), 3, -1)
    image = 255 * np.clip(grey / max(float(grey.max()), 1e-6), 0, 1)
    image[_outlines(mask)] = _OUTLINE
    maps = [_heat(values / top) for values in (epistemic, aleatoric)]
    return np.round(np.concatenate([image, *maps], 1)).astype(np.uint8)


def _outlines(mask: np.ndarray) -> np.ndarray:
    """The pixels of objects that have a neighbour of another label: bool `[height, width]`."""
    padded = np.pad(mask, 1, mode="edge")
    neighbours = [padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1]]
    return (mask > 0) & np.any([mask != other for other in neighbours], axis=0)


def _heat(values: np.ndarray) -> np.ndarray:
    stops = np.linspace(0, 1, len(_HEAT))
    return np.stack([np.interp(values, stops, _HEAT[:, colour]) for colour in range(3)], -1)


def _save(values: np.ndarray, path: Path, kind: str) -> None:
    from PIL import Image

    Image.fromarray(np.ascontiguousarray(values)).save(path, kind)


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    """Writes a file under another name and puts it in its place: no reader finds half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
