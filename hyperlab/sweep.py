"""Several configs of one study, one run folder each: what turns a run into a table.

    python -m hyperlab.sweep --config configs/stability/grid.py --workdir runs/grid [--dry_run] [--only 3]

The config file has `get_config()` and `sweep()`, which yields one dict of dotted overrides for each row. A row that is
finished is not run again; one that fails is reported and does not stop the others. `--only` runs one row, for the
tasks of an array job; the report is made from whatever rows are there.
"""

import itertools
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections

from hyperlab import launch
from hyperlab.errors import ConfigError, HyperlabError, MissingExtraError
from hyperlab.train.signals import StopFlag

Overrides = dict[str, Any]


def product(axes: Mapping[str, Sequence[Any]]) -> Iterator[Overrides]:
    """Every combination of the values of several keys.

    >>> list(product({"gamma.dim": (1, 4), "seed": (0,)}))
    [{'gamma.dim': 1, 'seed': 0}, {'gamma.dim': 4, 'seed': 0}]
    """
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def one_at_a_time(axes: Mapping[str, Sequence[Any]]) -> Iterator[Overrides]:
    """The unchanged config first, then every value of every key with all others unchanged.

    >>> list(one_at_a_time({"gamma.dim": (4, 16), "seed": (1,)}))
    [{}, {'gamma.dim': 4}, {'gamma.dim': 16}, {'seed': 1}]
    """
    yield {}
    for key, values in axes.items():
        for value in values:
            yield {key: value}


def name_of(overrides: Overrides) -> str:
    """The folder of a row, from what is special about it.

    >>> name_of({"gamma.dim": 4, "primary.widths": (64, 64)}), name_of({})
    ('gamma.dim=4,primary.widths=64x64', 'default')
    """

    def text(value: Any) -> str:
        shown = "x".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
        return "".join(c if c.isalnum() or c in "._+-" else "_" for c in shown)

    return ",".join(f"{key}={text(value)}" for key, value in overrides.items()) or "default"


def apply(config: ml_collections.ConfigDict, overrides: Overrides) -> ml_collections.ConfigDict:
    """A copy of a config with a row's values; an unknown key is an error, as on the command line."""
    config = ml_collections.ConfigDict(config).copy_and_resolve_references()
    for key, value in overrides.items():
        launch.override(config, key, value if isinstance(value, str) else repr(value))
    return config


def run(config: ml_collections.ConfigDict, rows: Iterable[Overrides], workdir: Path, stop: Any) -> dict[str, str]:
    """Runs the rows one after the other: `{row: "finished" | "stopped" | error message}`."""
    outcome = {}
    rows = list(rows)
    configs = [apply(config, overrides) for overrides in rows]  # a wrong key is refused before the first row runs
    for index, (overrides, one) in enumerate(zip(rows, configs, strict=True)):
        name = name_of(overrides)
        if stop.requested:
            break
        if is_finished(workdir / name):
            outcome[name] = "finished"
            continue
        print(f"row {index + 1} of {len(rows)}: {name}", file=sys.stderr)
        try:
            launch.run(one, workdir / name, stop=stop)
            _forget_programs()
            outcome[name] = "stopped" if stop.requested else "finished"
        except Exception as error:
            outcome[name] = f"failed: {type(error).__name__}: {error}".splitlines()[0]
    return outcome


def _forget_programs() -> None:
    """Programs of a row that is done: each takes memory mappings, and a process may have only so many of them."""
    import gc

    import jax

    gc.collect()
    jax.clear_caches()


def is_finished(folder: Path) -> bool:
    """Whether a run folder's last start came to its end."""
    record = folder / "run.json"
    return record.exists() and json.loads(record.read_text())["starts"][-1].get("exit_reason") == "finished"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; see the module."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        dry_run, only, rest = _split(arguments)
        file = next((value for flag, value in _pairs(rest) if flag == "--config"), None)
        if file is None:
            raise ConfigError(f"--config FILE is needed\n{__doc__}")
        module = launch.config_module(file)
        if not hasattr(module, "sweep"):
            raise ConfigError(f"{file} has no sweep()")
        options, config = launch.parse(module.get_config().study, rest)
        rows = list(module.sweep())
        chosen = rows if only is None else [rows[only]]
        if dry_run:
            for index, overrides in enumerate(rows):
                apply(config, overrides)
                print(f"{index:4d}  {name_of(overrides)}")
            return
        if options["workdir"] is None:
            raise ConfigError("--workdir FOLDER is needed: each row has a folder inside")
        workdir = Path(options["workdir"]).expanduser()
        with StopFlag() as stop:
            outcome = run(config, chosen, workdir, stop)
    except IndexError:
        print(f"error: --only {only}: the sweep has rows 0 to {len(rows) - 1}", file=sys.stderr)
        raise SystemExit(2) from None
    except (HyperlabError, MissingExtraError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    from hyperlab.report import sweep as report

    page = report.write(workdir, [name_of(overrides) for overrides in rows], outcome)
    for name, what in outcome.items():
        print(f"{what:10s} {name}")
    print(f"report: {os.path.relpath(page)}")
    if any(what.startswith("failed") for what in outcome.values()):
        raise SystemExit(1)


def _split(arguments: list[str]) -> tuple[bool, int | None, list[str]]:
    dry_run, only, rest = False, None, []
    words = iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag == "--dry_run":
            dry_run = True
        elif flag == "--only":
            text = value if equals else next(words, "")
            if not text.isdigit():
                raise ConfigError(f"--only needs the number of a row, got {text!r}")
            only = int(text)
        else:
            rest.append(word)
    return dry_run, only, rest


def _pairs(arguments: list[str]) -> Iterator[tuple[str, str]]:
    for index, word in enumerate(arguments):
        flag, equals, value = word.partition("=")
        yield flag, value if equals else next(iter(arguments[index + 1 :]), "")


if __name__ == "__main__":
    main()
