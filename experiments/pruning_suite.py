"""Finished pruning studies on one page: the same methods over several data sets and architectures.

    python -m experiments.pruning_suite RUN [RUN ...] --out DIR

Every RUN is the folder of a finished `experiments.pruning`. Into `--out` go a page (report.html), all test scores
(suite.csv), the contrasts (contrasts.csv) and the rules of a fair evaluation, decided for all runs together
(rules.csv). Runs of one data set and architecture must start from the same parents, seed by seed; `--across-parents`
draws them all the same, and marks every figure.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hyperlab.arguments import Parser
from hyperlab.errors import ConfigError, HyperlabError
from hyperlab.studies.pruning import suite as pruning_suite


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; bad input ends with one message and code 2."""
    options = _parser().parse_args(arguments)
    try:
        if options.out.exists() and not options.out.is_dir():
            raise ConfigError(f"--out {options.out} is a file, expected a folder")
        suite = pruning_suite.read(options.runs, across_parents=options.across_parents)
        page = pruning_suite.write(suite, options.out)
    except HyperlabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(suite.runs)} runs of {len(suite.networks)} networks; report: {page}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser("", "experiments.pruning_suite", description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a finished pruning study")
    parser.add_argument("--out", type=Path, required=True, help="folder for the page and the tables")
    parser.add_argument(
        "--across-parents", action="store_true", help="one axis for runs that start from different parents"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
