"""`hyperlab segment-uncertain` as a module: see `hyperlab.cli.segment_uncertain`."""

import sys

from hyperlab.cli.segment_uncertain import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
