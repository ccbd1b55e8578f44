"""`hyperlab plan`: what a study would take on a machine, as a table, as JSON, or as a page."""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from hyperlab import launch
from hyperlab.arguments import Parser
from hyperlab.cli.results import show
from hyperlab.configured import parse as parse_config
from hyperlab.errors import ConfigError, nearest
from hyperlab.planning import parse as parse_machine
from hyperlab.planning import plan
from hyperlab.report.page import Page
from hyperlab.report.sections import number
from hyperlab.studies import studies

LIMITS = (
    "A bound is the least that is possible: products at the published peak, memory and links at theirs, overlapping as "
    "they may. Runs take longer, small networks many times as long; evaluation, compilation and reading come on top.",
    "Bytes are the compiler's own of one program: what else is on a device (other programs' code, examples of another "
    "study, the allocator's gaps) is not in them.",
    "Operations are counted from the functions, each product in full; collectives inside of a loop count once.",
)


def main(words: list[str]) -> int:
    """The command; its exit code is 1 where a program does not fit.

    Args:
      words: that follow `hyperlab plan`.
    """
    parser, options, rest = _options(words)
    if options.study not in studies():
        raise ConfigError(f"unknown study {options.study!r}; {nearest(options.study, studies())}")
    machine = parse_machine(options.machine)
    given, config = parse_config(options.study, rest)
    if given["workdir"] or given["allow_config_change"] or given["print_config"]:
        parser.error("a plan has no run folder: --config and --config.KEY=VALUE alone say what is planned")
    launch.check(config)
    how = {"cells": options.cell, "python": options.python, "fresh": options.fresh}
    with _Told() as tell:
        made = plan(config, machine, folder=folder(), tell=tell, **how)
    if options.json:
        print(json.dumps(made, indent=1))
    else:
        for sentence in said(made):
            print(sentence)
        print("\nMiB of one device, operations of all together:")
        show(table(made))
    if options.out:
        path = page(made).write(Path(options.out).expanduser() / "plan.html")
        print(f"written: {path}", file=sys.stderr)
    return 0 if made["fits"] else 1


def folder() -> Path | None:
    """Where plans are kept: in `HYPERLAB_CACHE`, as compiled programs are; None where it is empty."""
    chosen = os.environ.get("HYPERLAB_CACHE", str(Path.home() / ".cache" / "hyperlab"))
    return Path(chosen) / "plans" if chosen else None


def _options(words: list[str]) -> tuple[Parser, argparse.Namespace, list[str]]:
    parser = Parser(
        "plan",
        passes=("--config", "--config."),
        description="Compiles the training, evaluation and prediction programs of a study for a machine that need not\n"
        "be there, and says what they take. Nothing is run.",
        epilog="exit codes:\n  0  it fits\n  1  a program does not fit: the batch that would is named\n"
        "  2  it cannot be planned so",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("study", metavar="STUDY", help="with --config FILE and --config.KEY=VALUE, as for hyperlab run")
    add("--machine", required=True, metavar="NAME", help="v5e:4x4, v5p:2x2x1, v6e:2x2, h100x8, a100x8, cpu:8, ...")
    add("--cell", action="append", default=[], metavar="KEY", help="an arm that is looked at; by default all are")
    add("--json", action="store_true", help="print the plan as JSON")
    add("--out", metavar="DIR", help="write plan.html into this folder")
    add("--python", metavar="PATH", help="an interpreter whose environment has the compiler (plan-tpu, plan-cuda)")
    add("--fresh", action="store_true", help="compile what was compiled before, too")
    options, rest = parser.parse_known_args(words)
    return parser, options, rest


class _Told:
    """Tells what is compiled: on a terminal beside the seconds so far, else a line for each program."""

    def __enter__(self) -> "_Told":
        self.begun, self.status = time.monotonic(), None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
            self.status = Progress(*columns, console=Console(stderr=True), transient=True)
            self.status.start()
            self.task = self.status.add_task("")
        return self

    def __exit__(self, *_: object) -> None:
        if self.status is not None:
            self.status.stop()

    def __call__(self, said: str) -> None:
        if self.status is None:
            print(f"[{time.monotonic() - self.begun:4.0f} s] {said}", file=sys.stderr, flush=True)
        else:
            self.status.update(self.task, description=said)


def table(made: Mapping[str, Any]) -> pd.DataFrame:
    """A row for each program that was compiled."""
    return pd.DataFrame([_row(one) for one in made["programs"]])


def _row(one: Mapping[str, Any]) -> dict[str, str]:
    found = one.get("collectives", {}).values()
    count, moved = sum(count for count, _ in found), sum(size for _, size in found)
    sizes = {"given": "arguments", "temporary": "temporaries", "returned": "outputs", "needed": "needed"}
    return {
        "program": f"{one['kind']} {one['name']}",
        "of": one["cell"],
        "fits": "fails" if one["error"] and one["fits"] is None else {True: "yes", False: "no", None: "-"}[one["fits"]],
        **{head: number(one[name] / 2**20) if name in one else "-" for head, name in sizes.items()},
        "GFLOP": "-" if one["flops"] is None else number(one["flops"] / 1e9),
        "collective": f"{count} ({number(moved / 2**20)})" if count else "0",
        "least ms": number(one["seconds_bound"] * 1e3) if one["seconds_bound"] else "-",
        "by": one["bound_by"],
    }


def said(made: Mapping[str, Any]) -> list[str]:
    """A plan in sentences."""
    batch, memory = made["largest_batch"], made["memory"]
    mesh = ", ".join(f"{name}={size}" for name, size in made["mesh"].items()) or "one device"
    lines = [f"{made['study']} on {made['machine']} ({mesh}; {made['precision']}; batch {made['batch_size']})"]
    if refused := [one for one in made["programs"] if one["fits"] is False]:
        for one in refused:
            needed = f" needs {mib(one['needed'])} of {mib(memory)}" if "needed" in one else ""
            lines.append(f"DOES NOT FIT: {one['kind']}: {one['name']} of {one['cell']}{needed}")
    elif memory:
        most = max(one.get("needed", 0) for one in made["programs"])
        lines.append(f"fits: at most {mib(most)} of {mib(memory)} a device")
    for one in made["programs"]:
        if one["error"] and one["fits"] is None:
            lines.append(f"does not compile: {one['kind']}: {one['name']} of {one['cell']}: {one['error']}")
    if batch is not None:
        how = "compiled" if batch["confirmed"] else "estimated"
        size = f"{batch['batch']:,}" + (" and more" if batch.get("more") else "")
        lines.append(f"largest batch that fits: {size} ({how})" if batch["batch"] else "no batch fits")
    if made["seconds"]:
        lines.append(
            f"at least {span(made['hours'])}: {made['steps']:,} training steps of at least "
            f"{number(made['seconds'] * 1e3)} ms (a bound, not a forecast)"
        )
    else:
        lines.append(f"{made['steps']:,} training steps; no peaks of this machine are known, hence no bound of hours")
    if made["others"]:
        lines.append(f"{made['others']} programs, lighter than those below of their kind, are counted and not compiled")
    return lines + [f"waste: {sentence}" for sentence in made["waste"]]


def page(made: Mapping[str, Any]) -> Page:
    """A plan as a page of its own."""
    found = Page(f"What does {made['study']} take on {made['machine']}?")
    first, *rest = said(made)
    found.verdict(rest[0])
    found.findings([first, *rest[1:]])
    found.heading("Programs")
    found.table(table(made), "MiB are those of one device; operations those of all devices together.")
    found.heading("What this can and cannot say")
    for sentence in LIMITS:
        found.paragraph(sentence)
    found.heading("Made with")
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    found.paragraph(f"{versions}; peaks: {made['source']}")
    found.code(json.dumps(made, indent=1))
    return found


def span(hours: float) -> str:
    """A time in its unit, three digits.

    >>> span(30.0), span(0.1), span(0.001)
    ('30 hours', '6 minutes', '3.6 seconds')
    """
    if hours >= 1:
        return f"{number(hours)} hours"
    return f"{number(hours * 60)} minutes" if hours >= 1 / 60 else f"{number(hours * 3600)} seconds"


def mib(size: float | None) -> str:
    """Bytes in MiB, three digits.

    >>> mib(3 * 2**20), mib(None)
    ('3 MiB', '-')
    """
    return "-" if size is None else f"{size / 2**20:.3g} MiB" if size < 1000 * 2**20 else f"{size / 2**20:,.0f} MiB"
