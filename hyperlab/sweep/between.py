"""Comparisons of the rows of a sweep, named in its config file before the rows run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hyperlab.errors import ConfigError, HyperlabError, nearest
from hyperlab.metrics.statistics import MOST_CONTRASTS, Contrast
from hyperlab.results import compare, results
from hyperlab.results.choosing import choose
from hyperlab.sweep.algebra import Overrides
from hyperlab.sweep.rows import name_of

if TYPE_CHECKING:
    from hyperlab.sweep.page import Compared


class Between(NamedTuple):
    """One family of comparisons: a row of the sweep against others, paired by seed and corrected together.

    Attributes:
      metric: of the rows' results.
      rows: the overrides of rows, as `sweep()` yields them; the first is compared with each of the others.
      where: which results, as `COLUMN=VALUE`, for instance `("arm=mip", "split=test")`.
      by: columns whose values are compared each for itself, in the same family.
      over: columns to average over first.
      better: `higher` or `lower`.
    """

    metric: str
    rows: Sequence[Overrides]
    where: Sequence[str] = ()
    by: Sequence[str] = ()
    over: Sequence[str] = ()
    better: str = "higher"

    @property
    def names(self) -> list[str]:
        """The folders of its rows.

        >>> Between("dice", ({"network": "generated"}, {"network": "plain"})).names
        ['network=generated', 'network=plain']
        """
        return [name_of(overrides) for overrides in self.rows]

    @property
    def scope(self) -> str:
        """Which results are compared, in words, less what each comparison says by itself.

        >>> Between("dice", (), where=["split=test", "arm=mip"], by=["arm"], over=["phi"]).scope
        'split=test, means over phi'
        """
        shown = [entry for entry in self.where if entry.partition("=")[0] not in self.by]
        return ", ".join([*shown, *([f"means over {' and '.join(self.over)}"] if self.over else [])])


def check(families: Sequence[Between], known: Sequence[str]) -> None:
    """Refuses comparisons of rows that the sweep does not have, and too many of them.

    Args:
      families: what `contrasts()` of a config file gives.
      known: the names of the sweep's rows.

    Raises:
      ConfigError: what is wrong, before any row runs.
    """
    for one in families:
        if not isinstance(one, Between):
            raise ConfigError(f"contrasts() gives a {type(one).__name__}, expected hyperlab.sweep.Between")
        if missing := next((name for name in one.names if name not in known), None):
            raise ConfigError(f"contrasts(): the sweep has no row {missing!r}; {nearest(missing, known)}")
        if not 2 <= len(set(one.names)) == len(one.names) <= MOST_CONTRASTS + 1:
            raise ConfigError(
                f"contrasts() of {one.metric!r} names the rows {', '.join(one.names)}; expected one and 1 to "
                f"{MOST_CONTRASTS} others"
            )
    metrics = [one.metric for one in families]
    if twice := next((metric for metric in metrics if metrics.count(metric) > 1), None):
        raise ConfigError(
            f"contrasts() has {twice!r} twice: comparisons of one metric are one Between, corrected together"
        )


def measure(folder: Path, families: Sequence[Between]) -> list["Compared"]:
    """The comparisons of all families, from the run folders of the rows, with the reason where there is none yet."""
    from hyperlab.sweep.page import Compared

    found = []
    for one in families:
        try:
            found.append(Compared(one.metric, one.scope, _measured(folder, one)))
        except HyperlabError as error:
            found.append(Compared(one.metric, one.scope, problem=str(error)))
    return found


def _measured(folder: Path, one: Between) -> dict[str, Contrast]:
    frame = choose(results(folder), where=one.where)
    first, *others = one.names
    table = compare(frame, one.metric, first, others, column="run", by=one.by, over=one.over, better=one.better)
    rows = table[["mean", "low", "high", "p", "n", "verdict", "label"]].itertuples(index=False)
    differences = table.attrs["differences"].items()
    return {name: Contrast(np.array(d), *row) for (name, d), row in zip(differences, rows, strict=True)}
