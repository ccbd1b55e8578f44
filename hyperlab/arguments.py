"""Command lines: a mistyped option is answered with the nearest, and help shows a command as it was typed."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hyperlab.errors import nearest

_OPTION = re.compile(r"--?[A-Za-z]\S*")  # a number or a text may begin with a dash as well

DESCRIBE = "--_describe"  # instead of a command line: the parser itself is wanted, for completion


class Described(Exception):
    """Says which parser would have read a command line; `parser` is it."""

    def __init__(self, parser: "Parser"):
        super().__init__(parser.prog)
        self.parser = parser


class Parser(argparse.ArgumentParser):
    """A parser that refuses options cut short, and that names the nearest of those it has.

    Args:
      command: what follows `hyperlab` in the command, for instance `data check`; empty where it is a module alone.
      module: what may be run with `python -m` instead.
      passes: options that are left to whoever parses, beside those of the parser; one that ends in a dot, such as
        `--config.`, stands for all that begin with it.
      **options: of `argparse.ArgumentParser`.

    >>> parser = Parser("data check", "hyperlab.data.check")
    >>> _ = parser.add_argument("--masks")
    >>> parser.prog
    'hyperlab data check'
    """

    def __init__(self, command: str, module: str = "", passes: Sequence[str] = (), **options: Any):
        super().__init__(prog=typed(command, module), allow_abbrev=False, **options)
        self.passes = tuple(passes)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As in argparse; what no option is called is refused first, before what is missing."""
        self._refuse_unknown(args)
        return super().parse_args(args, namespace)

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As in argparse; options that are neither the parser's own nor passed on are refused."""
        self._refuse_unknown(args)
        return super().parse_known_args(args, namespace)

    def _refuse_unknown(self, args: Sequence[str] | None) -> None:
        if args is not None and list(args) == [DESCRIBE]:
            raise Described(self)
        known = [name for name in self._option_string_actions if name.startswith("--")]
        for word in sys.argv[1:] if args is None else args:
            name = word.partition("=")[0]
            if name == "--":
                break
            if _OPTION.fullmatch(name) and name not in self._option_string_actions and not self._is_passed(name):
                asked = "--" + name.lstrip("-")
                self.error(f"unknown option {name}; {nearest(asked, [*known, *self.passes])}")

    def _is_passed(self, name: str) -> bool:
        return any(name == one or (one.endswith(".") and name.startswith(one)) for one in self.passes)


def typed(command: str, module: str = "") -> str:
    """How a command was started: `python -m MODULE` where that module is what runs, else `hyperlab COMMAND`.

    >>> typed("run stability", "experiments.stability")
    'hyperlab run stability'
    """
    runs = getattr(sys.modules.get("__main__"), "__spec__", None)
    started = runs.name.removesuffix(".__main__") if runs is not None else Path(sys.argv[0]).stem
    return f"python -m {module}" if not command or (module and started == module) else f"hyperlab {command}"
