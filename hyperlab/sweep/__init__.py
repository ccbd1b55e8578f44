"""Several configs of one study, one run folder each: what turns a run into a table.

    python -m hyperlab.sweep --config configs/stability/grid.py --workdir runs/grid [--dry_run] [--parallel 4]

The config file has `get_config()` and `sweep()`, which yields one dict of dotted overrides for each row (`algebra`).
It may have `contrasts()`, which names comparisons of rows before they run (`between`).
Rows run in this process, in several, or as the tasks of an array job that `--emit slurm` writes. A row that is done is
not run again, one that was stopped or killed continues, one that fails is reported and does not stop the others.
"""

from hyperlab.sweep.algebra import Integers, chain, log_uniform, one_at_a_time, product, sample, uniform, zip_
from hyperlab.sweep.between import Between
from hyperlab.sweep.command import main
from hyperlab.sweep.rows import Row, apply, name_of, table
from hyperlab.sweep.running import one_by_one, side_by_side

__all__ = [
    "Between",
    "Integers",
    "Row",
    "apply",
    "chain",
    "log_uniform",
    "main",
    "name_of",
    "one_at_a_time",
    "one_by_one",
    "product",
    "sample",
    "side_by_side",
    "table",
    "uniform",
    "zip_",
]
