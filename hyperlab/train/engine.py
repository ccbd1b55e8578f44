"""On what a study runs: devices, processes, saves, precision, the room for data. The same keys for every study.

No config has to have them, and none decides what a study asks. All but the precision say nothing of its numbers: a run
folder goes on with others of them, on another machine.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from hyperlab.errors import ConfigError, nearest
from hyperlab.train import config as configs
from hyperlab.train import durations
from hyperlab.train.fields import Choice, Field, Flag, Whole

PRECISIONS = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Interval(Field):
    """How long it is from one save to the next, see `train.durations.interval`.

    >>> Interval("between saves").check("checkpoint_every", "soon")
    Traceback (most recent call last):
    hyperlab.errors.ConfigError: checkpoint_every is 'soon', expected '5 min', '500 steps' or 0 (between saves)
    """

    @property
    def expected(self) -> str:
        return "'5 min', '500 steps' or 0"

    def fits(self, value: Any) -> bool:
        try:
            durations.interval(value)
        except ConfigError:
            return False
        return True


class _Size(Whole):
    """The size of a mesh axis."""

    @property
    def expected(self) -> str:
        return "a whole number of at least 1, or -1 for what the other axes leave"

    def fits(self, value: Any) -> bool:
        return super().fits(value) and value != 0


# Key: its default, and what may be given to it.
KEYS: dict[str, tuple[Any, Field]] = {
    "devices.mesh.data": (-1, _Size("devices over which the rows of a batch are dealt", low=-1)),
    "devices.mesh.model": (1, _Size("devices over which the heads of a hypernetwork are split", low=-1)),
    "devices.per_training": (0, Whole("devices of one training; 0: all are one group", low=0)),
    "devices.across": (False, Flag("whether one training spans all processes; else they share the trainings")),
    "distributed": (None, Flag("several processes are one run; None: where a cluster is detected", undecided=True)),
    "checkpoint_every": ("5 min", Interval("between two saves of a training in work; 0: only when it is stopped")),
    "precision": ("float32", Choice("networks compute in it; sums, losses and moments are float32", PRECISIONS)),
    "data.reader_processes": (0, Whole("read files ahead; 0: threads do", low=0, high=1024)),
    "data.device_bytes": (0, Whole("larger sets stay on the host; 0: half of the device's memory", low=0, high=2**60)),
}
MACHINE = tuple(key for key in KEYS if key != "precision")  # decide no number
GROUPS = ("devices",)  # a config may be without


class Engine(NamedTuple):
    """The settings of `KEYS`, resolved.

    Attributes:
      devices_given: whether the config says anything of devices.
      mesh: sizes by axis, of one group of devices; one may be -1.
      per_training: devices of a group; 0: all.
      across: whether a training spans all processes.
      interval: from one save of a training to the next.
      precision: that networks compute in.
      device_bytes: sets of more bytes are read batch by batch; 0: half of the device's memory.
      reader_processes: that read files ahead; 0: threads do.
    """

    devices_given: bool
    mesh: dict[str, int]
    per_training: int
    across: bool
    interval: durations.Interval
    precision: str
    device_bytes: int
    reader_processes: int


def of(config: Mapping[str, Any]) -> Engine:
    """The settings of a config, with the defaults of what it does not have.

    >>> engine = of({"seed": 0, "devices": {"mesh": {"data": 4}}})
    >>> engine.mesh, engine.precision, engine.interval.seconds
    ({'data': 4, 'model': 1}, 'float32', 300.0)
    """
    given = configs.flat(config)
    value = {key: given.get(key, default) for key, (default, _) in KEYS.items()}
    # a study of several tasks has a group of data for each
    room = [size for key, size in given.items() if key.endswith("data.device_bytes")]
    return Engine(
        any(key.startswith("devices.") for key in given),
        {"data": value["devices.mesh.data"], "model": value["devices.mesh.model"]},
        value["devices.per_training"],
        value["devices.across"],
        durations.interval(value["checkpoint_every"]),
        value["precision"],
        max(room, default=0),
        value["data.reader_processes"],
    )


def check(config: Mapping[str, Any]) -> None:
    """Refuses what the keys cannot be, of those that a config has.

    Raises:
      ConfigError: the key, what was given, what was expected; an unknown key or mesh axis.

    >>> check({"devices": {"mesh": {"modle": 2}}})
    Traceback (most recent call last):
    hyperlab.errors.ConfigError: unknown config key 'devices.mesh.modle'; did you mean 'devices.mesh.model'?
    """
    given = configs.flat(config)
    for key, value in given.items():
        if key.partition(".")[0] in GROUPS and key not in KEYS:
            raise ConfigError(f"unknown config key {key!r}; {nearest(key, KEYS)}")
        if key in KEYS:
            KEYS[key][1].check(key, value)
    if given.get("devices.mesh.data", -1) == given.get("devices.mesh.model", 1) == -1:
        raise ConfigError("devices.mesh: one axis alone can be -1, what the other leaves")


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """`configs.difference` without the keys that only say where a study runs.

    >>> changes({"seed": 0, "checkpoint_every": 0}, {"seed": 1, "devices": {"per_training": 1}})
    {'seed': (0, 1)}
    """
    found = configs.difference(old, new)
    return {key: pair for key, pair in found.items() if not is_of_machine(key) and not _is_default(key, pair)}


def _is_default(key: str, pair: tuple[Any, Any]) -> bool:
    """Whether a config says what another one leaves out."""
    return key == "precision" and set(pair) == {None, PRECISIONS[0]}


def is_of_machine(key: str) -> bool:
    """Whether a key only says where a study runs.

    >>> is_of_machine("devices.mesh.data"), is_of_machine("rescaling.data.device_bytes"), is_of_machine("precision")
    (True, True, False)
    """
    return key in MACHINE or key.endswith("data.device_bytes")


def digest(config: Mapping[str, Any]) -> str:
    """`configs.digest` of what does not only say where a study runs.

    >>> digest({"seed": 0, "distributed": True}) == digest({"seed": 0})
    True
    """
    return configs.digest(_without_machine(configs.plain(config)))


def _without_machine(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in config.items():
        if not isinstance(value, Mapping):
            kept |= {} if is_of_machine(prefix + key) else {key: value}
        elif (inner := _without_machine(value, f"{prefix}{key}.")) or not value:
            kept[key] = inner
    return kept
