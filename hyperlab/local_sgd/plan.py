"""When replicas talk: what happens at each step, as a function of the step alone.

So a restart needs no saved schedule, and every process comes to the same decision without asking.
"""

import bisect
from typing import NamedTuple

from hyperlab.errors import ConfigError
from hyperlab.local_sgd.config import Config
from hyperlab.local_sgd.periods import length


class Event(NamedTuple):
    """What one step does.

    Attributes:
      synchronous: gradients are averaged in the step itself; nothing follows.
      group: the size of the groups that average their parameters after the step, or None.
      fragments: indices of the fragments that are synchronised after the step; all of them end a round.
    """

    synchronous: bool = False
    group: int | None = None
    fragments: tuple[int, ...] = ()


class Plan:
    """The events of a run.

    Args:
      config: the method.
      total_steps: the steps of the whole run; the last one ends the round early, so that no local work is lost.
        None: the run has no known end.

    >>> plan = Plan(Config("post_local", replicas=2, period=3, synchronous_steps=1), total_steps=6)
    >>> [step for step in range(6) if plan.at(step).fragments], plan.at(0).synchronous
    ([3, 5], True)
    """

    def __init__(self, config: Config, total_steps: int | None = None):
        self.config, self.total_steps = config, total_steps
        # states at which a round begins; the first one is the end of the synchronous phase
        self._starts = [config.synchronous_steps]

    def at(self, step: int) -> Event:
        """What the step from state `step` to state `step + 1` does.

        Raises:
          ConfigError: a negative step, or one at or after `total_steps`.
        """
        if step < 0 or (self.total_steps is not None and step >= self.total_steps):
            raise ConfigError(f"step {step} is not one of the run's {self.total_steps} steps")
        config, after = self.config, step + 1
        if config.kind == "synchronous" or step < config.synchronous_steps:
            return Event(synchronous=True)
        everything = tuple(range(config.groups))
        if after == self.total_steps:
            return Event(fragments=everything)
        if config.groups > 1 and not callable(period := config.period):  # as every config with fragments has it
            at = (after - config.synchronous_steps) % period
            return Event(fragments=tuple(i for i in everything if i * period // config.groups == at))
        start, end = self.round_of(step)
        if after == end:
            return Event(fragments=everything)
        sizes = [size for every, size in config.levels if (after - start) % every == 0]
        return Event(group=max(sizes, default=None))

    def round_of(self, step: int) -> tuple[int, int]:
        """First state and last state of the round that a local step is in.

        >>> Plan(Config(period=4)).round_of(5)
        (4, 8)
        """
        while self._starts[-1] <= step:
            self._starts.append(self._starts[-1] + length(self.config.period, self._starts[-1]))
        index = bisect.bisect_right(self._starts, step)
        end = self._starts[index]
        return self._starts[index - 1], end if self.total_steps is None else min(end, self.total_steps)
