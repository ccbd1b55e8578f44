"""TensorBoard event files with the `tensorboard` wheel alone: no TensorFlow."""

import io
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class TensorBoard:
    """A view of a run for `tensorboard --logdir`: scalars, images, histograms, and one row of the HParams tab.

    The wheel is imported, and the file made, at the first thing written. Tags are `split/name`.

    Args:
      folder: where the event files go; each start of a run adds one.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = os.fspath(folder)
        self._writer: Any = None
        self._purge: int | None = None

    def scalars(self, step: int, values: Mapping[str, float], split: str = "train") -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._add(
            step,
            [Summary.Value(tag=f"{split}/{name}", simple_value=float(value)) for name, value in values.items()],
        )

    def images(self, step: int, values: Mapping[str, np.ndarray], split: str = "train") -> None:
        """Images `[height, width]` or `[height, width, 1 or 3]`: uint8, or floats in 0..1."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        shown = []
        for name, value in values.items():
            content, height, width, channels = _png(np.asarray(value))
            image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=content)
            shown.append(Summary.Value(tag=f"{split}/{name}", image=image))
        self._add(step, shown)

    def histograms(self, step: int, values: Mapping[str, np.ndarray], split: str = "train") -> None:
        """Arrays of any shape; what is not finite is left out."""
        from tensorboard.plugins.histogram.summary import histogram_pb

        shown = []
        for name, value in values.items():
            flat = np.asarray(value, np.float64).ravel()
            shown.extend(histogram_pb(f"{split}/{name}", flat[np.isfinite(flat)]).value)
        self._add(step, shown)

    def hparams(self, values: Mapping[str, Any], metrics: Sequence[str] = ()) -> None:
        """One row of the HParams tab: every key of the run, always all of them (the tab drops late ones).

        Args:
          values: flat, for instance `config.flat(...)`; tuples are shown as text.
          metrics: tags of scalars to show beside, for instance `"validation/accuracy"`.
        """
        from tensorboard.plugins.hparams import summary_v2 as hparams

        plain = {name: v if isinstance(v, bool | int | float | str) else str(v) for name, v in values.items()}
        config = hparams.hparams_config_pb(
            [hparams.HParam(name) for name in plain], [hparams.Metric(tag) for tag in metrics]
        )
        trial = os.path.basename(os.path.normpath(self.folder))
        self._add(0, [*config.value, *hparams.hparams_pb(plain, trial_id=trial).value])

    def truncate_after(self, step: int) -> None:
        """Tells TensorBoard to forget the events of later steps, which a restart writes again."""
        if any("tfevents" in name for name in _listed(self.folder)):
            self._purge = step + 1

    def flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _add(self, step: int, values: list) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        if self._writer is None:
            self._writer = EventFileWriter(self.folder)
            if self._purge is not None:
                log = SessionLog(status=SessionLog.START)
                self._writer.add_event(Event(wall_time=time.time(), step=self._purge, session_log=log))
        self._writer.add_event(Event(wall_time=time.time(), step=int(step), summary=Summary(value=values)))


def _png(image: np.ndarray) -> tuple[bytes, int, int, int]:
    from PIL import Image

    if image.dtype != np.uint8:
        image = np.round(np.clip(np.nan_to_num(image), 0, 1) * 255).astype(np.uint8)
    image = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[-1] != 3):
        raise ValueError(f"an image has shape {image.shape}, expected [height, width] or [height, width, 1 or 3]")
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="png")
    return buffer.getvalue(), image.shape[0], image.shape[1], 1 if image.ndim == 2 else 3


def _listed(folder: str) -> list[str]:
    return os.listdir(folder) if os.path.isdir(folder) else []
