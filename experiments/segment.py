"""`hyperlab segment` as a module: see `hyperlab.cli.segment`."""

import sys

from hyperlab.cli.segment import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
