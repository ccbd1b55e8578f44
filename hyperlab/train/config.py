"""Configs as plain data: checked against a study's defaults, flattened, compared, and given a digest."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from hyperlab.errors import ConfigError, nearest

_GROUP = (Mapping, ml_collections.ConfigDict)  # a ConfigDict is no Mapping


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config as nested dicts of numbers, strings, booleans, None and lists: what JSON can hold.

    Raises:
      ConfigError: a value is none of these; its dotted key is named.

    >>> plain({"widths": (64, 64), "head": {"rank": 4}})
    {'widths': [64, 64], 'head': {'rank': 4}}
    """
    return _plain(config, "config")


def to_json(config: Mapping[str, Any]) -> str:
    """The config as sorted, indented JSON: what `config.json` holds."""
    return json.dumps(plain(config), indent=1, sort_keys=True) + "\n"


def digest(config: Mapping[str, Any]) -> str:
    """The first 16 digits of the SHA-256 of the sorted JSON: equal configs, equal digest, in any process.

    >>> digest({"a": 1, "b": (2, 3)}) == digest({"b": [2, 3], "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(plain(config), sort_keys=True).encode()).hexdigest()[:16]


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves by dotted key.

    >>> flat({"data": {"name": "digits"}, "seed": 0})
    {'data.name': 'digits', 'seed': 0}
    """
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, _GROUP) and value:
            leaves |= {f"{key}.{inner}": leaf for inner, leaf in flat(value).items()}
        else:
            leaves[key] = value
    return leaves


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """`{dotted key: (old value, new value)}` of what differs; a key that is absent counts as None.

    >>> difference({"seed": 0, "data": {"limit": 5}}, {"seed": 0, "data": {"limit": 6}})
    {'data.limit': (5, 6)}
    """
    one, other = flat(plain(old)), flat(plain(new))
    return {
        key: (one.get(key), other.get(key))
        for key in sorted(one.keys() | other.keys())
        if one.get(key) != other.get(key) or (key in one) != (key in other)
    }


def validate(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuses keys that the defaults do not have and values of another type than theirs.

    An integer may stand for a float, a list for a tuple; a default of None allows anything, and an
    empty mapping any keys. A single number does not stand for a tuple.

    Args:
      config: what a user gave, complete.
      defaults: the study's own `get_config()`.

    Raises:
      ConfigError: the dotted key, what was given, and the nearest valid key or the expected type.

    >>> validate({"train_stepz": 3}, {"train_steps": 3})
    Traceback (most recent call last):
      ...
    hyperlab.errors.ConfigError: unknown config key 'train_stepz'; did you mean 'train_steps'?
    """
    _validate(config, defaults, "")


def _validate(config: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str) -> None:
    for key, value in config.items():
        if key not in defaults:
            names = [prefix + name for name in defaults]
            raise ConfigError(f"unknown config key {prefix + key!r}; {nearest(prefix + key, names)}")
        default = defaults[key]
        if isinstance(default, _GROUP):
            if not isinstance(value, _GROUP):
                raise ConfigError(f"config key {prefix + key!r} is {value!r}, expected a group of keys")
            if default:
                _validate(value, default, f"{prefix}{key}.")
        elif not _fits(value, default):
            raise ConfigError(
                f"config key {prefix + key!r} is {value!r} ({type(value).__name__}), "
                f"expected {type(default).__name__}, for instance {default!r}"
            )
    for key in defaults:
        if key not in config:
            raise ConfigError(f"config key {prefix + key!r} is missing; its default is {defaults[key]!r}")


def _fits(value: Any, default: Any) -> bool:
    if default is None:
        return True
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, int):
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(default, str):
        return isinstance(value, str)
    if isinstance(default, Sequence):
        return (
            isinstance(value, Sequence)
            and not isinstance(value, str)
            and (not default or all(_fits(item, default[0]) for item in value))
        )
    return isinstance(value, type(default))


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, _GROUP):
        return {str(key): _plain(inner, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(inner, f"{where}[{index}]") for index, inner in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ConfigError(f"{where} is a {type(value).__name__}, expected a number, string, boolean, None or a tuple")
