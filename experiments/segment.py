"""`hyperlab segment` as a module; its functions are those of `hyperlab.cli.segment`."""

import sys
from typing import Any

from hyperlab.cli import segment
from hyperlab.cli.segment import main

__all__ = ["main"]


def __getattr__(name: str) -> Any:
    return getattr(segment, name)


if __name__ == "__main__":
    sys.exit(main())
