"""Completion by TAB: commands, options, studies, config keys and what may be given to them.

    eval "$(hyperlab completion bash)"      # in ~/.bashrc; `zsh` in ~/.zshrc, after compinit

An answer takes about as long as Python takes to start: nothing heavy is imported. Options and keys are read from a file
(`cli.words`), which another process writes when a source has changed; until it is there, commands and studies alone are
completed. Where there is nothing to say, the shell completes names of files.
"""

import contextlib
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from hyperlab.cli import words as vocabulary
from hyperlab.cli.words import RUN_OPTIONS, Option, Words
from hyperlab.errors import ConfigError, nearest
from hyperlab.studies import studies

BASH = r"""_hyperlab() {
  local IFS=$'\n'
  COMPREPLY=($("$1" completion --answer "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null))
  [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=.] ]] && compopt -o nospace
}
complete -o default -o bashdefault -F _hyperlab hyperlab
"""

ZSH = r"""_hyperlab() {
  local -a found open
  found=("${(@f)$("${words[1]}" completion --answer "${(j: :)words[1,CURRENT-1]} $PREFIX" 2>/dev/null)}")
  found=(${found:#})
  open=(${(M)found:#*[=.]})
  found=(${found:#*[=.]})
  if (( $#open + $#found )); then
    compadd -S '' -a open
    compadd -a found
  else
    compset -P '*='
    _files
  fi
}
compdef _hyperlab hyperlab
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH}


def main(arguments: Sequence[str]) -> int:
    """The command: the script of a shell; with `--answer LINE [WORDBREAKS]`, which that calls, one candidate a line."""
    if arguments[:1] == ["--answer"]:
        line, breaks = [*arguments[1:], "", ""][:2]
        typed = split(line)
        print("\n".join(_cut(candidate, typed[-1], breaks) for candidate in candidates(typed[1:], _words())))
        return 0
    if len(arguments) != 1 or arguments[0] not in SCRIPTS:
        given = " ".join(arguments)
        raise ConfigError(f"completion {given!r}: which shell? {nearest(given, SCRIPTS)}")
    _words()
    print(SCRIPTS[arguments[0]], end="")
    return 0


def split(line: str) -> list[str]:
    """A line up to the cursor as words, the last one unfinished.

    >>> split("hyperlab run sta"), split("hyperlab run "), split("hyperlab run stability --config.arms='(")
    (['hyperlab', 'run', 'sta'], ['hyperlab', 'run', ''], ['hyperlab', 'run', 'stability', '--config.arms=('])
    """
    for ending in ("", "'", '"'):
        with contextlib.suppress(ValueError):
            found = shlex.split(line + ending)
            return [*found, ""] if not ending and line[-1:].isspace() else found
    return line.split()


_OF_RUN_ALONE = ("--workdir=", "--allow_config_change", "--print_config")  # a plan has no run folder


def candidates(words: Sequence[str], known: Words) -> list[str]:
    """What the last word may become.

    Args:
      words: after `hyperlab`; the last is unfinished, perhaps empty.
      known: of all commands.

    >>> known = Words({"predict": {"--arm": Option("one", []), "--out": Option("one", [])}}, ["predict"], {})
    >>> candidates(["pre"], known), candidates(["predict", "--o"], known)
    (['predict', 'prepare'], ['--out'])
    """
    from hyperlab.cli.command import COMMANDS

    *before, current = words
    name = next((name for name in (" ".join(before[:2]), *before[:1]) if name in COMMANDS), None)
    if name == "run":
        found = _of_run(before[1:], current, known)
    elif name == "plan":
        found = [one for one in _of_run(before[1:], current, known) if one not in _OF_RUN_ALONE]
        found += _of_command(name, before[1:], current, known) if before[1:] else []
    elif name == "completion":
        found = list(SCRIPTS)
    elif name is not None:
        found = _of_command(name, before[len(name.split()) :], current, known)
    elif before[:1] == ["help"] or not before:
        found = [*dict.fromkeys(one.split()[0] for one in COMMANDS)] + ["--help", "--version"] * (not before)
    else:  # the first of two words
        found = [one.split()[1] for one in COMMANDS if one.startswith(f"{before[0]} ")]
    return sorted({one for one in found if one.startswith(current)})


def _of_run(before: Sequence[str], current: str, known: Words) -> list[str]:
    if not before:
        return list(studies())
    if before[-1] == "--config":
        return _config_files(before[0]) if current.startswith("c") else []
    keys = known.studies.get(before[0], {})
    option, equals, _ = current.partition("=")
    if equals:
        if option == "--config":
            return [f"--config={file}" for file in _config_files(before[0])]
        return [f"{option}={one}" for one in keys.get(option.removeprefix("--config."), [])]
    if current.startswith("--config."):
        return _keys(current, keys)
    return [*RUN_OPTIONS, "--config."] if before[-1] != "--workdir" else []


def _keys(current: str, keys: dict[str, list[str]]) -> list[str]:
    """Keys, and of groups their names until one is entered."""
    place = len(current.rpartition(".")[0]) + 1
    found = set()
    for key in (f"--config.{key}=" for key in keys):
        if key.startswith(current):
            rest = key[place:]
            found.add(key[:place] + (rest.partition(".")[0] + "." if "." in rest else rest))
    return [one for group in found for one in (_keys(group, keys) if len(found) == 1 and group[-1] == "." else [group])]


def _of_command(name: str, before: Sequence[str], current: str, known: Words) -> list[str]:
    options: dict[str, Option] = known.commands.get(name, {})
    given, equals, _ = current.partition("=")
    if equals:
        return [f"{given}={one}" for one in _values(name, given, options, before)]
    at = next((place for place in range(len(before) - 1, -1, -1) if before[place].startswith("-")), None)
    if at is not None and not current.startswith("-"):
        takes = options.get(before[at], Option("", [])).takes
        if takes == "several" or (takes == "one" and at == len(before) - 1):
            return _values(name, before[at], options, before)
    return list(options) if current.startswith("-") or name not in known.positional else []


def _values(name: str, option: str, options: dict[str, Option], before: Sequence[str]) -> list[str]:
    """Choices of an option; of `--arm`, those of the run that is named first."""
    if option == "--arm" and before:
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
            return list(json.loads((Path(before[0]).expanduser() / "config.json").read_text()).get("arms", []))
    return options[option].choices if option in options else []


def _config_files(study: str) -> list[str]:
    root = Path(__file__).parents[2]
    return [str(path.relative_to(root)) for path in (root / "configs" / study).glob("[!_]*.py")]


def _words() -> Words:
    found = vocabulary.known()
    if found is None:
        vocabulary.learn_meanwhile()
    return found or Words({}, [], {})


def _cut(candidate: str, typed: str, breaks: str) -> str:
    """Without what is before the last character of the typed word that parts words for the shell, as bash has it."""
    places = [typed.rfind(mark) for mark in "=:" if mark in breaks]
    return candidate[max(places, default=-1) + 1 :]
