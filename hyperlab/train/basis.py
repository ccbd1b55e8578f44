"""What decides the numbers of a unit of work: settings, data, code; what was made of something else is made again.

Every leaf of a study's config counts, unless it is listed: the safe way round, since a key that is forgotten costs
time and never a wrong number. `NEVER` lists what decides no number in any study. A study's `Study.lists` has the
keys that say which units there are, or what is said of them: what such a key gives to a unit is in the unit's name, or
in what the unit is asked for with (`further`).
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from hyperlab import __version__
from hyperlab.train import config as configs
from hyperlab.train import engine

# Workers do other work at the same time; where data lie says nothing of them, which their fingerprint does.
NEVER = ("workers", "contrasts", "data.root", "data.store", "keep_networks")
DATA, CODE, UNKNOWN = "the data", "the version of the code", "settings that were not noted"


class Basis(NamedTuple):
    """What decides the units of a run folder now.

    Attributes:
      settings: the leaves of the config that count, by dotted key.
      data: their name and fingerprint.
      code: the version of what computes units.
      trusted: whether units that do not say what they were made of are taken: the folder's config never changed.
    """

    settings: dict[str, Any]
    data: tuple[str, ...] = ()
    code: str = ""
    trusted: bool = True

    def record(self, further: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What a unit is kept with, as JSON holds it."""
        made_of = {"settings": self.settings, "data": self.data, "code": self.code, "further": further or {}}
        return json.loads(json.dumps(made_of, default=_plain))

    def differences(self, made_of: Mapping[str, Any] | None, further: Mapping[str, Any] | None = None) -> list[str]:
        """What a unit was made of that is another now, in words and dotted keys; nothing where it is of use.

        Args:
          made_of: from `record`; None of a unit of an older version.
          further: what the unit depends on beside the config; None asks nothing of it.

        >>> basis = Basis({"seed": 0, "parent_length": "40 steps"})
        >>> other = Basis({"seed": 5, "parent_length": "40 steps"})
        >>> other.differences(basis.record())
        ['seed']
        """
        if made_of is None:
            return [] if self.trusted else [UNKNOWN]
        now = self.record(further)
        found = _differing(made_of.get("settings", {}), now["settings"])
        if further is not None:
            found += _differing(made_of.get("further", {}), now["further"])
        found += [DATA] if made_of.get("data") != now["data"] else []
        return found + ([CODE] if made_of.get("code") != now["code"] else [])


def of(config: Any, data: Iterable[str], *, lists: Iterable[str] = (), version: int = 1, trusted: bool = True) -> Basis:
    """The basis of a study's units.

    Args:
      config: the study's.
      data: their name and fingerprint.
      lists: keys, or groups, that decide no number of a unit.
      version: of the code that computes the study's units.
      trusted: see `Basis`.

    >>> config = {"seed": 0, "arms": ("a", "b"), "data": {"name": "digits", "root": "/here"}}
    >>> of(config, ("digits", "5f3a"), lists=("arms",)).settings
    {'seed': 0, 'data.name': 'digits'}
    """
    left_out = (*NEVER, *lists)
    leaves = {key: value for key, value in configs.flat(configs.plain(config)).items() if not engine.is_of_machine(key)}
    if leaves.get("precision") == "float32":
        del leaves["precision"]  # as where none is given
    kept = {key: value for key, value in leaves.items() if not any(_within(key, group) for group in left_out)}
    return Basis(kept, tuple(data), f"{__version__}, units {version}", trusted)


def _within(key: str, group: str) -> bool:
    """Whether a key is one that is left out, in a group of it, or the same key of another task's group."""
    return key == group or key.startswith(f"{group}.") or (group.startswith("data.") and key.endswith(f".{group}"))


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    shown = [{key: json.dumps(value) for key, value in one.items()} for one in (old, new)]
    return [key for key in dict.fromkeys([*new, *old]) if shown[0].get(key) != shown[1].get(key)]


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else list(value)
