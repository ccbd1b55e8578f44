"""What was read of the runs under a root, in one file there: an `.npz` without anything that could be executed.

A file that is damaged, or of another form, counts as none; a root that cannot be written stays without.
"""

import contextlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from hyperlab.errors import WorkdirError
from hyperlab.files import writing
from hyperlab.results.columns import Columns, Text

FILE, FORM = ".results_cache.npz", 1


def read(root: Path) -> tuple[dict[str, dict[str, Any]], Columns] | None:
    """What `write` kept: the records by run, and the columns; None where there is nothing of use."""
    try:
        with (root / FILE).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            head = json.loads(file["head"].tobytes())
            if head["form"] != FORM:
                return None
            columns: Columns = {}
            for place, (name, values) in enumerate(head["columns"]):
                array = file[str(place)]
                columns[name] = array if values is None else Text(array, values)
            _check(head["records"], columns)
            return head["records"], columns
    except Exception:  # whatever a damaged file leads to, the folders themselves are read then
        return None


def write(root: Path, records: dict[str, dict[str, Any]], columns: Columns) -> None:
    """Keeps records and columns, all of it or nothing; a root that cannot be written is left alone.

    Args:
      root: gets the file.
      records: by run, in the order that the column `place` counts in; anything that JSON can hold.
      columns: with `place`, the run that each row is of.
    """
    described = [[name, column.values if isinstance(column, Text) else None] for name, column in columns.items()]
    head = json.dumps({"form": FORM, "records": records, "columns": described}).encode()
    arrays = {str(n): c.codes if isinstance(c, Text) else c for n, c in enumerate(columns.values())}
    # the quickest level: tables repeat themselves so much that others save little
    with (
        contextlib.suppress(WorkdirError),
        writing(root / FILE) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as z,
    ):
        for name, array in {"head": np.frombuffer(head, np.uint8), **arrays}.items():
            with z.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)


def _check(records: dict[str, Any], columns: Columns) -> None:
    """Refuses columns of unequal length and codes without a value."""
    place = columns["place"]
    for column in columns.values():
        codes = column.codes if isinstance(column, Text) else column
        if codes.shape != place.shape:
            raise ValueError("columns of unequal length")
        if isinstance(column, Text) and len(codes) and not -1 <= codes.min() <= codes.max() < len(column.values):
            raise ValueError("a code without a value")
    if len(place) and not 0 <= place.min() <= place.max() < len(records):
        raise ValueError("rows of no run")
