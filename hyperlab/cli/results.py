"""`hyperlab results`: the table in a terminal, and as files."""

import argparse
import sys
from pathlib import Path

import pandas as pd

from hyperlab.errors import WorkdirError
from hyperlab.results import loading, spread
from hyperlab.results import page as report
from hyperlab.results.choosing import choose

MOST_PRINTED = 200  # lines of a table; the files have all


def main(options: argparse.Namespace) -> int:
    """Writes what was asked for, then prints: a reader who closes the pipe early has the files all the same."""
    root = Path(options.root).expanduser()
    if options.no_cache:
        print("--no-cache is without use, and gone in the next release: files are read each time", file=sys.stderr)
    config = () if options.config is None else options.config or loading.VARIED
    overview, frame = loading.both(root, config=config)
    frame = choose(frame, options.where, options.metric)
    # an unknown column is refused before anything is written
    tables = {name: spread(rows, _by(options.by)) for name, rows in _metrics(frame)} if options.by else {}
    written = [] if options.no_files else _write(options, root, overview, frame)
    for sentence in report.summary(overview):
        print(sentence)
    if options.by:
        for name, table in tables.items():
            print(f"\n{name}")
            show(report.as_text(table))
    else:
        show(_narrow(report.run_table(overview)) if sys.stdout.isatty() else report.run_table(overview))
        if len(frame):
            print("\nWhat was measured; --by COLUMN ... gives the spread of each metric:")
            show(report.measured(frame))
    for path in written:
        print(f"written: {path}")
    return 0


def show(table: pd.DataFrame) -> None:
    """A table for a terminal, drawn by rich; in a pipe, plain columns that `cut` and `awk` can read."""
    shown = table.head(MOST_PRINTED)
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        drawn = Table(box=None, header_style="bold", pad_edge=False)
        for name in shown.columns:
            drawn.add_column(name, overflow="fold", no_wrap=bool(shown[name].str.len().max() <= 24))
        for row in shown.itertuples(index=False):
            drawn.add_row(*map(_plain, row))
        Console().print(drawn)
    else:
        print("\t".join(shown.columns))
        for row in shown.itertuples(index=False):
            print("\t".join(row))
    if len(table) > MOST_PRINTED:
        print(f"... and {len(table) - MOST_PRINTED} more rows; the files have all")


def _narrow(table: pd.DataFrame) -> pd.DataFrame:
    """Without the columns of provenance that say the same of all runs, and without those that the page has."""
    names = [name for name in ("version", "jax", "device", "dirty", "git") if name in table]
    same = [name for name in names if len(set(table[name]) - {"-"}) < 2]
    return table.drop(columns=[*same, "started"])


def _write(options: argparse.Namespace, root: Path, overview: pd.DataFrame, frame: pd.DataFrame) -> list[Path]:
    folder = root if options.out is None else Path(options.out).expanduser()
    both = options.csv == options.html
    steps = {
        "csv": lambda: report.write_csv(folder, frame),
        "html": lambda: report.write(
            folder, overview, frame, _by(options.by), f"Results of the runs under {root.name}"
        ),
    }
    written = []
    for name, step in steps.items():
        if not (both or getattr(options, name)):
            continue
        try:
            written.append(step())
        except WorkdirError as error:
            if options.out or options.csv or options.html:
                raise  # it was asked for by name
            print(f"not written: {error}", file=sys.stderr)
    return written


def _by(names: list[str]) -> list[str]:
    return [name for name in names if name != "metric"]


def _metrics(frame: pd.DataFrame):
    if not len(frame) or frame.get("metric") is None:
        return []
    return frame.groupby("metric", observed=True, sort=False)


def _plain(text: str):
    from rich.text import Text

    return Text(text)  # brackets are no markup
