"""How a study starts: from the command line (`main`) or from Python (`run`).

A study is a module `experiments.<name>` with `get_config() -> ConfigDict` and `run(config, folder, stop)`. It may have
`OPTIONAL`, dotted keys that a config can have besides, with their defaults; those that nobody gives are in no config;
a `SCHEMA` (`train.schema`), `check(config)` for what keys ask of each other, and `check_files(config)` for what is
asked of data sets and folders: all of them are asked before a run folder is made.
"""

import ast
import contextlib
import importlib
import importlib.util
import io
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections

from hyperlab.arguments import typed
from hyperlab.errors import ConfigError, HyperlabError, MissingExtraError, WorkdirError, nearest
from hyperlab.studies import studies
from hyperlab.train import config as configs
from hyperlab.train import engine, schema
from hyperlab.train.fields import Choice
from hyperlab.train.protocols import Rehearsal, Stop
from hyperlab.train.run_folder import REFUSALS, RunFolder, default_workdir
from hyperlab.train.signals import StopFlag

USAGE = """{command} [--config FILE[:ARGUMENT]] [--config.KEY=VALUE ...] [--workdir FOLDER]

  --config FILE          a config file with get_config(); without it the study's embedded default
  --config.KEY=VALUE     replaces one value, for instance --config.seed=1; nested keys have dots
  --workdir FOLDER       where the run goes; the same folder again continues it
  --allow_config_change  continue a folder with another config or other data: what the change decides is computed again
  --print_config         print the resolved config and stop, if it can be run: data are read, nothing is trained
"""


def run(
    config: ml_collections.ConfigDict | Mapping[str, Any],
    workdir: str | os.PathLike | None = None,
    *,
    allow_config_change: bool = False,
    stop: Stop | None = None,
) -> Path:
    """Runs the study that `config.study` names, in this process and without command-line flags.

    Args:
      config: the study's `get_config()`, changed as you like.
      workdir: the run folder; an existing one is continued. By default a new one under `runs/`.
      allow_config_change: continue a folder with another config, or with other data: units that what changed decides
        are computed again, the others are kept.
      stop: an object with `.requested`; by default SIGTERM, SIGUSR1 and Ctrl-C stop the run.

    Returns:
      The path of the run folder.

    Raises:
      HyperlabError: a config, a folder or data that cannot be used, before anything is compiled; a folder that was
        made for the run is gone then. Or a disk that is full, a folder that was moved: what was not written is named.
    """
    config = ml_collections.ConfigDict(config)
    check(config)
    study = load_study(config.study)
    enable_compilation_cache()
    from hyperlab.train import compiler, distributed, provenance

    several = distributed.initialize({"distributed": config.get("distributed")})
    if several and not workdir:
        raise ConfigError("several processes are one run in one folder: give it to all of them, --workdir")
    with distributed.main_first("its run folder"):
        path = workdir or default_workdir(config.study)
        folder = RunFolder.open(path, config, allow_config_change=allow_config_change)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(StopFlag()) if stop is None else stop
        compiled = stack.enter_context(compiler.compilations())

        def end(reason: str) -> None:
            programs = {"programs": compiled.programs, "seconds": round(compiled.seconds, 2)}
            folder.finish(reason, compiled=programs, peak_bytes=provenance.peak_memory())

        try:
            study.run(ml_collections.FrozenConfigDict(config), folder, stop)
        except BaseException as error:
            if not (isinstance(error, REFUSALS) and not several and folder.discard()):
                with contextlib.suppress(WorkdirError):  # what ended the run is the news
                    end(f"failed: {type(error).__name__}: {error}".splitlines()[0][:300])
            if isinstance(error, OSError) and folder.concerns(error):
                named = error.filename or "a file"
                raise WorkdirError(f"{folder.path}: {named} cannot be used: {error.strerror}") from error
            raise
        end(f"stopped: {getattr(stop, 'reason', '')}" if stop.requested else "finished")
    return folder.path


def check(config: Mapping[str, Any]) -> None:
    """Refuses a config that cannot be run, for all reasons that are known before any data are read.

    Args:
      config: complete, of the study that it names.

    Raises:
      ConfigError: an unknown key or study; a value of another type, outside its range or its choices; keys that do not
        go together.
      DataError: an unknown data set; a folder that is missing, or that the study would not read.

    >>> config = load_study("stability").get_config()
    >>> config.report_seeds = 0
    >>> check(config)
    Traceback (most recent call last):
    hyperlab.errors.ConfigError: report_seeds is 0, expected a whole number from 1 to 9900 (fresh seeds ...
    """
    check_values(config)
    study = load_study(config["study"])
    for name in ("check", "check_files"):
        getattr(study, name, lambda _: None)(config)


def rehearse(
    config: ml_collections.ConfigDict | Mapping[str, Any],
    workdir: str | os.PathLike | None = None,
    *,
    allow_config_change: bool = False,
) -> None:
    """Refuses whatever `run` would refuse: data are read as a run reads them, nothing is trained or left behind.

    Of a run of several processes, what one alone can know.

    Args:
      config: as for `run`.
      workdir: the run folder that is meant; it is read, and not written to.
      allow_config_change: as for `run`.

    Raises:
      HyperlabError: as from `run`.

    >>> from experiments import stability
    >>> config = stability.get_config()
    >>> config.devices = {"per_training": 999}
    >>> rehearse(config)
    Traceback (most recent call last):
    hyperlab.errors.MeshError: devices: groups of 999 ...
    """
    config = ml_collections.ConfigDict(config)
    check(config)
    if workdir is not None:
        RunFolder.refuse_other(workdir, config, allow_config_change=allow_config_change)
    if config.get("distributed"):
        return
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stderr(io.StringIO()):
        folder = RunFolder.open(Path(scratch) / "run", config)
        try:
            load_study(config.study).run(ml_collections.FrozenConfigDict(config), folder, Rehearsal())
        except HyperlabError as error:  # what a run makes of its data is in its folder
            raise type(error)(str(error).replace(str(folder.path), str(workdir or "WORKDIR"))) from error
        finally:
            folder.finish("rehearsed")


def check_values(config: Mapping[str, Any]) -> None:
    """Refuses unknown keys, and values that a key may not have whatever the others are: a part of `check`.

    Raises:
      ConfigError: the key, what was given, and the nearest valid key or what is expected.
    """
    study = load_study(config.get("study"))
    engine.check(config)
    configs.validate(config, _defaults(study, config))
    schema.check(config, getattr(study, "SCHEMA", {}))


def main(module: str, arguments: Sequence[str] | None = None) -> None:
    """The command line of a study. Bad input ends with one message and code 2, a stop with code 0.

    Args:
      module: the study's module, for instance `"experiments.stability"`.
      arguments: by default those of the process.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    name = module.rpartition(".")[2]
    if {"-h", "--help", "-help"} & set(arguments):
        print(_help(name))
        return
    with _left_at_once():
        _main(name, arguments)


def _main(name: str, arguments: Sequence[str]) -> None:
    try:
        options, config = parse(name, arguments)
        if options["print_config"]:
            rehearse(config, options["workdir"], allow_config_change=options["allow_config_change"])
            print(configs.to_json(config), end="")
            return
        _announce(name, config)
        path = run(config, options["workdir"], allow_config_change=options["allow_config_change"])
    except (HyperlabError, MissingExtraError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    shown = os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
    report = path / "report.html"
    print(f"report: {shown}/report.html" if report.exists() else f"continue: --workdir {shown}")


@contextlib.contextmanager
def _left_at_once() -> Iterator[None]:
    """Of several processes, one that fails ends here and now: in an orderly end it would wait for all the others."""
    try:
        yield
    except BaseException as error:
        from hyperlab.train import distributed

        if not distributed.is_one_of_several():
            raise
        if not isinstance(error, SystemExit):
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1)


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
    configs.validate(config, _defaults(load_study(study), config))
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
    leaves, optional = configs.flat(config), _optional(config)
    if text.startswith("{") and any(known.startswith(f"{key}.") for known in optional):
        for member, given in _literal(key, text).items():
            override(config, f"{key}.{member}", str(given))
        return
    *groups, last = key.split(".")
    if key in optional and key not in leaves:
        _put(config, key, optional[key])
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


def _optional(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that a config's study takes besides those of its `get_config()`."""
    known = str(config.get("study")) in studies()
    return _optional_of(load_study(config["study"])) if known else {}


def _optional_of(study: Any) -> dict[str, Any]:
    every = {key: default for key, (default, _) in engine.KEYS.items()}
    return {**every, **getattr(study, "OPTIONAL", {})}


def _put(config: ml_collections.ConfigDict, key: str, value: Any) -> None:
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


def _defaults(study: Any, config: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """A study's defaults, with those of its optional keys that a config has."""
    defaults, given = study.get_config(), configs.flat(config)
    for key, default in _optional_of(study).items():
        if key in given:
            _put(defaults, key, None if key in engine.KEYS else default)  # whose fields say more than their types
    return defaults


def _announce(name: str, config: ml_collections.ConfigDict) -> None:
    changed = configs.difference(load_study(name).get_config(), config)
    shown = ", ".join(f"{key}={new!r}" for key, (_, new) in changed.items()) or "the embedded default"
    print(f"{name}: {shown}", file=sys.stderr)


def _help(name: str) -> str:
    """How the study is started, and every key with its default and its meaning."""
    study = load_study(name)
    config, fields = study.get_config(), getattr(study, "SCHEMA", None)
    keys = schema.listed(config, fields) if fields else _listed(config)
    if optional := getattr(study, "OPTIONAL", {}):
        keys += "\n\nkeys that a config has only where they are given\n" + _listed(optional)
    # a study that has such a key itself has said so above
    of_engine = {key: pair for key, pair in engine.KEYS.items() if key not in configs.flat(config)}
    values, meanings = ({key: pair[at] for key, pair in of_engine.items()} for at in (0, 1))
    keys += "\n\n" + schema.listed(_nested(values), {"the machine, where it is given": meanings})
    usage = USAGE.format(command=typed(f"run {name}", f"experiments.{name}"))
    return f"{usage}\nKeys, their defaults and what they are for:\n\n{keys}"


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
    every = [*configs.flat(config), *_optional_of(study)]
    return {key: _choices(fields.get(key)) for key in sorted(set(every) - {"study"})}


def _choices(field: Any) -> list[str]:
    return [one for one in field.choices if one] if isinstance(field, Choice) else []


def _nested(values: Mapping[str, Any]) -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    for key, value in values.items():
        _put(config, key, value)
    return config


def _listed(config: Mapping[str, Any]) -> str:
    return "\n".join(f"  --config.{key}={value}" for key, value in configs.flat(config).items())


def enable_compilation_cache() -> None:
    """Compiled programs are kept between runs; `HYPERLAB_CACHE` names another folder, empty switches it off."""
    import jax

    folder = os.environ.get("HYPERLAB_CACHE", str(Path.home() / ".cache" / "hyperlab" / "xla"))
    if folder and jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
