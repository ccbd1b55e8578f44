"""Configs: what is refused, what is the same, what differs."""

import json

import ml_collections
import pytest

from hyperlab.errors import ConfigError
from hyperlab.train import config as configs

pytestmark = pytest.mark.fast

DEFAULTS = {
    "steps": 10,
    "rate": 0.1,
    "name": "digits",
    "on": True,
    "widths": (64, 64),
    "free": None,
    "data": {"root": "", "limit": 0},
    "groups": {},
}


def changed(**values):
    return {**DEFAULTS, **values}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"rate": 1},
        {"widths": [8]},
        {"widths": ()},
        {"free": "anything"},
        {"free": 3},
        {"groups": {"a": 1}},
        {"data": {"root": "x", "limit": 3}},
    ],
)
def test_accepted(values):
    configs.validate(changed(**values), DEFAULTS)
    configs.validate(ml_collections.ConfigDict(changed(**values)), ml_collections.ConfigDict(DEFAULTS))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"step": 3}, "'step'.*'steps'"),
        ({"steps": 1.5}, "'steps'.*int"),
        ({"steps": True}, "'steps'.*int"),
        ({"on": 1}, "'on'.*bool"),
        ({"rate": "0.1"}, "'rate'.*float"),
        ({"widths": 3}, "'widths'.*tuple"),
        ({"widths": "ab"}, "'widths'.*tuple"),
        ({"widths": (1.5,)}, "'widths'"),
        ({"data": 3}, "'data'.*group"),
        ({"data": {"root": "", "limits": 3}}, "'data.limits'.*'data.limit'"),
        ({"data": {"root": ""}}, "'data.limit' is missing"),
    ],
)
def test_refused_and_named(values, message):
    with pytest.raises(ConfigError, match=message):
        configs.validate(changed(**values), DEFAULTS)


def test_the_digest_knows_values_and_not_their_order_or_container():
    one = ml_collections.ConfigDict({"b": (1, 2), "a": {"y": 1.0, "x": None}})
    other = {"a": {"x": None, "y": 1.0}, "b": [1, 2]}
    assert configs.digest(one) == configs.digest(other) != configs.digest({**other, "b": [2, 1]})
    assert json.loads(configs.to_json(one)) == other


def test_difference_names_dotted_keys_added_and_removed():
    old, new = {"a": {"x": 1, "gone": 0}, "same": (1,)}, {"a": {"x": 2}, "same": [1], "new": None}
    assert configs.difference(old, new) == {"a.x": (1, 2), "a.gone": (0, None), "new": (None, None)}


def test_what_json_cannot_hold_is_refused_with_its_key():
    with pytest.raises(ConfigError, match=r"config\.a\.f\[0\].*function"):
        configs.plain({"a": {"f": [lambda: 0]}})
