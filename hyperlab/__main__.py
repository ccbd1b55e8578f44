"""`python -m hyperlab` is the command `hyperlab`."""

import sys

from hyperlab.cli import main

if __name__ == "__main__":
    sys.exit(main())
