"""How the inner rate changes over a training: the factor of each update, and warm-up as the schedules share it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from hyperlab.errors import ConfigError, nearest
from hyperlab.train import schedules

NAMES = ("", "cosine", "steps")


class Schedule(NamedTuple):
    """A schedule for trainings of any length.

    Attributes:
      name: `cosine`; `steps`: a factor at some places; or the empty string: the rate stays as it is.
      warmup: share of the updates in which the rate rises, linearly.
      start: the factor at which it begins to rise.
      decay_at: of `steps`: shares of the updates after which the rate is multiplied by `decay`, rising.
      decay: the factor.
    """

    name: str = "cosine"
    warmup: float = 0.0
    start: float = 0.0
    decay_at: tuple[float, ...] = ()
    decay: float = 0.1

    def factor(self, updates: int) -> Callable[[Any], jax.Array] | None:
        """The factor as a function of the update, for so many of them; None is a constant 1.

        Steps are those of Goyal et al. 2017, arXiv 1706.02677: a warm-up that begins at the rate of a small batch,
        then a tenth of the rate at a third, two thirds and eight ninths of 90 epochs.

        Raises:
          ConfigError: an unknown name, or decays that do not rise from the end of the warm-up to below 1.

        >>> schedule = Schedule("steps", warmup=0.1, start=0.5, decay_at=(0.5,))
        >>> [round(float(schedule.factor(20)(update)), 3) for update in (0, 1, 2, 9, 10, 19)]
        [0.5, 0.75, 1.0, 1.0, 0.1, 0.1]
        """
        if (self.name or "") not in NAMES:
            raise ConfigError(f"optimizer.schedule is {self.name!r}; {nearest(self.name, NAMES)}")
        if not self.name or not updates:
            return None
        warmup = min(round(self.warmup * updates), updates - 1)
        if self.name == "cosine":
            return schedules.schedule({"name": "warmup_cosine", "total_steps": updates, "warmup_steps": warmup})
        places = [self.warmup, *self.decay_at, 1.0]
        if not self.decay_at or sorted(set(places)) != places:
            raise ConfigError(
                f"decay_at is {tuple(self.decay_at)}, expected rising shares of the updates between the end of the "
                f"warm-up, {self.warmup}, and 1"
            )
        # the boundaries of what follows the warm-up count from its end
        falls = {round(share * updates) - warmup: self.decay for share in self.decay_at}
        after = optax.piecewise_constant_schedule(1.0, falls)
        if not warmup:
            return after
        return optax.join_schedules([optax.linear_schedule(self.start, 1.0, warmup), after], [warmup])


def of(config: Any, scale: float = 1.0) -> Schedule:
    """The schedule of a study's config.

    Args:
      config: with `optimizer.schedule`, `warmup` and `decay_at`.
      scale: how many times that of a small batch the rate is; a warm-up by steps begins at the small one.
    """
    start = 1 / scale if scale > 1 and config.optimizer.schedule == "steps" else 0.0
    return Schedule(config.optimizer.schedule, config.warmup, start, tuple(config.decay_at))


def scale(global_batch: int, base_batch: int) -> float:
    """What the rate of `base_batch` examples is multiplied by; 1 without a base batch, and never less.

    The linear scaling rule of Goyal et al. 2017, arXiv 1706.02677: the rate grows with the batch.

    >>> scale(1024, 256), scale(1024, 0)
    (4.0, 1.0)
    """
    return max(1.0, global_batch / base_batch) if base_batch else 1.0
