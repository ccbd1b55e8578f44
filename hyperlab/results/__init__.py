"""Results across runs: all run folders under a root as one table, and what is asked of such a table.

>>> import tempfile
>>> frame = results(tempfile.mkdtemp())                 # no runs there: no rows, but all columns of provenance
>>> len(frame), list(frame.columns[:4])
(0, ['run', 'study', 'name', 'status'])

The table is plain pandas. `spread`, `compare` and `front` are functions of it; pictures are in
`hyperlab.results.figures`. Pandas is imported with the first call, so that `import hyperlab` stays quick.
"""

import importlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_MODULES = {"Front": "fronts", "compare": "comparing", "front": "fronts", "spread": "describing"}
__all__ = ["Front", "compare", "front", "results", "runs", "spread"]


def results(root: str | os.PathLike, *, config: Sequence[str] | str = (), cache: bool | None = None) -> "pd.DataFrame":
    """All results of all runs under a folder: a row for each run, seed, arm, metric, and what else a study tells apart.

    The first columns are of the run and the same in all its rows: `run` (its path below the root), `study`, `name`,
    `status`, `error`, `started` (UTC), `seconds` (of all starts that said when they ended), `digest` (of the config),
    `fingerprint` (of the data), `git`, `dirty`, `version` (of hyperlab), `jax`, `device`. Those of the study's
    `results.csv` follow; numbers are float64, text is a category. A table with a column for each measure becomes one
    with `metric` and `value`. `status` is `finished`, `running`, `stopped`, `failed`, or `broken`, with the reason in
    `error`; a run without results has one row, in which `metric` and `value` are missing.

    Args:
      root: is searched at any depth; a run folder itself will do.
      config: dotted keys of the configs that become columns `config.KEY`; `"varied"` takes those that differ between
        runs of one study, which are the axes of a sweep.
      cache: without use, and gone in the next release: files are read each time.

    Returns:
      Runs in the order of their paths; rows in the order of their files.

    Raises:
      DataError: `root` is no folder.
      ConfigError: no run has such a key.
    """
    from hyperlab.results import loading

    return loading.results(root, config=config, cache=cache)


def runs(root: str | os.PathLike, *, config: Sequence[str] | str = (), cache: bool | None = None) -> "pd.DataFrame":
    """One row for each run under a folder: where it comes from, what became of it, how many `rows` of results it has.

    Args and errors are those of `results`.

    >>> import tempfile
    >>> "rows" in runs(tempfile.mkdtemp())
    True
    """
    from hyperlab.results import loading

    return loading.runs(root, config=config, cache=cache)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
