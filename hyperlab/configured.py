"""From words on a command line to a complete config, and the modules that both are of.

A config is the study's `get_config()` or that of a file, with single values replaced. It may have the study's
`OPTIONAL` keys and those of `train.engine` besides; no other.
"""

import ast
import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections

from hyperlab.errors import ConfigError, HyperlabError, nearest
from hyperlab.studies import studies
from hyperlab.train import config as configs
from hyperlab.train import engine
from hyperlab.train.fields import Choice


def parse(study: str, arguments: Sequence[str]) -> tuple[dict[str, Any], ml_collections.ConfigDict]:
    """Turns a command line into options and a resolved config of known keys; whether it can be run is for `check`.

    Raises:
      ConfigError: an unknown option, study or key, a value of another type, or a config of another study.

    >>> options, config = parse("stability", ["--config.seed=3", "--workdir", "runs/x"])
    >>> config.seed, options["workdir"]
    (3, 'runs/x')
    """
    options: dict[str, Any] = {"workdir": None, "allow_config_change": False, "print_config": False}
    file, overrides = None, []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        flag = "--" + flag.lstrip("-") if flag.startswith("-") else flag
        name = flag[2:]
        if flag in ("--allow_config_change", "--print_config") and not equals:
            options[name] = True
        elif flag in ("--config", "--workdir") or flag.startswith("--config."):
            if not equals:
                if not rest:
                    raise ConfigError(f"{flag} needs a value")
                value = rest.pop(0)
            if flag == "--config":
                file = value
            elif flag == "--workdir":
                options["workdir"] = value
            else:
                overrides.append((name.removeprefix("config."), value))
        else:
            flags = ["--config", "--workdir", "--allow_config_change", "--print_config"]
            raise ConfigError(f"unknown argument {word!r}; {nearest(flag, flags)}; keys go as --config.KEY=VALUE")
    defaults = load_study(study).get_config()
    config = defaults if file is None else _read_config(file)
    if config.get("study") != study:
        raise ConfigError(f"{file} is a config of study {config.get('study')!r}, not of {study!r}")
    for key, text in overrides:
        override(config, key, text)
    configs.validate(config, defaults_of(load_study(study), config))
    return options, config


def override(config: ml_collections.ConfigDict, key: str, text: str) -> None:
    """Replaces one value of a config, read as the type that it has.

    Args:
      config: changed in place.
      key: with dots.
      text: what was typed: a number, `True`, `(1, 2)`, or a string without quotes.

    Raises:
      ConfigError: an unknown key (the nearest is named), or a text that is not of the type.

    >>> config = ml_collections.ConfigDict({"widths": (64, 64), "rate": 0.1, "name": "digits"})
    >>> override(config, "widths", "(8,)"); override(config, "rate", "1"); override(config, "name", "mnist")
    >>> config.widths, config.rate, config.name
    ((8,), 1.0, 'mnist')
    """
    leaves, optional = configs.flat(config), optional_keys_of(config)
    if text.startswith("{") and any(known.startswith(f"{key}.") for known in optional):
        for member, given in _literal(key, text).items():
            override(config, f"{key}.{member}", str(given))
        return
    *groups, last = key.split(".")
    if key in optional and key not in leaves:
        put(config, key, optional[key])
    owner = config
    for group in groups:
        owner = owner.get(group) if isinstance(owner, ml_collections.ConfigDict) else None
    if not isinstance(owner, ml_collections.ConfigDict) or last not in owner:
        raise ConfigError(f"unknown config key {key!r}; {nearest(key, [*leaves, *optional])}")
    current = owner[last]
    if isinstance(current, ml_collections.ConfigDict):
        members = ", ".join(f"{key}.{name}" for name in current)
        raise ConfigError(f"config key {key!r} is a group; " + (f"set one of {members}" if members else "it is empty"))
    value: Any = text
    if not isinstance(current, str):
        with contextlib.suppress(ValueError, SyntaxError):
            value = ast.literal_eval(text)
    if isinstance(current, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(value, list):
        value = tuple(value)
    configs.validate({key: value}, {key: current})
    with owner.ignore_type():
        owner[last] = value


def config_module(file: str) -> Any:
    """The module of a config file `path.py`; found from here, or beside the installed package.

    Raises:
      ConfigError: there is no such file (the nearest are named), or it fails.
    """
    path = Path(file if file.endswith(".py") else file + ".py")
    found = next((place for place in (path, installed_root() / path) if place.is_file()), None)
    if found is None:
        configs_folder = installed_root() / "configs"
        known = [p.relative_to(installed_root()) for p in configs_folder.rglob("*.py") if p.name != "__init__.py"]
        raise ConfigError(f"config file {path} does not exist; {nearest(str(path), map(str, known))}")
    spec = importlib.util.spec_from_file_location(f"_config_{found.stem}", found)
    assert spec is not None and spec.loader is not None  # as for every file that ends in .py
    module, loader = importlib.util.module_from_spec(spec), spec.loader
    _calling(found, lambda: loader.exec_module(module))
    return module


def _read_config(file: str) -> ml_collections.ConfigDict:
    """The config of a file `path.py`, or `path.py:argument`."""
    path, colon, argument = file.partition(".py:")
    module = config_module(path + ".py" if colon else path)
    return _calling(path, lambda: module.get_config(argument) if colon else module.get_config())


def _calling(file: Any, function: Any) -> Any:
    try:
        return function()
    except HyperlabError:
        raise
    except Exception as error:
        raise ConfigError(f"config file {file} failed: {type(error).__name__}: {error}") from error


def installed_root() -> Path:
    """The folder that holds the packages `experiments` and `configs`: the checkout, or site-packages."""
    return Path(str(importlib.import_module("configs").__file__)).parent.parent


def load_study(name: Any):
    """The module of a study.

    Raises:
      ConfigError: there is none of this name.
    """
    known = studies()
    if not isinstance(name, str) or name not in known:
        raise ConfigError(f"config.study is {name!r}; {nearest(str(name), known)}")
    main_module = sys.modules.get("__main__")
    if getattr(getattr(main_module, "__spec__", None), "name", None) == f"experiments.{name}":
        return main_module  # python -m experiments.<name>: do not import it a second time
    return importlib.import_module(f"experiments.{name}")


def optional_keys_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that a config's study takes besides those of its `get_config()`."""
    known = str(config.get("study")) in studies()
    return optional_keys_of_study(load_study(config["study"])) if known else {}


def optional_keys_of_study(study: Any) -> dict[str, Any]:
    """The keys that a config of a study may have besides, with their defaults."""
    every = {key: default for key, (default, _) in engine.KEYS.items()}
    return {**every, **getattr(study, "OPTIONAL", {})}


def put(config: ml_collections.ConfigDict, key: str, value: Any) -> None:
    """Sets a value by its dotted key, in groups that are made where there are none."""
    *groups, last = key.split(".")
    for group in groups:
        if group not in config:
            config[group] = ml_collections.ConfigDict()
        config = config[group]
    with config.ignore_type():
        config[last] = value


def _literal(key: str, text: str) -> dict[str, Any]:
    """A group as it is typed: `{"data": 4, "model": 2}`."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = None
    if not isinstance(value, dict):
        raise ConfigError(f"config key {key!r} is {text!r}, expected a group, such as {{'data': 4}}")
    return value


def defaults_of(study: Any, config: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """A study's defaults, with those of its optional keys that a config has."""
    defaults, given = study.get_config(), configs.flat(config)
    for key, default in optional_keys_of_study(study).items():
        if key in given:
            put(defaults, key, None if key in engine.KEYS else default)  # whose fields say more than their types
    return defaults


def keys(name: str) -> dict[str, list[str]]:
    """What may be given to each dotted key of a study: names where it is a choice, else nothing.

    >>> keys("stability")["primary.kind"][:1], keys("stability")["data.root"]
    (['mlp'], [])
    """
    study = load_study(name)
    config = study.get_config()
    fields: dict[str, Any] = {key: field for key, (_, field) in engine.KEYS.items()}
    for group in getattr(study, "SCHEMA", {}).values():
        fields |= group
    every = [*configs.flat(config), *optional_keys_of_study(study)]
    return {key: _choices(fields.get(key)) for key in sorted(set(every) - {"study"})}


def _choices(field: Any) -> list[str]:
    return [one for one in field.choices if one] if isinstance(field, Choice) else []
