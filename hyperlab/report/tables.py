"""Tables as files, whole or not at all."""

from pathlib import Path

import pandas as pd

from hyperlab.files import write_atomically


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Writes a table as CSV, without its index.

    Raises:
      WorkdirError: it cannot be written; what was there stays.
    """
    write_atomically(path, frame.to_csv(index=False))
