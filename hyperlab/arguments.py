"""Command lines: a mistyped option is answered with the nearest, and help shows a command as it was typed."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hyperlab.errors import nearest


class Parser(argparse.ArgumentParser):
    """A parser that refuses options cut short, and that names the nearest of those it has.

    Args:
      command: what follows `hyperlab` in the command, for instance `data check`; empty where it is a module alone.
      module: what may be run with `python -m` instead.
      **options: of `argparse.ArgumentParser`.

    >>> parser = Parser("data check", "hyperlab.data.check")
    >>> _ = parser.add_argument("--masks")
    >>> parser.prog
    'hyperlab data check'
    """

    def __init__(self, command: str, module: str = "", **options: Any):
        super().__init__(prog=typed(command, module), allow_abbrev=False, **options)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As in argparse; what no option is called is refused first, before what is missing.

        `parse_known_args` leaves it to its caller, as in argparse.
        """
        known = self._option_string_actions
        for word in sys.argv[1:] if args is None else args:
            name = word.partition("=")[0]
            if name == "--":
                break
            if name.startswith("--") and name not in known:
                self.error(f"unknown option {name}; {nearest(name, [each for each in known if each.startswith('--')])}")
        return super().parse_args(args, namespace)


def typed(command: str, module: str = "") -> str:
    """How a command was started: `python -m MODULE` where that module is what runs, else `hyperlab COMMAND`.

    >>> typed("run stability", "experiments.stability")
    'hyperlab run stability'
    """
    runs = getattr(sys.modules.get("__main__"), "__spec__", None)
    started = runs.name.removesuffix(".__main__") if runs is not None else Path(sys.argv[0]).stem
    return f"python -m {module}" if not command or (module and started == module) else f"hyperlab {command}"
