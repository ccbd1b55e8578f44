"""The command line of a sweep."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hyperlab import launch
from hyperlab.arguments import Parser
from hyperlab.errors import ConfigError, HyperlabError, MissingExtraError
from hyperlab.sweep import between, running, slurm
from hyperlab.sweep import rows as tables
from hyperlab.train.heartbeat import STALE_AFTER
from hyperlab.train.signals import StopFlag

EPILOG = """A row that is done, or that runs elsewhere, is left alone; one that was stopped, or whose process is gone,
continues; one that failed is tried again and never stops the others. --config.KEY=VALUE changes every row.
--emit slurm takes --slurm.partition, account, time, gpus, cpus, memory, at_once, warning, requeues, setup, each =VALUE.
Exit codes: 0 all is well, or a signal stopped the sweep and its rows are saved; 1 a row failed; 2 wrong usage."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs `python -m hyperlab.sweep`; see the package.

    Args:
      arguments: by default those of the process.

    Raises:
      SystemExit: code 1 where a row failed, 2 where the sweep cannot start.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    options, rest = _parser().parse_known_args(words)
    try:
        failed = _sweep(options, rest)
    except (HyperlabError, MissingExtraError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    if failed:
        raise SystemExit(1)


def _sweep(options: argparse.Namespace, rest: list[str]) -> bool:
    """Does what was asked for; True where a row failed."""
    wanted = slurm.settings([word.removeprefix("--slurm.") for word in rest if word.startswith("--slurm.")])
    rest = [word for word in rest if not word.startswith("--slurm.")]
    study, rows, families = _read(options, rest)
    workdir = None if options.workdir is None else Path(options.workdir).expanduser()
    if options.only is not None and options.only >= len(rows):
        raise ConfigError(f"--only {options.only}: the sweep has rows 0 to {len(rows) - 1}")
    if options.dry_run:
        print(tables.shown(rows, workdir, options.stale_after))
        return False
    if workdir is None:
        raise ConfigError("--workdir FOLDER is needed: each row has a folder inside")
    command = [sys.executable, "-m", "hyperlab.sweep", f"--config={options.config}", f"--workdir={workdir}", *rest]
    if options.stale_after != STALE_AFTER:
        command.append(f"--stale_after={options.stale_after:g}")
    if options.emit:
        print(
            f"written: {os.path.relpath(slurm.write(len(rows), command, workdir, wanted))}; submit it, then the report:"
        )
        print("\n".join(slurm.submission(command, workdir)))
        return False
    if options.report:
        states = _report(workdir, rows, families, {}, options.stale_after)
        return any(state.name == "failed" for state in states.values())
    chosen = rows if options.only is None else [rows[options.only]]
    with StopFlag() as stop:
        outcome = _run(options, chosen, workdir, stop, command, allow=study["allow_config_change"])
    if options.only is None:
        _report(workdir, rows, families, outcome, options.stale_after)
    else:
        _print(outcome)
    if options.requeue is not None and stop.reason in ("SIGTERM", "SIGUSR1"):
        slurm.requeue(options.requeue)
    return any(state.name == "failed" for state in outcome.values())


def _read(
    options: argparse.Namespace, rest: list[str]
) -> tuple[dict[str, Any], list[tables.Row], list[between.Between]]:
    if options.config is None:
        raise ConfigError("--config FILE is needed; its get_config() is the study, its sweep() the rows")
    module = launch.config_module(options.config)
    if not hasattr(module, "sweep"):
        raise ConfigError(f"{options.config} has no sweep()")
    study, config = launch.parse(module.get_config().study, [f"--config={options.config}", *rest])
    rows = tables.table(config, module.sweep())
    for row in rows:
        try:
            launch.check_values(row.config)
        except ConfigError as error:
            raise ConfigError(f"row {row.index} ({row.name}): {error}") from None
    families = list(getattr(module, "contrasts", list)())
    between.check(families, [row.name for row in rows])
    return study, rows, families


def _run(
    options: argparse.Namespace, rows: list[tables.Row], workdir: Path, stop: StopFlag, command: list[str], allow: bool
) -> running.Outcome:
    if options.parallel > 1:
        return running.side_by_side(
            rows, workdir, stop, command, processes=options.parallel, stale_after=options.stale_after
        )
    return running.one_by_one(rows, workdir, stop, stale_after=options.stale_after, allow_config_change=allow)


def _report(
    workdir: Path,
    rows: list[tables.Row],
    families: list[between.Between],
    outcome: running.Outcome,
    stale_after: float,
) -> running.Outcome:
    """Writes the sweep's report from whatever rows are there, and tells what became of each."""
    from hyperlab.sweep import page as report

    states = {row.name: outcome.get(row.name) or row.state(workdir, stale_after) for row in rows}
    workdir.mkdir(parents=True, exist_ok=True)
    page = report.write(workdir, states, between.measure(workdir, families))
    _print(states)
    print(f"report: {os.path.relpath(page)}")
    return states


def _print(outcome: running.Outcome) -> None:
    for name, state in outcome.items():
        print(f"{state.name:<8} {name}{': ' if state.detail else ''}{state.detail}")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "sweep",
        "hyperlab.sweep",
        passes=("--config.", "--slurm.", "--allow_config_change"),
        description="Runs the rows of a config file's sweep(), one run folder each, and reports over all of them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", help="a config file with get_config() and sweep()")
    parser.add_argument("--workdir", metavar="FOLDER", help="where the rows' folders and the report go")
    parser.add_argument("--dry_run", action="store_true", help="print the table of rows and what is on disk of each")
    parser.add_argument("--only", metavar="N", type=_row, help="run one row and write no report, as array tasks do")
    parser.add_argument("--parallel", metavar="N", type=_count, default=1, help="rows at a time, each in a process")
    parser.add_argument("--report", action="store_true", help="write the report from the rows that are there, run none")
    parser.add_argument("--emit", choices=("slurm",), help="write an array script into the folder and run nothing")
    parser.add_argument(
        "--requeue", metavar="N", type=_count, help="after SIGTERM, requeue this SLURM job; N times at most"
    )
    parser.add_argument(
        "--stale_after",
        metavar="SECONDS",
        type=_seconds,
        default=STALE_AFTER,
        help="without a sign of life for so long, a row of another host is taken over (default %(default)g)",
    )
    return parser


def _row(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"needs the number of a row, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"needs a whole number from 1 on, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"needs a positive number of seconds, got {text!r}")
    return seconds
