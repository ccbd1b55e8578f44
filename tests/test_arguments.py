"""Command lines: mistyped options, and how help names a command."""

import subprocess
import sys

import pytest

from hyperlab.arguments import Parser, typed

pytestmark = pytest.mark.fast


def parser():
    made = Parser("data check", "hyperlab.data.check")
    made.add_argument("root")
    made.add_argument("--masks", required=True)
    made.add_argument("--mask-suffix", nargs="*")
    return made


@pytest.mark.parametrize("words", [["--maks", "x"], ["there", "--maks=x"], ["there", "--masks", "x", "--mas", "y"]])
def test_a_mistyped_option_is_answered_with_the_nearest(words, capsys):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(words)
    assert ended.value.code == 2
    assert "did you mean '--masks'" in capsys.readouterr().err


def test_what_follows_two_dashes_is_no_option():
    assert parser().parse_args(["--masks", "x", "--", "--there"]).root == "--there"


def test_who_asks_for_what_is_known_gets_the_rest():
    known, rest = parser().parse_known_args(["there", "--masks", "x", "--slurm.time", "1"])
    assert known.masks == "x" and rest == ["--slurm.time", "1"]


def test_values_may_have_dashes_and_equals():
    given = parser().parse_args(["a=b", "--masks=-x=y", "--mask-suffix", "1", "2"])
    assert (given.root, given.masks, given.mask_suffix) == ("a=b", "-x=y", ["1", "2"])


def test_a_module_alone_is_named_as_one():
    assert typed("", "experiments.pruning_suite") == "python -m experiments.pruning_suite"


@pytest.mark.slow
@pytest.mark.parametrize(
    "words, shown",
    [
        (["hyperlab", "data", "check"], "usage: hyperlab data check"),
        (["hyperlab.data.check"], "usage: python -m hyperlab.data.check"),
        (["hyperlab", "run", "pruning"], "hyperlab run pruning [--config"),
        (["experiments.pruning"], "python -m experiments.pruning [--config"),
    ],
)
def test_help_names_the_command_as_it_was_typed(words, shown):
    found = subprocess.run([sys.executable, "-m", *words, "--help"], capture_output=True, text=True, check=True)
    assert found.stdout.startswith(shown)
