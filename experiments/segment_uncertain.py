"""`hyperlab segment-uncertain` as a module; its functions are those of `hyperlab.cli.segment_uncertain`."""

import sys
from typing import Any

from hyperlab.cli import segment_uncertain
from hyperlab.cli.segment_uncertain import main

__all__ = ["main"]


def __getattr__(name: str) -> Any:
    return getattr(segment_uncertain, name)


if __name__ == "__main__":
    sys.exit(main())
