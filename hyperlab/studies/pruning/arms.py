"""The methods of the pruning study, each defined completely: what is pruned, by which masks, with which values, when.

Two tracks share no curve without a note. Methods whose parent is `trained` prune a network that was trained, and tune
what is left; those whose parent is `initial` prune before training, and then train for as long as parent and tuning
took together. A control takes how much of each tensor is kept from another method, and nothing else of it: what a
method gains over its control, it gains by knowing which entries to keep. Adding a method is one line in `METHODS`.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any, NamedTuple

from hyperlab.errors import ConfigError, nearest
from hyperlab.pruning import STRATEGIES

TRACKS = {"trained": "prune, then tune", "initial": "prune, then train"}  # by what is pruned
VALUES = ("kept", "rewound", "redrawn")
WHEN = ("once", "iterative", "gradual", "set", "rigl")


PARENT = "parent"  # what is chosen for the networks that are pruned


class Cell(NamedTuple):
    """What is pruned and trained under a seed: a method at a compression.

    Attributes:
      method: its name, see `find`.
      compression: original size over new size; 1 where nothing is pruned.

    >>> Cell("random~snip", 4.0).unit_name("report", 0.003, 100)
    'random~snip/report/4/0.003/100'
    """

    method: str
    compression: float = 1.0

    @property
    def key(self) -> str:
        """One learning rate is chosen for a method at all compressions."""
        return self.method

    @property
    def stream(self) -> str:
        """Of its random keys: controls that make their masks alike draw the same."""
        masks, _ = control_of(self.method) or (self.method, "")
        return masks

    def unit_name(self, phase: str, rate: float, seed: int) -> str:
        """Of one training."""
        return f"{self.method}/{phase}/{self.compression:g}/{rate:.3g}/{seed}"


def parent_name(rate: float, seed: int) -> str:
    """The unit of a parent: a network that was trained from the start, in both phases."""
    return f"{PARENT}/{rate:.3g}/{seed}"


def unpruned_name(seed: int) -> str:
    """The unit of a reported parent as it is: the point at compression 1."""
    return f"unpruned/{seed}"


@dataclasses.dataclass(frozen=True)
class Method:
    """One method.

    Attributes:
      label: what the report calls it.
      masks: name of the strategy, in `pruning.STRATEGIES`; `none` prunes nothing.
      parent: `trained` or `initial`: the parameters that the masks are made from.
      values: what the kept entries start from: `kept` as the parent has them, `rewound` to where the parent was
        after a few steps, `redrawn` from the initial distribution.
      when: `once`; `iterative`, in rounds of tuning; `gradual`, by the cubic schedule; `set` and `rigl`, which go on
        exchanging entries.
      like: for a control, the method whose share of each tensor is kept.
      shuffled: whether the masks of `like` are shuffled within each tensor.
      stream: another number gives other random draws under the same seeds (A/A test).
      rate_factor: multiplies the learning rate of the reported runs (a planted handicap).
      per_point: whether masks are made, and training goes on, at every operating point of the task by itself: as
        many networks as points, an upper bound for one set of masks that serves all.
      source: where the method was published.
    """

    label: str
    masks: str = "global_magnitude"
    parent: str = "trained"
    values: str = "kept"
    when: str = "once"
    like: str = ""
    shuffled: bool = False
    stream: int = 0
    rate_factor: float = 1.0
    per_point: bool = False
    source: str = ""

    def __post_init__(self):
        for name, known in (("parent", TRACKS), ("values", VALUES), ("when", WHEN)):
            given = getattr(self, name)
            if given not in known:
                raise ConfigError(f"method {self.label!r}: {name} is {given!r}; {nearest(given, known)}")

    @property
    def track(self) -> str:
        """The track, in words."""
        return TRACKS[self.parent]

    def definition(self) -> str:
        """Everything in one line, for tables."""
        parts = [f"of {self.parent} parameters: {self.masks}"]
        if self.like:
            parts[0] += f", as much of each tensor as {self.like}" + (", shuffled" if self.shuffled else "")
        parts += [] if self.values == "kept" else [f"values {self.values}"]
        parts += [] if self.when == "once" else [self.when]
        parts += ["a network at each point of the front by itself"] if self.per_point else []
        return "; ".join(parts)


_BLALOCK = "Blalock et al., 2020, arXiv 2003.03033"

METHODS: dict[str, Method] = {
    # a trained parent is pruned, then tuned
    "global_magnitude": Method("global magnitude", source=_BLALOCK),
    "layer_magnitude": Method("layerwise magnitude", "layer_magnitude", source=_BLALOCK),
    "global_gradient": Method("global |weight x gradient|", "global_gradient", source=_BLALOCK),
    "layer_gradient": Method("layerwise |weight x gradient|", "layer_gradient", source=_BLALOCK),
    "random": Method("random", "random", source=_BLALOCK),
    "lamp": Method("LAMP", "lamp", source="Lee et al., 2021, arXiv 2010.07611"),
    "channels": Method("channels by their L1 norm", "channel_l1", source="Li et al., 2017, arXiv 1608.08710"),
    "iterative_magnitude": Method("global magnitude, in rounds", when="iterative", source="Han et al., 2015"),
    "gradual_magnitude": Method(
        "global magnitude, gradual", when="gradual", source="Zhu and Gupta, 2017, arXiv 1710.01878"
    ),
    "rewound_magnitude": Method(
        "global magnitude, rewound", values="rewound", source="Frankle et al., 2020, arXiv 1912.05671"
    ),
    "redrawn_magnitude": Method("global magnitude, redrawn", values="redrawn", source="Liu et al., 2019"),
    # an initial network is pruned, then trained
    "snip": Method("SNIP", "snip", parent="initial", source="Lee et al., 2019, arXiv 1810.02340"),
    "grasp": Method("GraSP", "grasp", parent="initial", source="Wang et al., 2020, arXiv 2002.07376"),
    "synflow": Method("SynFlow", "synflow", parent="initial", source="Tanaka et al., 2020, arXiv 2006.05467"),
    "initial_magnitude": Method("magnitude at the start", parent="initial"),
    "initial_random": Method("random at the start", "random", parent="initial"),
    "erk": Method("random, ERK", "erk_random", parent="initial", source="Evci et al., 2020, arXiv 1911.11134"),
    "set": Method("SET", "erk_random", parent="initial", when="set", source="Mocanu et al., 2018"),
    "rigl": Method("RigL", "erk_random", parent="initial", when="rigl", source="Evci et al., 2020, arXiv 1911.11134"),
    "snip_shuffled": Method("SNIP, shuffled", "snip", parent="initial", like="snip", shuffled=True),
    # of a network with a front: as good as one set of masks for all of it can hope to be
    "magnitude_apart": Method("global magnitude, each phi by itself", per_point=True),
    # tests of the instrument
    "global_magnitude_again": Method("global magnitude, other draws", stream=1),
    "global_magnitude_slowed": Method("global magnitude, a hundredth of the rate", rate_factor=0.01),
}

# What each track is held against: the same training, of which nothing is pruned.
UNPRUNED = {
    "dense": Method("unpruned, tuned", "none"),
    "dense_initial": Method("unpruned, trained as long", "none", parent="initial"),
}
DENSE = {method.parent: name for name, method in UNPRUNED.items()}
_ALWAYS = {"trained": ("random", "global_magnitude", "layer_magnitude"), "initial": ("initial_random",)}


def control_name(masks: str, like: str) -> str:
    """The name of the control that keeps as much of each tensor as another method.

    >>> control_name("random", "global_gradient")
    'random~global_gradient'
    """
    return f"{masks}~{like}"


def control_of(name: str) -> tuple[str, str] | None:
    """The masks of a control and the method that it is like, from its name; None of all other methods.

    >>> control_of("random~snip"), control_of("snip")
    (('random', 'snip'), None)
    """
    masks, control, like = name.partition("~")
    return (masks, like) if control else None


def find(name: str) -> Method:
    """A method, a control, or what nothing is pruned of, by name.

    Raises:
      ConfigError: the nearest name.

    >>> find("random~snip").like
    'snip'
    """
    known = METHODS | UNPRUNED
    if name in known:
        return known[name]
    masks, like = control_of(name) or (name, "")
    if masks not in ("random", "magnitude") or like not in METHODS:
        raise ConfigError(f"methods: unknown method {name!r}; {nearest(name, METHODS)}")
    of = METHODS[like]
    strategy = "random" if masks == "random" else "layer_magnitude"
    return Method(f"{masks}, shares of {of.label}", strategy, parent=of.parent, like=like)


def with_controls(names: Iterable[str]) -> tuple[str, ...]:
    """The methods of a study, and the controls that belong to them.

    Random and magnitude pruning are always there, and beside each method that spreads its entries over the tensors in a
    way of its own, random and magnitude pruning with its shares. Methods that differ in values or in time alone, or
    whose masks change while training, have none of their own.

    >>> with_controls(["global_gradient"])[:4]
    ('global_gradient', 'random', 'global_magnitude', 'layer_magnitude')
    >>> with_controls(["global_gradient"])[4:]
    ('random~global_magnitude', 'random~global_gradient', 'magnitude~global_gradient')
    """
    names = [name for name in names if control_of(name) is None]
    tracks = dict.fromkeys(find(name).parent for name in names)
    always = [name for track in tracks for name in _ALWAYS[track]]
    wanted = list(dict.fromkeys([*names, *always]))
    controls = []
    for name in sorted(wanted, key=lambda name: name not in always):
        if not _own_shares(METHODS[name]):
            continue
        controls.append(control_name("random", name))
        strategy = STRATEGIES[METHODS[name].masks]
        if (strategy.score, strategy.pattern) != ("magnitude", "unstructured"):  # whose control would be itself
            controls.append(control_name("magnitude", name))
    return (*wanted, *controls)


def _own_shares(method: Method) -> bool:
    """Whether a method decides by itself, and at once, how much of each tensor is kept."""
    plain = method.when == "once" and method.values == "kept" and not method.like
    copied = method.stream or method.rate_factor != 1 or method.per_point
    return plain and not copied and "random" not in method.masks and not method.masks.startswith("layer_")


def methods_of(config: Any) -> tuple[str, ...]:
    """The methods of a config, with their controls and with what nothing is pruned of."""
    arms = tuple(config.arms)
    for arm in arms:
        find(arm)
    arms = with_controls(arms) if config.controls else arms
    tracks = dict.fromkeys(find(arm).parent for arm in arms)
    return (*(DENSE[track] for track in tracks), *arms)


def cells_of(name: str, config: Any) -> list[Cell]:
    """A method at all compressions that are reported."""
    return [Cell(name)] if name in UNPRUNED else [Cell(name, one) for one in config.compressions]
