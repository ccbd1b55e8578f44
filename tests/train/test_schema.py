"""Fields: what each kind allows, what it refuses, and in which words."""

import math

import pytest

from hyperlab.errors import ConfigError
from hyperlab.train import schema, settings
from hyperlab.train.fields import Choice, Contrast, Duration, Flag, Number, Several, Table, Text, Whole

pytestmark = pytest.mark.fast

SHARE = Number("", low=0, below=1)
RATES = Several("", Number("", above=0))
DRAWS = Several("", Whole("", low=2), rising=True)
SIZE = Several("", Whole("", low=1), least=2, most=3, different=False, empty=True)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        (SHARE, [0, 0.0, 0.999, 1e-37]),
        (Number(""), [-1, 0, 3.4e38]),
        (Number("", above=0, high=1), [1, 1.0, 1e-6]),
        (Whole("", low=1), [1, 2**31 - 1]),
        (settings.SEED, [0, 2**32 - 1]),
        (Choice("", ("a", "")), ["a", ""]),
        (Text(""), ["", "~/données du projet", "a b/c'd%"]),
        (Flag(""), [True, False]),
        (Flag("", undecided=True), [None]),
        (Duration(""), ["1 step", "500", "1e5 examples", "0.5 epochs", "0.0000000001 steps"]),
        (Duration("", default="length"), [""]),
        (Contrast(""), ["mip - default", "random~snip - snip"]),
        (Contrast("", ("dice",)), ["dice: a - b"]),
        (RATES, [(0.1,), [0.1, 0.3], (0.3, 0.1)]),
        (DRAWS, [(2,), (2, 5, 10)]),
        (SIZE, [(), (32, 32), (20, 28, 20)]),
        (Several("", Number("", low=0), least=0), [()]),
        (Table("", Whole("", low=1), ("train", "test")), [{}, {"train": 5}]),
    ],
)
def test_allowed(field, values):
    for value in values:
        field.check("key", value)


@pytest.mark.parametrize(
    ("field", "values", "expected"),
    [
        (SHARE, [-1e-9, 1, 1.0, math.nan, math.inf, True, "0.5", None], "a number from 0 to below 1"),
        (Number("", above=0), [0, -0.0, -math.inf, 1e39, 1e-46, 10**400], "a number above 0"),
        (Number("", low=0, high=1), [1.0001], "a number from 0 to 1$"),
        (Number("", above=0, high=1), [0, 2], "a number above 0 and at most 1$"),
        (Whole("", low=1), [0, -1, 1.0, True, 2**31, 2**70, 10**5000], "a whole number of at least 1"),
        (settings.SEED, [-1, 2**32, 2**70], "a whole number from 0 to 4294967295 "),
        (Choice("", ("iid", "shards"), "kind"), ["shard"], "unknown kind 'shard'; did you mean 'shards'"),
        (Choice("", ("iid", "shards")), [3, None], "one of 'iid', 'shards'"),
        (Text(""), ["a\0b", "a\nb", "\x1b[2J", 3], "text without control characters"),
        (Flag(""), [1, None, "yes"], "True or False$"),
        (Duration(""), ["", "0 steps", "0.0 epochs", "-1 steps", "1e400 steps", "3e9 steps", "ten", 5], "a duration"),
        (Contrast(""), ["a", "a - a", "a - b - c", " - b", "a - ", "a-b", 3], "'first - second' of two different arms"),
        (Contrast("", ("dice", "nll")), ["a - b", "dise: a - b", "dice: a - a"], "the metric of dice, nll"),
        (RATES, [(), (0.1, 0.1), (0.1, -1.0), 0.1, "0.1", {0.1}], "one or more different numbers above 0$"),
        (DRAWS, [(5, 2), (2, 2), (1, 2)], "one or more rising whole numbers of at least 2$"),
        (SIZE, [(32,), (0, 32), (1, 2, 3, 4)], "2 to 3 whole numbers of at least 1, or none$"),
        (Several("", Whole("", low=1), least=2, most=2), [(1,)], "expected 2 different whole numbers"),
        (Several("", Contrast(""), least=0, most=3), [("a - b", "a - b")], "at most 3 different comparisons"),
        (Several("", Choice("", ("mip", "plain"), "arm")), [("mip", "plane")], "unknown arm 'plane'; .*'plain'"),
        (Table("", Whole("", low=1), ("train", "test")), [{"trian": 1}, {"train": 0}, 5], "by 'train', 'test'"),
    ],
)
def test_refused_with_the_key_and_what_is_expected(field, values, expected):
    for value in values:
        with pytest.raises(ConfigError, match=expected) as caught:
            field.check("some.key", value)
        assert str(caught.value).startswith("some.key") and len(str(caught.value)) < 400


def test_a_schema_names_the_dotted_key():
    fields = {"data": schema.under("data", {"limit": Whole("", low=0), "root": Text("")})}
    schema.check({"data": {"limit": 0, "root": ""}}, fields)
    with pytest.raises(ConfigError, match=r"^data\.limit is -1"):
        schema.check({"data": {"limit": -1, "root": ""}}, fields)


def test_help_has_each_key_once_its_value_whole_and_no_line_too_long():
    long = tuple(f"arm_number_{i}" for i in range(12))
    fields = {"what": {"arms": Several("compared", Choice("", long)), "rate": Number("of " + "learning " * 20)}}
    text = schema.listed({"arms": long, "rate": 0.1}, fields)
    assert max(map(len, text.splitlines())) <= 100
    words = text.split()
    assert text.startswith("what\n") and words.count("learning") == 20 and " ".join(words).count(repr(long)) == 1


@pytest.mark.parametrize("contrast", ["mip - plane", "dice: plane - mip"])
def test_contrasts_name_arms_that_are_run(contrast):
    settings.check_contrasts("contrasts", ("mip - plain", "dice: mip - plain"), ("mip", "plain"))
    with pytest.raises(ConfigError, match=r"contrasts: '.*' names 'plane', which is not run; did you mean 'plain'"):
        settings.check_contrasts("contrasts", (contrast,), ("mip", "plain"))
