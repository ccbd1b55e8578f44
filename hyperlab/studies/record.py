"""What a study leaves in its run folder beside units: the record of its curves, files for its report, their seals."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hyperlab import files
from hyperlab.data.splits import Splits
from hyperlab.inference.network import PREPROCESSING
from hyperlab.train import config as configs
from hyperlab.train import distributed
from hyperlab.train.protocols import Folder
from hyperlab.train.tensorboard import TensorBoard
from hyperlab.train.writers import JsonLines, MultiWriter


def write_json(folder: Folder, name: str, content: Any) -> None:
    """Writes what the report has to know as a file of the run's folder, and notes its checksum; one process does."""
    if not distributed.is_main():
        return
    files.write_json(folder.path / name, content)
    files.seal(folder.path, [name])


def keep_preprocessing(folder: Folder, splits: Splits) -> None:
    """Writes how files became images, so that a network of the run predicts without the data that it was trained on."""
    if splits.preprocessing is not None:
        write_json(folder, PREPROCESSING, splits.preprocessing.record())


@contextlib.contextmanager
def sealing(path: Path) -> Iterator[None]:
    """Notes the checksums of what a report read and wrote in a run folder, and of the record, so that damage is seen.

    Args:
      path: the run folder.
    """
    files.unseal(path, (".csv", ".html"))  # while they are written again, the checksums of before say nothing
    yield
    apart = ("run.json", "config.json", files.SEALS)
    sealed = files.seals(path).get("files", {})
    found = [*path.glob("*.csv"), *path.glob("*.html"), *path.glob("*.json")]
    # The record is written by the run alone, which forgets its seal then: one that is there still holds.
    found += [one for one in path.glob("*.jsonl") if one.name not in sealed]
    files.seal(path, sorted(one.name for one in found if one.name not in apart))


def open_record(folder: Folder, config: Any) -> MultiWriter:
    """The record of a study: `metrics.jsonl`, and a view of it for TensorBoard.

    It is empty at every start: rows of finished units are written again, from their files. Of several processes the
    first writes.

    Args:
      folder: the run's folder.
      config: the study's config, whose leaves are kept as hyperparameters.
    """
    if not distributed.is_main():
        return MultiWriter([])
    writer = MultiWriter([JsonLines(folder.metrics_path), TensorBoard(folder.path)])
    writer.truncate_after(-1)
    writer.hparams(configs.flat(config))
    return writer


@contextlib.contextmanager
def recording(folder: Folder, config: Any) -> Iterator[MultiWriter]:
    """The record inside the block; where an error ended it, one of closing the record does not take its place."""
    writer = open_record(folder, config)
    try:
        yield writer
    except BaseException:
        with contextlib.suppress(Exception):
            writer.close()
        raise
    writer.close()
