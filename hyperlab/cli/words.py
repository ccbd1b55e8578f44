"""Every word that the command takes: options of each command, keys of each study, and what may be given to them.

They are asked of the parsers and schemas themselves, which takes seconds, and kept in a file until a source changes.
"""

import argparse
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from hyperlab.arguments import DESCRIBE, Described

_PACKAGES = ("hyperlab", "experiments")
_PATIENCE = 120.0  # seconds in which another process may be asking

RUN_OPTIONS = ("--config=", "--workdir=", "--allow_config_change", "--print_config", "--help")


class Option(NamedTuple):
    """What a command line may hold after an option.

    Attributes:
      takes: the values that may follow: "" none, "one", "several".
      choices: what they are, where they are few.
    """

    takes: str
    choices: list[str]


class Words(NamedTuple):
    """The words of all commands.

    Attributes:
      commands: options by command.
      positional: commands that take a word that is no option.
      studies: of each study, what may be given to each dotted key; empty where it is no choice.
    """

    commands: dict[str, dict[str, Option]]
    positional: list[str]
    studies: dict[str, dict[str, list[str]]]


def place() -> Path:
    """The file that they are kept in: below `HYPERLAB_CACHE`, or in the cache of the user."""
    folder = os.environ.get("HYPERLAB_CACHE")
    root = Path(folder) if folder else Path.home() / ".cache" / "hyperlab"
    return root / f"words-{_installed()}-{_state()}.json"


def known() -> Words | None:
    """The words, if they are known for the sources as they are."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        held = json.loads(place().read_text())
        commands = {name: {key: Option(*one) for key, one in each.items()} for name, each in held["commands"].items()}
        return Words(commands, held["positional"], held["studies"])
    return None


def learn() -> Words:
    """Asks for the words and keeps them; those of older sources are removed."""
    found = Words(*_of_commands(), _of_studies())
    path = place()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix="words-", suffix=".partial", delete=False) as file:
        json.dump(found._asdict(), file)
    os.replace(file.name, path)
    for old in set(path.parent.glob(f"words-{_installed()}-*")) - {path}:
        old.unlink(missing_ok=True)
    return found


def learn_meanwhile() -> None:
    """`learn` in a process of its own, unless there is one already or nothing may be kept."""
    if os.environ.get("HYPERLAB_CACHE") == "":
        return
    begun = place().with_suffix(".begun")
    with contextlib.suppress(OSError):
        if begun.exists() and time.time() - begun.stat().st_mtime < _PATIENCE:
            return
        begun.parent.mkdir(parents=True, exist_ok=True)
        begun.touch()
        quiet: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}  # an accelerator is not touched for that
        subprocess.Popen([sys.executable, "-m", __name__], env=environment, start_new_session=True, **quiet)


def _installed() -> str:
    """A digest of where this library is: another environment has words of its own."""
    return hashlib.sha256(str(Path(__file__).parents[2]).encode()).hexdigest()[:8]


def _state() -> str:
    """A digest of which sources there are, and since when."""
    root = Path(__file__).parents[2]
    files = sorted(entry for package in _PACKAGES for entry in _sources(str(root / package)))
    return hashlib.sha256(repr(files).encode()).hexdigest()[:16]


def _sources(folder: str) -> list[tuple[str, int]]:
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir() and entry.name != "__pycache__":
                found += _sources(entry.path)
            elif entry.name.endswith(".py"):
                found.append((entry.path, entry.stat().st_mtime_ns))
    return found


def _of_commands() -> tuple[dict[str, dict[str, Option]], list[str]]:
    from hyperlab.cli.command import COMMANDS

    options, positional = {}, []
    for name, command in COMMANDS.items():
        try:
            command.run([DESCRIBE])
        except Described as described:
            actions = described.parser._actions
            options[name] = {word: _option(one) for one in actions for word in one.option_strings if word[:2] == "--"}
            options[name] |= {word: Option("", []) for word in described.parser.passes}
            positional += [name] * any(not one.option_strings for one in actions)
        except Exception:  # `run` and the like, which have no parser
            continue
    return options, positional


def _option(action: argparse.Action) -> Option:
    takes = "" if action.nargs == 0 else "several" if action.nargs in ("+", "*") else "one"
    return Option(takes, [str(one) for one in action.choices or ()])


def _of_studies() -> dict[str, dict[str, list[str]]]:
    from hyperlab import launch
    from hyperlab.data import datasets
    from hyperlab.studies import studies

    found = {name: launch.keys(name) for name in studies()}
    for keys in found.values():
        keys |= {key: sorted(datasets.SETS) for key, given in keys.items() if key.endswith("data.name") and not given}
    return found


if __name__ == "__main__":
    learn()
