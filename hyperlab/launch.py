"""How a study starts: from the command line (`main`) or from Python (`run`).

A study is a module `experiments.<name>` with `get_config() -> ConfigDict` and `run(config, folder, stop)`. It may have
`OPTIONAL`, dotted keys that a config can have besides, with their defaults; those that nobody gives are in no config;
a `SCHEMA` (`train.schema`), `check(config)` for what keys ask of each other, and `check_files(config)` for what is
asked of data sets and folders: all of them are asked before a run folder is made.
"""

import contextlib
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
from hyperlab.configured import (
    config_module,
    defaults_of,
    installed_root,
    keys,
    load_study,
    override,
    parse,
    put,
)
from hyperlab.errors import ConfigError, HyperlabError, MissingExtraError, WorkdirError
from hyperlab.train import config as configs
from hyperlab.train import engine, schema
from hyperlab.train.protocols import Rehearsal, Stop
from hyperlab.train.run_folder import REFUSALS, RunFolder, default_workdir
from hyperlab.train.signals import StopFlag

__all__ = [
    "check",
    "check_values",
    "config_module",
    "enable_compilation_cache",
    "installed_root",
    "keys",
    "load_study",
    "main",
    "override",
    "parse",
    "rehearse",
    "run",
]

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
    configs.validate(config, defaults_of(study, config))
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


def _nested(values: Mapping[str, Any]) -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    for key, value in values.items():
        put(config, key, value)
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
