"""Command lines: mistyped options, and how help names a command."""

import subprocess
import sys

import pytest

from hyperlab.arguments import DESCRIBE, Described, Parser, typed

pytestmark = pytest.mark.fast


def parser():
    made = Parser("data check", "hyperlab.data.check")
    made.add_argument("root")
    made.add_argument("--masks", required=True)
    made.add_argument("--mask-suffix", nargs="*")
    return made


@pytest.mark.parametrize(
    "words", [["--maks", "x"], ["there", "--maks=x"], ["there", "--masks", "x", "--mas", "y"], ["-maks", "x"]]
)
def test_a_mistyped_option_is_answered_with_the_nearest(words, capsys):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(words)
    assert ended.value.code == 2
    assert "did you mean '--masks'" in capsys.readouterr().err


def test_what_follows_two_dashes_is_no_option():
    assert parser().parse_args(["--masks", "x", "--", "--there"]).root == "--there"


def test_who_passes_options_on_gets_them_and_no_others(capsys):
    made = Parser("sweep", "hyperlab.sweep", passes=("--slurm.", "--config.", "--again"))
    made.add_argument("--config")
    known, rest = made.parse_known_args(["--config", "x", "--slurm.time", "1", "--config.a.b=2", "--again"])
    assert known.config == "x" and rest == ["--slurm.time", "1", "--config.a.b=2", "--again"]
    for word in ("--cofig", "--slrum.time=1", "--agian", "--again.more", "-config"):
        with pytest.raises(SystemExit):
            made.parse_known_args([word, "x"])
        assert f"unknown option {word.partition('=')[0]}; did you mean" in capsys.readouterr().err


def test_numbers_and_texts_may_begin_with_a_dash():
    made = Parser("data check")
    made.add_argument("numbers", nargs="+")
    assert made.parse_args(["-3", "-.5", "-", "-a sentence"]).numbers == ["-3", "-.5", "-", "-a sentence"]


def test_a_parser_is_had_by_asking_for_it():
    with pytest.raises(Described) as described:
        parser().parse_args([DESCRIBE])
    assert described.value.parser.prog == "hyperlab data check"


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
