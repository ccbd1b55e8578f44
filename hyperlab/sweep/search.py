"""A search that learns from its trials, by Optuna's ask: each trial is a run folder, scored on its validation record.

Optuna only proposes. What was proposed is in `trials.jsonl`, what came of it in the run folders, and before every
proposal both are read back: a search that was stopped or killed goes on to the same trials as one that was not.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from hyperlab import files
from hyperlab.errors import ConfigError, DataError, WorkdirError, nearest, require
from hyperlab.files import write_atomically
from hyperlab.report.finished import AGAIN
from hyperlab.seeds import check_seed
from hyperlab.studies.search import Axis
from hyperlab.sweep import algebra, rows, running
from hyperlab.train.writers import read_rows

FILE = "trials.jsonl"
TUNED_ON = ("validation", "development")  # splits that a search may look at
Space = Mapping[str, Axis | algebra.Integers | Sequence[Any]]


class Trial(NamedTuple):
    """One run of a search.

    Attributes:
      name: its folder.
      overrides: what was tried.
      score: larger is better; NaN where the run failed.
    """

    name: str
    overrides: dict[str, Any]
    score: float


def validation_score(metric: str, split: str = "validation") -> Callable[[Path], float]:
    """A score for `search`: a metric of `metrics.jsonl`, the last one of every run of the study, and their mean.

    Args:
      metric: larger is better.
      split: `validation` or `development`; rows `.../validation` are those of single runs of a study.

    Raises:
      ConfigError: another split: what is reported is no thing to search on.
      DataError: raised by the score where a run has no such rows.

    >>> validation_score("accuracy", "test")
    Traceback (most recent call last):
      ...
    hyperlab.errors.ConfigError: a search looks at 'validation' or 'development', got 'test'
    """
    if split not in TUNED_ON:
        raise ConfigError(f"a search looks at {' or '.join(map(repr, TUNED_ON))}, got {split!r}")

    def score(folder: Path) -> float:
        found = read_rows(Path(folder) / "metrics.jsonl")
        last = {row["split"]: row[metric] for row in found if row["split"].split("/")[-1] == split and metric in row}
        if not last:
            raise DataError(f"{folder}/metrics.jsonl has no rows of split {split!r} with {metric!r}")
        return float(np.mean(list(last.values())))

    return score


def tuning_score(arm: str) -> Callable[[Path], float]:
    """A score for `search`: what a study's own tuning reached for an arm, on tuning seeds and the validation split.

    Args:
      arm: a key of `choices.json`, for instance `"sgd/mip"` of the stability study.

    Raises:
      DataError: raised by the score where a run has no such arm, or tuned nothing for it.
    """

    def score(folder: Path) -> float:
        path = Path(folder) / "choices.json"
        files.check_seal(path, AGAIN)
        chosen = files.read_object(path, AGAIN) or {}
        if arm not in chosen:
            raise DataError(f"{path} has no arm {arm!r}; {nearest(arm, chosen)}")
        scores = [trial["score"] for trial in _tunings(chosen[arm])]
        if not scores:
            raise DataError(f"{path}: nothing was tuned for {arm!r}")
        return float(max(scores))

    return score


def _tunings(found: Any) -> list[dict[str, Any]]:
    """The trials of all lists `tuning` inside: some studies have one for each rate of dropout."""
    if not isinstance(found, dict):
        return []
    inside = [trial for key, value in found.items() if key != "tuning" for trial in _tunings(value)]
    return found.get("tuning", []) + inside


def search(
    config: ml_collections.ConfigDict,
    space: Space,
    score: Callable[[Path], float],
    workdir: Path,
    trials: int,
    *,
    seed: int = 0,
    stop: Any,
) -> list[Trial]:
    """Runs trials one after the other, each proposed from what came of those before.

    Args:
      config: of the study.
      space: ranges by dotted key, as for `sample`.
      score: a folder's score, larger is better; of validation data, see `validation_score` and `tuning_score`.
      workdir: the folder of the search, continued where it holds one.
      trials: how many there are to be in all; one that failed counts.
      seed: of the proposals.
      stop: an object with `.requested`.

    Returns:
      The trials that ended, in order; fewer than `trials` after a stop.

    Raises:
      MissingExtraError: Optuna is not installed.
      ConfigError: a range or a seed that is none; a folder with another space or seed.
      WorkdirError: a trial runs in another process; the record of the trials cannot be read.
    """
    optuna = require("optuna", "tune", "a search that learns from its trials")
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would tell of every study, and there is one a trial
    check_seed(seed)
    for key, axis in space.items():
        algebra.check(key, axis)
    workdir = Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    proposed = _read(workdir / FILE, space, seed)
    ended: list[Trial] = []
    for number in range(trials):
        if number == len(proposed):
            proposed.append(_propose(optuna, space, proposed, [trial.score for trial in ended], seed))
            _write(workdir / FILE, space, seed, proposed)
        overrides = {key: _value(axis, proposed[number][key]) for key, axis in space.items()}
        row = rows.Row(number, rows.name_of(overrides), overrides, rows.apply(config, overrides))
        state = running.one_by_one([row], workdir, stop).get(row.name)
        if state is None or state.name == "stopped":
            break
        if state.name == "running":
            raise WorkdirError(f"{workdir / row.name} runs in another process; wait for it")
        ended.append(Trial(row.name, overrides, score(workdir / row.name) if state.name == "finished" else math.nan))
    return ended


def _propose(
    optuna: Any, space: Space, proposed: list[dict[str, float]], scores: list[float], seed: int
) -> dict[str, float]:
    distributions = {key: _distribution(optuna, axis) for key, axis in space.items()}
    # A sampler's seed for each trial: a search that goes on needs nothing of the process that began it.
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed + len(proposed)))
    for numbers, score in zip(proposed, scores, strict=True):
        known = {"params": numbers, "distributions": distributions}
        failed = not math.isfinite(score)
        known |= {"state": optuna.trial.TrialState.FAIL} if failed else {"value": score}
        study.add_trial(optuna.trial.create_trial(**known))
    asked = study.ask(distributions).params
    return {key: algebra.rounded(axis, asked[key]) if isinstance(axis, Axis) else asked[key]
            for key, axis in space.items()}  # fmt: skip


def _distribution(optuna: Any, axis: Axis | algebra.Integers | Sequence[Any]) -> Any:
    if isinstance(axis, Axis):
        return optuna.distributions.FloatDistribution(axis.low, axis.high, log=axis.log)
    if isinstance(axis, algebra.Integers):
        return optuna.distributions.IntDistribution(axis.low, axis.high)
    return optuna.distributions.CategoricalDistribution(range(len(axis)))  # places, which every record can hold


def _value(axis: Axis | algebra.Integers | Sequence[Any], number: float) -> Any:
    return number if isinstance(axis, Axis | algebra.Integers) else axis[number]


def _read(path: Path, space: Space, seed: int) -> list[dict[str, float]]:
    if not path.exists():
        return []
    try:
        head, *proposed = (json.loads(line) for line in path.read_text().splitlines())
    except ValueError as error:
        raise WorkdirError(f"{path} cannot be read ({error}); move the folder away or mend the file") from error
    if head != _head(space, seed):
        raise ConfigError(f"{path} is of another search: {head} there and {_head(space, seed)} here")
    return proposed


def _write(path: Path, space: Space, seed: int, proposed: list[dict[str, float]]) -> None:
    write_atomically(path, "".join(json.dumps(line) + "\n" for line in [_head(space, seed), *proposed]))


def _head(space: Space, seed: int) -> dict[str, Any]:
    return {"seed": seed, "space": {key: repr(axis) for key, axis in space.items()}}
