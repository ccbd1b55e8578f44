"""Reads command lines as their programs would, without running anything."""

import argparse
import importlib
import re
import shlex
from unittest import mock

from hyperlab import cli, launch, planning
from hyperlab.cli.command import COMMANDS
from hyperlab.errors import HyperlabError
from hyperlab.studies import studies
from hyperlab.sweep import slurm

SAME = {
    "hyperlab.sweep": "sweep",
    "hyperlab.data.check": "data check",
    "hyperlab.data.build": "data build",
    "experiments.segment": "segment",
    "experiments.segment_uncertain": "segment-uncertain",
}
NOT_OURS = ("venv", "http.server")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


class Accepted(Exception):
    """A parser took a command line: its options, and the words that it left."""


def found(text):
    """The commands of a Markdown text: lines of plain fences, and of code in the text if it has arguments.

    Args:
      text: of a page.

    Returns:
      A list of lists of words.
    """
    plain = [code for language, code in FENCE.findall(text) if not language]
    inline = re.findall(r"`((?:hyperlab [a-z]+ |python -m \S+ )[^`]+)`", FENCE.sub("", text))
    lines = [part for code in plain for line in code.splitlines() for part in line.split("&&")]
    commands = [shlex.split(line, comments=True) for line in (*lines, *inline)]
    ours = [words for words in commands if words[:1] == ["hyperlab"] or words[:2] == ["python", "-m"]]
    return [words for words in ours if " ".join(words[1:]) not in COMMANDS]  # a name alone is no command line


def named_options(text):
    """The options that a Markdown text names in code of its own, without a command before them."""
    inline = re.findall(r"`([^`]+)`", FENCE.sub("", text))
    return [code.split()[0].partition("=")[0] for code in inline if re.match(r"--[a-z]", code)]


def read(words):
    """Has the program read its words.

    Raises:
      HyperlabError: a study, a config file, a key or a value that does not exist.
      SystemExit: an option that the program does not have.
    """
    words = _as_hyperlab(words)
    if words is None:
        return
    if words[0] == "run" and "--help" not in words[2:]:
        if words[1] != "--help":
            launch.parse(words[1], words[2:])
        return
    with mock.patch.object(argparse.ArgumentParser, "parse_args", _all), _partly():
        try:
            cli.main(words) if words[0] != "-m" else importlib.import_module(words[1]).main(words[2:])
        except Accepted as accepted:
            if words[0] == "sweep":
                _read_sweep(*accepted.args)
            if words[0] == "plan":
                options, rest = accepted.args
                planning.parse(options.machine)
                launch.parse(options.study, rest)
        except SystemExit as left:
            assert left.code == 0, words


def refusal(words):
    """Why the program would refuse its words; nothing if it takes them."""
    try:
        read(words)
    except (HyperlabError, AssertionError, SystemExit) as error:
        return f"{type(error).__name__}: {error}"


def _as_hyperlab(words):
    """The words after `hyperlab`; of a program of its own `-m`, its module and its words; None if it is not ours."""
    if words[0] == "hyperlab":
        return words[1:]
    module, rest = words[2], words[3:]
    if module in NOT_OURS:
        return None
    if module == "hyperlab.studies.local_sgd.spawn":
        return ["run", "local_sgd", *rest[1:]]
    if module in SAME:
        return [*SAME[module].split(), *rest]
    study = module.removeprefix("experiments.")
    return ["run", study, *rest] if study in studies() else ["-m", module, *rest]


_KNOWN = argparse.ArgumentParser.parse_known_args


def _all(parser, arguments=None, namespace=None):
    options, rest = _KNOWN(parser, arguments, namespace)
    if rest:
        parser.error(f"unknown: {rest}")
    raise Accepted(options, rest)


def _partly():
    def stop(parser, arguments=None, namespace=None):
        raise Accepted(*_KNOWN(parser, arguments, namespace))

    return mock.patch.object(argparse.ArgumentParser, "parse_known_args", stop)


def _read_sweep(options, rest):
    module = launch.config_module(options.config)
    config = module.get_config()
    assert list(module.sweep())
    for word in rest:
        flag, _, value = word.partition("=")
        if flag.startswith("--config."):
            launch.override(config, flag.removeprefix("--config."), value)
    slurm.settings([word.removeprefix("--slurm.") for word in rest if word.startswith("--slurm.")])
