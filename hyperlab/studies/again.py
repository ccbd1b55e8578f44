"""A run's report, written again from what the run left in its folder."""

import importlib
import os
from pathlib import Path

from hyperlab import studies
from hyperlab.errors import ConfigError, DataError, WorkdirError, nearest
from hyperlab.report.finished import Finished
from hyperlab.studies.record import sealing
from hyperlab.train import heartbeat, provenance


def write_again(folder: str | os.PathLike) -> Path:
    """Writes `results.csv`, the other tables, `figures/` and `report.html` of a finished run again.

    Nothing is trained or measured: it is for a newer hyperlab, or for files that were lost.

    Args:
      folder: the run folder.

    Returns:
      The path of `report.html`.

    Raises:
      WorkdirError: the study was not run to its end there, or still runs, or left less than this version reads.
      DataError: the folder is no run folder.
      ConfigError: no report is known for its study.
    """
    folder = Path(folder).expanduser()
    if not (folder / "config.json").is_file():
        raise DataError(f"{folder} is no run folder: it has no config.json")
    if heartbeat.is_alive(folder):
        raise WorkdirError(f"{folder} is in use by another process, which writes the report when it has finished")
    finished = Finished(folder)
    study = finished.config.get("study")
    names = studies.studies()
    if study not in names:
        raise ConfigError(
            f"{folder} is a run of {study!r}, of which no report is known; {nearest(str(study), [*names])}"
        )
    try:
        with sealing(folder):
            return importlib.import_module(f"experiments.{study}").write_page(folder)
    except (AttributeError, KeyError) as error:  # a key of the config or a measure of a unit, newer than the run
        if finished.code == provenance.code():
            raise  # the page is wrong, not the run
        raise WorkdirError(
            f"{folder} lacks what a report of this version reads ({str(error).splitlines()[0]}); write it with the "
            "version of the run, which its run.json names, or run the study again"
        ) from error
