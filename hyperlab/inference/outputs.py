"""What a user is given for an image: mask and maps as TIFF, an overlay as PNG, rows of tables.

All files of an image are written before its row, which says that it is finished: whatever ends a process, another start
goes on with the next image. Every file is written whole or not at all. A row knows what it was made of (the image's
file, the settings) and the checksums of what was written: an image that was replaced is not finished any more, nor one
whose mask was damaged or edited, which is set aside.
"""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyperlab import files
from hyperlab.errors import ConfigError, DamagedError, WorkdirError, nearest
from hyperlab.uncertainty import Maps
from hyperlab.uncertainty.image_scores import SCORES
from hyperlab.uncertainty.objects import object_table

FOLDERS = ("masks", "mean", "epistemic", "aleatoric", "overlays", "rows")
OBJECT_COLUMNS = (
    "image", "class", "object", "y", "x", "area", "touches_border", "mean_probability", "epistemic", "aleatoric",
)  # fmt: skip
_SETTINGS, _MADE_OF = "settings.json", "made_of"
_OUTLINE = np.array([80, 220, 255], np.float32)
# black, purple, orange, white: the darker the surer, also for readers who see no red
_HEAT = np.array([[0, 0, 0], [90, 20, 110], [240, 120, 30], [255, 255, 240]], np.float32)

log = logging.getLogger(__name__)


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
        settings = json.loads(json.dumps(settings))
        before = self._settings()
        for key in settings:
            if before is not None and before.get(key) != settings[key]:
                raise ConfigError(
                    f"{self.folder} was written with {key} {before.get(key)!r}, now it is {settings[key]!r}; "
                    "give another folder, or remove this one"
                )
        self._made_by = files.checksum(json.dumps(settings, sort_keys=True).encode())
        try:
            for name in FOLDERS:
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkdirError(f"{self.folder} cannot be written: {error.strerror}") from error
        files.write_json(self.folder / _SETTINGS, settings, sealed=True)

    def _settings(self) -> dict[str, Any] | None:
        """What the folder was written with, as far as that is known."""
        path = self.folder / _SETTINGS
        try:
            return files.read_object(path)
        except DamagedError as error:
            log.warning("%s: set aside as %s", error, files.set_aside(path).name)
            return None

    def finished(self, name: str, source: Path | None = None) -> bool:
        """Whether all files of an image are there, as they were written, from this image and with these settings.

        Args:
          name: of the image.
          source: its file; None does not ask whether it is still the same.
        """
        path = self._row(name)
        try:
            row = files.read_object(path)
        except DamagedError as error:
            log.warning("%s: set aside as %s", error, files.set_aside(path).name)
            return False
        if row is None:
            return False
        if _MADE_OF not in row:  # of a version that noted nothing: an image that is newer than its row was replaced
            return source is None or source.stat().st_mtime <= path.stat().st_mtime
        made_of = row[_MADE_OF]
        same = made_of["settings"] == self._made_by and (source is None or made_of["image"] == _digest(source))
        whole = [self._is_whole(self.folder / one, known) for one, known in made_of["files"].items()]
        return same and all(whole)

    def _is_whole(self, path: Path, known: str) -> bool:
        found = _digest(path)
        if found not in (None, known):
            log.warning("%s was changed since it was written: set aside as %s", path, files.set_aside(path).name)
        return found == known

    def begun(self, name: str) -> bool:
        """Whether there is a row of an image, finished or not."""
        return self._row(name).is_file()

    def write(
        self, name: str, pixels: np.ndarray, maps: Maps, source: Path | None = None, **more: Any
    ) -> dict[str, Any]:
        """Writes all files of an image.

        Args:
          name: of the image.
          pixels: `[height, width, channel]` in 0..1, for the overlay.
          maps: of the image, host arrays without a batch axis.
          source: the image's file, by whose content it is known again.
          **more: further columns of the image's row.

        Returns:
          The row of the image.

        Raises:
          WorkdirError: a file cannot be written.
        """
        image = None if source is None else _digest(source)
        mean, epistemic, aleatoric = map(np.asarray, (maps.mean, maps.epistemic, maps.aleatoric))
        mask = mean.argmax(-1).astype(np.uint8)
        written = [self._tiff("masks", name, mask)]
        for label in range(1, len(self.classes)):
            tail = f"_{label}" if len(self.classes) > 2 else ""
            written.append(self._tiff("mean", name + tail, mean[..., label]))
        written.append(self._tiff("epistemic", name, epistemic))
        written.append(self._tiff("aleatoric", name, aleatoric))
        shown = overlay(pixels, mask, epistemic, aleatoric, np.log(len(self.classes)))
        written.append(_save(shown, self.folder / "overlays" / f"{name}.png", "PNG"))
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
        sums = {str(path.relative_to(self.folder)): _digest(path) for path in written}
        made_of = {"settings": self._made_by, "image": image, "files": sums}
        files.write_json(self._row(name), {"image": row, "objects": found, _MADE_OF: made_of}, sealed=True)
        return row

    def tables(self, names: Sequence[str]) -> tuple[Path, Path]:
        """Writes `images.csv` and `objects.csv` of the finished images among `names`, the least sure first.

        Images are sorted by their score (of the epistemic map), objects by their mean epistemic uncertainty; what has
        no number comes last.
        """
        import pandas as pd

        rows = [row for name in names if (row := files.read_object(self._row(name))) is not None]
        images = pd.DataFrame([row["image"] for row in rows])
        found = pd.DataFrame([one for row in rows for one in row["objects"]], columns=OBJECT_COLUMNS)
        paths = self.folder / "images.csv", self.folder / "objects.csv"
        for path, table, key in zip(paths, (images, found), ("score", "epistemic"), strict=True):
            if len(table):
                table = table.sort_values(key, ascending=False, kind="stable")
            files.write_atomically(path, table.to_csv(index=False, float_format="%.6g"))
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

    def _tiff(self, kind: str, name: str, values: np.ndarray) -> Path:
        return _save(values, self.folder / kind / f"{name}.tif", "TIFF")


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


def _save(values: np.ndarray, path: Path, kind: str) -> Path:
    from PIL import Image

    with files.writing(path) as partial:
        Image.fromarray(np.ascontiguousarray(values)).save(partial, kind)
    return path


def _digest(path: Path) -> str | None:
    content = files.read_bytes(path)
    return None if content is None else files.checksum(content)
