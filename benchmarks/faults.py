"""What a run folder survives: kills at random moments, damage to every kind of file, each continued and compared.

    python benchmarks/faults.py [CAMPAIGN ...] [--short] [--most 0] [--seed 0] [--record]

A campaign is one function that returns what it will do to the library, each a call that ends in a `Trial`: what was
given, and one of four words for what came of it. `right` is the right numbers, or one error of hyperlab's own that
names what is wrong; `foreign` another library's error; `wrong` other numbers without a word, or a file written over;
`blocked` a run that cannot be continued. Add one by `@campaign("name")`; `--short` is the form that the tests run, of
about a minute. `--record` writes the file after each campaign; the rows of the others are kept there, each with the
commit that it is of, so that campaigns can be run one by one.
"""

import argparse
import collections
import contextlib
import functools
import io
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import bad_inputs
import pandas as pd
from common import machine, recorded, report

from hyperlab.errors import HyperlabError, MissingExtraError

ROOT = Path(__file__).parents[1]
SHOWN_EVERY = 30.0  # seconds
SAVED_EVERY = "7 steps"
SHARED = ("rescaling", "in_context", "pruning")  # studies that processes share in the campaign
VERDICTS = RIGHT, FOREIGN, WRONG, BLOCKED = ("right", "foreign", "wrong", "blocked")
OWN = re.compile(r"^error: ", re.MULTILINE)
# What is a measurement of time, and so another one in every run.
TIMES = re.compile("second|latency|compile|time", re.IGNORECASE)
# The defaults of all studies, shortened: seconds of work, and all that a run has.
SHORT = {
    "pruning": {"arms": ("random",), "controls": False, "contrasts": (), "speedup_contrasts": (), "report_seeds": 2,
                "parent_rates": (0.003,), "rates": (0.003,), "compressions": (4.0,), "compared": (4.0,), "widenings": 0,
                "tuning_compression": 4.0, "parent_length": "40 steps", "tuning_length": "20 steps"},
    "stability": {"arms": ("plain", "default"), "contrasts": (), "report_seeds": 2, "tuning_seeds": 1, "widenings": 0,
                  "train_length": "40 steps"},
    "rescaling": {"arms": ("stochastic", "sshn"), "contrasts": (), "rates": (0.003,), "tuning_seeds": 1,
                  "widenings": 0, "report_seeds": 2, "train_length": "20 steps", "data.size": (24, 24),
                  "data.count": 40, "programs": 1, "primary.widths": (4, 4, 4), "front": (0.3, 0.5),
                  "factors": (0.3, 0.5), "outside": (1.0,)},
    "registration": {"arms": ("separate", "mip"), "contrasts": ("mip - separate",), "rates": (0.003,), "widenings": 0,
                     "report_seeds": 2, "train_length": "20 steps", "steps_per_call": 10, "data.subjects": 12,
                     "data.size": (16, 16), "weights": (0.2, 0.8), "curve_weights": (0.5,), "pairwise.steps": 5},
    "in_context": {"arms": ("universeg", "squeeze"), "contrasts": (), "rates": (0.003,), "report_seeds": 2,
                   "train_length": "10 steps", "data.queries": 6, "support_sizes": (1, 4), "train_support": 4},
    "stochastic": {"arms": ("tyche", "universeg_noise"), "contrasts": (), "rates": (0.003,), "report_seeds": 2,
                   "train_length": "10 steps", "tuning_length": "", "data.queries": 6, "candidates": (1, 2),
                   "train_candidates": 2, "smoothness": (1.0,)},
    "local_sgd": {"arms": ("synchronous", "local"), "contrasts": (), "parts": (), "periods": (1, 4), "replicas": (2,),
                  "trials": 2, "tuning_seeds": 1, "report_seeds": 2, "length": "40 steps",
                  "cost.compute_seconds": 0.01},
    "uncertainty": {"arms": ("none", "spatial"), "contrasts": (), "rates": (0.01,), "dropout_rates": (0.2,),
                    "report_seeds": 2, "train_length": "20 steps", "tuning_length": "10 steps", "data.count": 40,
                    "data.size": (24, 24), "network.widths": (4, 4), "draws": (2, 4), "tuning_draws": 2, "widenings": 0,
                    "data.shifts": ("blur",), "data.severities": (4,)},
}  # fmt: skip


class Options(NamedTuple):
    """Of a campaign.

    Attributes:
      short: the form for tests.
      draw: of moments and places.
      folder: for runs; it goes in the end.
      most: trials of a campaign, drawn at random from all; 0: all.
    """

    short: bool
    draw: random.Random
    folder: Path
    most: int = 0


class Trial(NamedTuple):
    """One thing that was done.

    Attributes:
      what: in words.
      verdict: one of `VERDICTS`.
      detail: of what is not right: the end of what was printed, or what differs.
    """

    what: str
    verdict: str
    detail: str = ""


Campaign = Callable[[Options], list[Callable[[], Trial]]]
CAMPAIGNS: dict[str, Campaign] = {}


def campaign(name: str) -> Callable[[Campaign], Campaign]:
    """Adds a campaign to those that there are."""

    def add(function: Campaign) -> Campaign:
        CAMPAIGNS[name] = function
        return function

    return add


# -- parts of campaigns --------------------------------------------------------------------------------------------


def command(study: str, folder: Path) -> list[str]:
    """A shortened study."""
    given = [f"--config.{key}={value}" for key, value in SHORT[study].items()]
    return [sys.executable, "-m", f"experiments.{study}", *given, "--workdir", str(folder)]


def start(words: list[str], variables: Mapping[str, str] | None = None) -> subprocess.Popen:
    """A process of the library in this checkout, with some more variables."""
    environment = {**os.environ, **(variables or {})}
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, cwd=ROOT, env=environment, **pipes)


def undisturbed(study: str, options: Options) -> tuple[Path, float]:
    """A run that nobody disturbs, and its seconds; made once."""
    folder = options.folder / f"{study}-undisturbed"
    marker = folder.with_suffix(".seconds")
    if not marker.exists():
        began = time.monotonic()
        child = start(command(study, folder))
        said = child.communicate()[1]
        if child.returncode:
            raise SystemExit(f"{study} does not run at all: {said[-500:]}")
        marker.write_text(str(time.monotonic() - began))
    return folder, float(marker.read_text())


def judged(what: str, words: list[str], folder: Path, expected: Path) -> Trial:
    """Runs a command to its end, and compares the results with those of another run."""
    child = start(words)
    said = child.communicate()[1]
    if child.returncode:
        own = bool(OWN.search(said)) and "Traceback" not in said
        return Trial(what, BLOCKED if own else FOREIGN, said.strip()[-300:])
    difference = differing(folder / "results.csv", expected / "results.csv")
    return Trial(what, WRONG if difference else RIGHT, difference)


def differing(ours: Path, theirs: Path) -> str:
    """Where two tables of results differ; empty where they do not, times apart."""
    tables = []
    for path in (ours, theirs):
        if not path.exists():
            return f"no {path.name}"
        table = pd.read_csv(io.StringIO(path.read_text()))
        table = table[[name for name in table.columns if not TIMES.search(name)]]
        tables.append(table[~table["metric"].astype(str).str.contains(TIMES)] if "metric" in table else table)
    if tables[0].shape != tables[1].shape:
        return f"{tables[0].shape} cells, expected {tables[1].shape}"
    unequal = ~((tables[0] == tables[1]) | (tables[0].isna() & tables[1].isna()))
    return f"{int(unequal.sum().sum())} cells in {[*unequal.columns[unequal.any()]]}" if unequal.any(axis=None) else ""


# -- campaigns -----------------------------------------------------------------------------------------------------


@campaign("kills")
def kills(options: Options) -> list[Callable[[], Trial]]:
    """SIGKILL and SIGTERM at random moments of all studies, once or twice, and the same command again.

    Trainings are saved every few steps, so that kills meet saves; after SIGTERM no step is done twice.
    """
    studies, each = (["pruning"], 1) if options.short else (SHORT, 6)
    return [functools.partial(_kill, study, number, options) for study in studies for number in range(each)]


def _kill(study: str, number: int, options: Options) -> Trial:
    expected, seconds = undisturbed(study, options)
    folder, moments = options.folder / f"{study}-{number}", []
    words = [*command(study, folder), f"--config.checkpoint_every={SAVED_EVERY}"]
    for _ in range(1 + number % 2):
        sent = options.draw.choice((signal.SIGKILL, signal.SIGTERM))
        moment = options.draw.uniform(0.1, 1.0) * seconds
        child = start(words)
        try:
            child.wait(moment)
        except subprocess.TimeoutExpired:
            child.send_signal(sent)
        child.communicate()
        moments.append(f"{sent.name} after {moment:.1f} s")
    try:
        trial = judged(f"{study}: {', '.join(moments)}", words, folder, expected)
        again = _done_again(folder, expected)
        if again is None or trial.verdict != RIGHT:
            return trial
        return Trial(f"{trial.what}; {again} steps done again", WRONG if again else RIGHT, trial.detail)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _done_again(folder: Path, undisturbed: Path) -> int | None:
    """Training steps that were done twice; None where a kill kept a start from saying what it did."""
    starts, (once, *_) = (json.loads((path / "run.json").read_text())["starts"] for path in (folder, undisturbed))
    did = [start.get("trained_steps") for start in starts]
    return None if None in did else sum(did) - once["trained_steps"]


@campaign("processes")
def processes(options: Options) -> list[Callable[[], Trial]]:
    """Studies that two processes share: undisturbed, and with one of them killed or stopped and the same command again.

    After a stop of one, which stops both, no step is done twice.
    """
    if options.short:
        return [functools.partial(_shared, "pruning", sent, options) for sent in (signal.SIGKILL, signal.SIGTERM)]
    ways = (None, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGTERM)
    return [functools.partial(_shared, study, sent, options) for study in SHARED for sent in ways]


def _shared(study: str, sent: signal.Signals | None, options: Options) -> Trial:
    expected, seconds = undisturbed(study, options)
    folder, what = Path(tempfile.mkdtemp(dir=options.folder)) / study, f"{study}: two processes"
    words = [*command(study, folder), "--config.distributed=True", f"--config.checkpoint_every={SAVED_EVERY}"]
    if sent is not None:
        victim, moment = options.draw.randrange(2), options.draw.uniform(0.5, 1.5) * seconds
        said = _together(words, victim, moment, sent)
        what += f", process {victim} given {sent.name} after {moment:.1f} s"
        ended = [code for _, code in said]
        names = (
            f"process {victim} of 2",
            "another task died",
            f"is process {victim} running",
        )  # the last: it never joined
        named = any(name in words for name in names for words, _ in said)
        if -signal.SIGKILL in ended and not named:
            return Trial(what, FOREIGN, f"nobody names it: {said[1 - victim][0][-200:]}")
    said = _together(words)
    if any(code for _, code in said):
        return Trial(what, BLOCKED, " | ".join(words[-200:] for words, _ in said))
    difference = differing(folder / "results.csv", expected / "results.csv")
    again = _done_again(folder, expected)
    if again and sent is not signal.SIGKILL:
        difference = f"{again} steps were done twice"
    return Trial(what, WRONG if difference else RIGHT, difference)


def _together(
    words: list[str], victim: int = 0, moment: float | None = None, sent: signal.Signals = signal.SIGKILL
) -> list[tuple[str, int]]:
    """What two processes of one run print, and their exit codes; one of them gets a signal after so many seconds."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    given = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    children = [start(words, {**given, "JAX_PROCESS_ID": str(index)}) for index in range(2)]
    with ThreadPoolExecutor(2) as pool:  # both are listened to, so that neither waits for a reader
        said = [pool.submit(child.communicate) for child in children]
        if moment is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                children[victim].wait(moment)
            children[victim].send_signal(sent)
        return [(one.result()[1], child.returncode) for one, child in zip(said, children, strict=True)]


DAMAGE: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "empty": lambda content, draw: b"",
    "cut": lambda content, draw: content[: draw.randrange(max(1, len(content)))],
    "one bit": lambda content, draw: _flipped(content, draw.randrange(max(1, len(content))), draw.randrange(8)),
    "text": lambda content, draw: b"\xff\xfenothing that was here\n",
}


def _flipped(content: bytes, place: int, bit: int) -> bytes:
    return content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :] if content else b"\x00"


@campaign("damage")
def damage(options: Options) -> list[Callable[[], Trial]]:
    """Every kind of file of a finished and of an unfinished run, damaged in four ways, and the same command again."""
    todo = []
    for study in ["pruning"] if options.short else SHORT:
        kinds = _kinds(undisturbed(study, options)[0])
        for path in options.draw.sample(kinds, 4) if options.short else kinds:
            ways = [options.draw.choice([*DAMAGE])] if options.short else [*DAMAGE]
            todo += [functools.partial(_damage, study, path, how, options) for how in ways]
    return todo


def _damage(study: str, path: Path, how: str, options: Options) -> Trial:
    expected, _ = undisturbed(study, options)
    folder = options.folder / f"{study}-damaged"
    shutil.copytree(expected, folder)
    unfinished = options.draw.random() < 0.5
    if unfinished:
        _unfinish(folder, apart=folder / path)
    content = (folder / path).read_bytes()
    (folder / path).write_bytes(DAMAGE[how](content, options.draw))
    what = f"{study}: {path} of {'an unfinished' if unfinished else 'a finished'} run, {how}"
    try:
        return judged(what, command(study, folder), folder, expected)
    finally:
        shutil.rmtree(folder)


def _kinds(folder: Path) -> list[Path]:
    """One file of each kind: of each folder and suffix, and of those at the top every one."""
    found: dict[object, Path] = {}
    for path in sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()):
        kind = (path.parent, path.suffix) if len(path.parts) > 1 else re.sub(r"\.\d.*", "", path.name)
        found.setdefault(kind, path)
    return [path for path in found.values() if path.suffix != ".patch"]


def _unfinish(folder: Path, apart: Path) -> None:
    """Takes away every third unit and what is written last, but not the file that is to be damaged."""
    for path in [*sorted((folder / "units").iterdir())[::3], folder / "results.csv", folder / "report.html"]:
        if path != apart:
            path.unlink(missing_ok=True)


# Inputs that make no sense: each is one call, which has to end in an error of hyperlab's own.


@campaign("readers")
def readers(options: Options) -> list[Callable[[], Trial]]:
    """Damaged files of every format."""
    return _answers(bad_inputs.damaged_files(_fresh(options), options.draw, 2 if options.short else 12))


@campaign("settings")
def settings(options: Options) -> list[Callable[[], Trial]]:
    """Every key of every study, given values that few keys can have."""
    given = list(bad_inputs.settings())
    return _answers(options.draw.sample(given, 40) if options.short else given)


@campaign("calls")
def calls(options: Options) -> list[Callable[[], Trial]]:
    """Python calls."""
    return _answers(bad_inputs.calls())


@campaign("weights")
def weights(options: Options) -> list[Callable[[], Trial]]:
    """Files of parameters, and state dicts of other libraries."""
    return _answers(bad_inputs.weights(_fresh(options), options.draw, 10 if options.short else 60))


@campaign("records")
def records(options: Options) -> list[Callable[[], Trial]]:
    """Records of runs under one root."""
    return _answers(bad_inputs.records(_fresh(options)))


def _fresh(options: Options) -> Path:
    return Path(tempfile.mkdtemp(dir=options.folder))


def _answers(inputs: Iterable[bad_inputs.Input]) -> list[Callable[[], Trial]]:
    return [functools.partial(_answer, *given) for given in inputs]


def _answer(what: str, call: Callable[[], object], accepts: bool) -> Trial:
    with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        warnings.simplefilter("ignore")  # libraries warn of what they find odd
        try:
            answer = call()
        except (HyperlabError, MissingExtraError):
            return Trial(what, RIGHT)
        except Exception as error:
            return Trial(what, FOREIGN, f"{type(error).__name__}: {error}"[:200])
    return Trial(what, RIGHT) if accepts else Trial(what, WRONG, f"accepted: {answer!r}"[:200])


# -- the command ---------------------------------------------------------------------------------------------------


def run(
    names: list[str], *, short: bool = False, seed: int = 0, folder: Path | None = None, most: int = 0
) -> pd.DataFrame:
    """The trials of some campaigns, one a row: `campaign`, `what`, `verdict`, `detail`, `seconds`.

    Args:
      names: of campaigns.
      short: the form for tests.
      seed: of moments and places.
      folder: for runs, by default one that is gone in the end.
      most: trials of a campaign, drawn at random; 0: all.
    """
    with tempfile.TemporaryDirectory(prefix="faults-") as own:
        rows = []
        for name in names:
            options = Options(short, random.Random(f"{name} {seed}"), folder or Path(own), most)
            rows += [
                {"campaign": name, **trial._asdict(), "seconds": seconds} for trial, seconds in _trials(name, options)
            ]
    return pd.DataFrame(rows, columns=["campaign", *Trial._fields, "seconds"])


def _trials(name: str, options: Options) -> Iterator[tuple[Trial, float]]:
    """Each trial of a campaign and its seconds; prints what is not right, and now and then how far it is."""
    began = last = shown = time.monotonic()
    todo, amiss = CAMPAIGNS[name](options), 0
    if options.most and options.most < len(todo):
        todo = options.draw.sample(todo, options.most)
    for number, call in enumerate(todo, 1):
        trial, now = call(), time.monotonic()
        if trial.verdict != RIGHT:
            amiss += 1
            print(f"{trial.verdict}: {trial.what}: {trial.detail}", file=sys.stderr)
        if now - shown > SHOWN_EVERY or number == len(todo):
            shown, left = now, (now - began) / number * (len(todo) - number)
            print(f"{name}: {number} of {len(todo)}, {amiss} amiss, {left / 60:.0f} min to go", file=sys.stderr)
        yield trial, round(now - last, 2)
        last = now


def table(trials: pd.DataFrame) -> list[dict]:
    """A row a campaign: trials, and how many had each verdict."""
    rows = []
    for name, part in trials.groupby("campaign", sort=False):
        counts = collections.Counter(part["verdict"])
        rows.append({"campaign": name, "trials": len(part), **{verdict: counts[verdict] for verdict in VERDICTS}})
        rows[-1]["seconds"] = round(float(part["seconds"].sum()), 1)
    return rows


def merged(known: Mapping[str, Any], trials: pd.DataFrame, **of: Any) -> dict[str, Any]:
    """A record with the rows of some campaigns in place of those that it had of them.

    Args:
      known: a record, or an empty mapping.
      trials: of whole campaigns.
      **of: what their rows are marked with.
    """
    amiss = trials[trials["verdict"] != RIGHT][["campaign", "what", "verdict", "detail"]].to_dict("records")
    new = {"campaigns": [row | of for row in table(trials)], "amiss": amiss}
    again = {row["campaign"] for row in new["campaigns"]}
    kept = {key: [row for row in known.get(key, ()) if row["campaign"] not in again] for key in new}
    return {
        "campaigns": sorted(kept["campaigns"] + new["campaigns"], key=lambda row: [*CAMPAIGNS].index(row["campaign"])),
        "amiss": kept["amiss"] + new["amiss"],
    }


def main() -> None:
    """Prints the table, with the machine and the versions, and ends with 1 where anything was not right."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("campaigns", nargs="*", metavar="CAMPAIGN", help=f"of {', '.join(CAMPAIGNS)}; by default all")
    parser.add_argument("--short", action="store_true", help="the form of about a minute that the tests run")
    parser.add_argument("--seed", type=int, default=0, help="of moments and places")
    parser.add_argument("--most", type=int, default=0, help="trials of a campaign, drawn at random; 0: all")
    parser.add_argument("--record", action="store_true", help="write results/faults.DEVICE.json after each campaign")
    options = parser.parse_args()
    if unknown := set(options.campaigns) - set(CAMPAIGNS):
        parser.error(f"no campaign {min(unknown)!r}; there are {', '.join(CAMPAIGNS)}")
    path = recorded("faults")
    known = json.loads(path.read_text()) if options.record and path.exists() else {}
    commit, rows = machine()["commit"], []
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        for name in options.campaigns or CAMPAIGNS:
            trials = run([name], short=options.short, seed=options.seed, folder=Path(folder), most=options.most)
            rows += table(trials)
            known = merged(known, trials, short=options.short, seed=options.seed, commit=commit)
            if options.record:
                report("faults", {}, known, record=True)
    print(pd.DataFrame(rows).to_string(index=False))
    if not options.record:
        report("faults", {}, known, record=False)
    sys.exit(any(row[verdict] for row in rows for verdict in VERDICTS[1:]))


if __name__ == "__main__":
    main()
