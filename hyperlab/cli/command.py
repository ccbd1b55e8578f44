"""The `hyperlab` command: each word of it is a Python function that does the same.

Nothing heavy is imported here, so that help and a mistyped word answer at once; a command imports what it needs.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from hyperlab.arguments import Parser
from hyperlab.errors import ConfigError, HyperlabError, MissingExtraError, nearest
from hyperlab.studies import studies

CODES = """exit codes:
  0    done, or stopped by a signal and saved: the same command goes on
  1    it ran, and something is wrong: a row of a sweep failed, data have problems
  2    it cannot run so: an unknown word or key, a folder or data that cannot be used
  130  interrupted by Ctrl-C
"""


class Command(NamedTuple):
    """A word of the command.

    Attributes:
      run: takes the arguments that follow it; returns an exit code, None for 0.
      summary: what it does, in a line.
      usage: what follows it.
    """

    run: Callable[[list[str]], int | None]
    summary: str
    usage: str


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see `hyperlab --help`.

    Args:
      arguments: by default those of the process.

    Returns:
      The exit code. Help and argparse's own errors leave by SystemExit, as in any command.

    >>> main(["reslts"])
    2
    """
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
        return code
    except (HyperlabError, MissingExtraError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `| head` has seen enough; what is still buffered has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(words: list[str]) -> int:
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0
    if words[0] == "--version":
        from hyperlab import __version__

        print(f"hyperlab {__version__}")
        return 0
    # the longest name first: `data check` is two words
    name = next((name for name in (" ".join(words[:2]), words[0]) if name in COMMANDS), None)
    if name is None:
        if words[0] == "data":
            _data(words[1:])
            return 0
        known = [*COMMANDS, "data", "help", "--help", "--version"]
        raise ConfigError(f"unknown command {words[0]!r}; {nearest(words[0], known)} (hyperlab --help lists them)")
    return COMMANDS[name].run(words[len(name.split()) :]) or 0


def _help() -> str:
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items())
    usages = "\n".join(f"  hyperlab {name} {command.usage}" for name, command in COMMANDS.items())
    return (
        "usage: hyperlab COMMAND ...\n\nExperiments with networks whose parameters come from somewhere else.\n\n"
        f"commands:\n{listed}\n\nin short:\n{usages}\n\n"
        f"hyperlab COMMAND --help says more; hyperlab --version names the version.\n\n{CODES}"
    )


# -- commands that are another module's, with its own help ----------------------------------------------------------


def _study(words: list[str]) -> int | None:
    known = studies()
    if not words or words[0] in ("-h", "--help"):
        width = max(map(len, known))
        listed = "\n".join(f"  {name:{width}}  {line}" for name, line in known.items())
        print(
            f"usage: hyperlab run STUDY {COMMANDS['run'].usage.partition(' ')[2]}\n\n"
            "Runs a study: on its embedded default, which needs no download and ends within minutes, or on a config.\n"
            f"The same folder again continues a run.\n\nstudies:\n{listed}\n\n"
            f"hyperlab run STUDY --help lists every key with its default and its meaning.\n\n{CODES}",
            file=sys.stdout if words else sys.stderr,
        )
        return 0 if words else 2
    if words[0].startswith("-"):
        raise ConfigError(f"the study comes before {words[0]}, hyperlab run STUDY ...; {nearest('', known)}")
    if words[0] not in known:
        raise ConfigError(f"unknown study {words[0]!r}; {nearest(words[0], known)}")
    from hyperlab import launch

    launch.main(f"experiments.{words[0]}", words[1:])
    return None


def _data(words: list[str]) -> None:
    named = {name: command.summary for name, command in COMMANDS.items() if name.startswith("data ")}
    if words and words[0] not in ("-h", "--help"):
        raise ConfigError(f"unknown command 'data {words[0]}'; {nearest(f'data {words[0]}', named)}")
    listed = "\n".join(f"  {name}  {summary}" for name, summary in named.items())
    print(f"usage: hyperlab data COMMAND ...\n\n{listed}\n\n{CODES}")


def _of(module: str) -> Callable[[list[str]], int | None]:
    """A command that is the `main` of a module."""
    return lambda words: importlib.import_module(module).main(words)


# -- commands of its own ---------------------------------------------------------------------------------------------


def _results(words: list[str]) -> int:
    parser = _parser("results", "Prints what all runs under a folder are and measured, and writes it as CSV and HTML.")
    add = parser.add_argument
    add("root", metavar="ROOT", help="a folder with run folders at any depth")
    add("--by", nargs="+", default=[], metavar="COLUMN", help="what makes a group (run arm): the spread of each metric")
    add("--metric", nargs="+", default=[], metavar="NAME", help="these metrics alone")
    add("--where", nargs="+", default=[], metavar="COLUMN=VALUE", help="these rows alone, for instance split=test")
    add("--config", nargs="*", metavar="KEY", help="config.KEY as columns; without KEY those that differ between runs")
    add("--out", metavar="DIR", help="where results.csv and results.html go; by default ROOT")
    add("--csv", action="store_true", help="write results.csv alone")
    add("--html", action="store_true", help="write results.html alone")
    add("--no-files", action="store_true", help="print alone")
    add("--no-cache", action="store_true", help="without use: every file is read each time")
    options = parser.parse_args(words)
    from hyperlab.cli import results

    return results.main(options)


def _report(words: list[str]) -> int:
    parser = _parser("report", "Writes tables, figures and report.html of a finished run again, from its files alone.")
    parser.add_argument("run", metavar="RUN", help="a run folder")
    options = parser.parse_args(words)
    from hyperlab.studies.again import write_again

    print(f"report: {write_again(options.run)}")
    return 0


def _export(words: list[str]) -> int:
    parser = _parser(
        "export",
        "Writes the network of a run as files that need no study. Runs of rescaling, uncertainty, in_context and\n"
        "stochastic keep one; those of stability, registration, pruning and local_sgd do not.",
    )
    parser.add_argument("run", metavar="RUN", help="the folder of a finished run")
    parser.add_argument(
        "--to",
        nargs="+",
        default=["safetensors"],
        metavar="FORMAT",
        choices=["safetensors", "stablehlo", "orbax"],
        help="safetensors (default), stablehlo (a program, for any batch size), orbax",
    )
    parser.add_argument("--out", metavar="DIR", help="a new folder; by default RUN/exported")
    parser.add_argument("--network", metavar="NAME", help="which, where a run kept several")
    add = parser.add_argument_group("any network that a run of rescaling kept, not the chosen one").add_argument
    add("--arm", metavar="NAME", help="of the run: fixed, sshn, ...")
    add("--phi", metavar="FACTOR", type=float, help="the rescaling factor that it is taken at")
    add("--seed", type=int, help="of the training; by default the first that was kept")
    add("--width", type=float, default=1.0, help="of the networks of the arm 'width'")
    options = parser.parse_args([part for word in words for part in _split(word)])
    from hyperlab.exports import export

    out, which = options.out or Path(options.run) / "exported", ("arm", "phi", "seed", "width")
    chosen = {name: getattr(options, name) for name in which}
    print(f"exported: {export(options.run, out, options.to, options.network, **chosen)}")
    return 0


def _split(word: str) -> list[str]:
    """`--to=a,b` as `--to a b`."""
    flag, equals, values = word.partition("=")
    return [flag, *values.split(",")] if equals and flag == "--to" else [word]


def _parser(name: str, description: str) -> Parser:
    return Parser(name, description=description, epilog=CODES, formatter_class=argparse.RawDescriptionHelpFormatter)


COMMANDS = {
    "run": Command(_study, "run a study", "STUDY [--config FILE] [--config.KEY=VALUE ...] [--workdir FOLDER]"),
    "sweep": Command(
        _of("hyperlab.sweep"),
        "run a study for every row of a table of configs",
        "--config FILE --workdir FOLDER [--dry_run] ...",
    ),
    "plan": Command(
        _of("hyperlab.cli.plan"),
        "what a study would take on a machine that need not be there",
        "STUDY --machine NAME [--config FILE] [--config.KEY=VALUE ...] [--json] [--out DIR]",
    ),
    "results": Command(
        _results,
        "results across runs: a table, CSV, a page",
        "ROOT [--by COLUMN ...] [--metric NAME ...] [--where COLUMN=VALUE ...]",
    ),
    "report": Command(_report, "write a run's report again", "RUN"),
    "data check": Command(
        _of("hyperlab.data.check"),
        "what is wrong with a folder of images and masks",
        "DIR [--masks NAME] [--subjects REGEX] ...",
    ),
    "data build": Command(
        _of("hyperlab.data.build"), "a store of tasks for in-context segmentation", "--source DIR ... --out STORE"
    ),
    "prepare": Command(
        _of("hyperlab.cli.prepare"),
        "a folder of scans as a store to train on by patches",
        "DIR --out STORE [--spacing median|keep|MM ...] ...",
    ),
    "segment": Command(
        _of("hyperlab.cli.segment"),
        "masks for images, from a few examples",
        "--support DIR --out DIR [--images DIR] [--params FILE]",
    ),
    "segment-uncertain": Command(
        _of("hyperlab.cli.segment_uncertain"),
        "masks with maps of uncertainty",
        "--model RUN --images DIR --out DIR",
    ),
    "predict": Command(
        _of("hyperlab.cli.predict"),
        "masks for a folder of scans, by a network of a run",
        "RUN --images DIR --out DIR [--arm NAME --phi FACTOR] [--labels DIR] [--probabilities]",
    ),
    "export": Command(
        _export,
        "the network of a run as files for elsewhere",
        "RUN [--to FORMAT ...] [--out DIR] [--arm NAME --phi FACTOR]",
    ),
    "completion": Command(_of("hyperlab.cli.completion"), "commands, options and config keys by TAB", "bash|zsh"),
}
