"""What the survey of 81 pruning papers counted, counted again from its sheets.

    python -m experiments.pruning_survey --root DIR --out DIR

`--root` is the folder with the survey's sheets ("Results-Grid view.csv", "Papers-Grid view.csv", ...), or a checkout of
JJGO/shrinkbench, where they lie under analysis/assets/existing-results (MIT licence). They are no part of this library.
Into `--out` go a page (report.html), every number beside the published one (statistics.csv), the comparisons that
papers claim with what comes of them (comparisons.csv), and the operating points in the form of
`hyperlab.data.published` (points.csv), to be drawn behind one's own curves.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hyperlab.arguments import Parser
from hyperlab.data import published
from hyperlab.errors import ConfigError, HyperlabError
from hyperlab.report.tables import write_table
from hyperlab.studies.pruning_survey import page as pruning_survey


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; bad input ends with one message and code 2."""
    options = _parser().parse_args(arguments)
    try:
        if options.out.exists() and not options.out.is_dir():
            raise ConfigError(f"--out {options.out} is a file, expected a folder")
        survey = published.read_survey(options.root)
        page = pruning_survey.write(survey, options.out)
        points = published.operating_points(survey)
        write_table(options.out / "points.csv", points[list(published.COLUMNS)])
    except HyperlabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(survey.results)} rows of {len(survey.papers)} papers; report: {page}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser("", "experiments.pruning_survey", description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of the sheets, or a checkout that has them")
    parser.add_argument("--out", type=Path, required=True, help="folder for the page and the tables")
    return parser


if __name__ == "__main__":
    sys.exit(main())
