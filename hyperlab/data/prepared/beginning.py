"""What a store was begun with, by which the next call goes on with it, refuses it, or begins anew beside it.

Settings and files decide the name of the folder that cases lie in, so those of two recipes never meet. `store.json`
names the folder of the finished store; writing it anew is the one move by which a new store replaces an old one.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hyperlab.data.prepared import store as stored
from hyperlab.data.prepared.fingerprint import SetFingerprint
from hyperlab.data.prepared.preprocessing import Preprocessing
from hyperlab.data.splits import fingerprint
from hyperlab.errors import DataError, HyperlabError
from hyperlab.files import LOCK, read_object, write_json

_DECIDED = "decided.json"
_ANEW = "use another --out, or --overwrite to begin anew"


@dataclass(frozen=True)
class Decided:
    """What the first reading leads to: the preprocessing, what it was decided on, and the group of each case."""

    preprocessing: Preprocessing
    seen: SetFingerprint
    groups: list[int]

    def to_json(self) -> dict[str, Any]:
        """As what JSON can hold."""
        return {"preprocessing": self.preprocessing.to_json(), "set_fingerprint": self.seen.to_json(),
                "groups": self.groups}  # fmt: skip

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Decided":
        """The opposite of `to_json`."""
        preprocessing = Preprocessing.from_json(content["preprocessing"])
        return cls(preprocessing, SetFingerprint.from_json(content["set_fingerprint"]), content["groups"])


def folder_of(everything: dict[str, Any]) -> str:
    """The name of the folder of cases for settings and files.

    >>> folder_of({"version": 1, "plan": {"spacing": "median"}, "files": "0"})
    'cases-f5350441'
    """
    return f"{stored.CASES}-{fingerprint(np.array(repr(sorted(everything.items()))))[:8]}"


def check_folder(path: Path) -> None:
    """Refuses a folder that is neither new nor a store.

    Raises:
      DataError: it is a file, or holds other files.
    """
    if path.exists() and not path.is_dir():
        raise DataError(f"{path} is a file; name a new folder for the store")
    known = (path / stored.STORE).exists() or (path / stored.WORK).exists()
    if path.exists() and not known and any(entry.name != LOCK for entry in path.iterdir()):
        raise DataError(f"{path} holds other files, and no store that was begun; name a new folder")


def is_finished(path: Path, everything: dict[str, Any], count: int) -> bool:
    """Whether the store is of these settings and files, complete, and cleared up; so far nothing is written."""
    folder = path / folder_of(everything)
    try:
        if stored.described(path) is None or _checked(path, everything) is None:
            return False
        noted = read_object(path / stored.WORK / _DECIDED)
    except HyperlabError:
        return False
    # what another call has begun, which a kill has ended, is left to that call
    leftover = noted is not None and all(noted.get(key) == value for key, value in everything.items())
    return not leftover and all(stored.case_folder(folder, number).is_dir() for number in range(count))


def begin(path: Path, everything: dict[str, Any], overwrite: bool) -> Decided | None:
    """What was decided before for the same settings and files; None where nothing was decided yet.

    Args:
      path: of the store.
      everything: version, settings and files.
      overwrite: leave out a store of another kind, and remove what was begun for another one.

    Raises:
      DataError: the store is of other settings, files or version.
      DamagedError: its description was changed.
    """
    try:
        return _checked(path, everything)
    except HyperlabError:
        if not overwrite:
            raise
    try:
        return _noted(path, everything)
    except HyperlabError:
        _clear(path, {_readable(path), folder_of(everything)})
        return None


def note(path: Path, everything: dict[str, Any], decided: Decided) -> None:
    """Keeps what was decided until the store is finished."""
    write_json(path / stored.WORK / _DECIDED, {**everything, **decided.to_json()}, sealed=True)


def clear_others(path: Path, folder: Path) -> None:
    """Removes all but the cases of a finished store; a kill in between is made up for by the next call."""
    _clear(path, {folder.name})


def _clear(path: Path, kept: set[str]) -> None:
    others = [other for other in path.glob(f"{stored.CASES}-*") if other.name not in kept]
    work = path / stored.WORK
    # the note last: while it is there, a call with its settings knows that something is left
    for left in (*others, work / "fingerprints", work):
        shutil.rmtree(left, ignore_errors=True)


def _readable(path: Path) -> str:
    """The folder that `store.json` names, of whatever version; none where it cannot be read."""
    try:
        return str((read_object(path / stored.STORE) or {}).get("folder", ""))
    except HyperlabError:
        return ""


def _checked(path: Path, everything: dict[str, Any]) -> Decided | None:
    """As `begin`, of the finished store where there is one."""
    content = stored.described(path)
    if content is None:
        return _noted(path, everything)
    before = content["recipe"]
    _refuse_unlike(path, before, everything)
    return Decided.from_json({**content, "groups": before["groups"]})


def _noted(path: Path, everything: dict[str, Any]) -> Decided | None:
    before = read_object(path / stored.WORK / _DECIDED, _ANEW)
    if before is None:
        return None
    _refuse_unlike(path, before, everything)
    return Decided.from_json(before)


def _refuse_unlike(path: Path, before: dict[str, Any], everything: dict[str, Any]) -> None:
    if before["version"] != stored.VERSION:
        raise DataError(f"{path} was begun by version {before['version']}, this is {stored.VERSION}; {_ANEW}")
    for key, value in everything["plan"].items():
        if before["plan"].get(key) != value:
            raise DataError(f"{path} was begun with {key} {before['plan'].get(key)}, now it is {value}; {_ANEW}")
    if before["files"] != everything["files"]:
        raise DataError(f"{path} was begun from files that have changed since, or are more or fewer now; {_ANEW}")
