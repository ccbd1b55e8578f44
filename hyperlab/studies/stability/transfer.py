"""Does the best learning rate stay where it is when the primary grows in width, or in depth? Nothing is tuned.

The course is that of the map (`map.Map`): all rates under all seeds are one unit, and every rate is reported. The
places are widths and depths of a multilayer perceptron. Arms `by_width` have their initial scales and rates by the rule
of `stability.width`, measured from the narrowest primary of the same depth; with the depth their rates fall as the
number of hidden layers grows.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import jax

from hyperlab.errors import ConfigError
from hyperlab.hypernet import ParamSpec, own_start
from hyperlab.studies.stability import sizes, width
from hyperlab.studies.stability.arms import Arm
from hyperlab.studies.stability.map import Map, Part, Tasks
from hyperlab.studies.stability.tasks import Task
from hyperlab.train import optimizers


class Transfer(Map):
    """The study of a config with `transfer.widths`."""

    page = "hyperlab.studies.stability.transfer_page"
    by_width = True

    @staticmethod
    def cells_of(config: Any) -> list[Any]:
        return sizes.cells_of(config)

    @staticmethod
    def placed(config: Any, *place: Any) -> Any:
        return sizes.placed(config, *place)

    @classmethod
    def load(cls, config: Any, folder: Path | None = None) -> Tasks:
        """The task of each width and depth, with its data.

        Raises:
          ConfigError: laws of gamma of a map beside it; what a map refuses.
        """
        if config.map.laws:
            raise ConfigError("transfer.widths and map.laws: a study is of one of them")
        return super().load(config, folder)

    def made(self, place: tuple[Any, ...]) -> Part:
        """The part of a place, with the base that its rule is measured from."""
        narrow = (self.config.transfer.widths[0], place[1])
        slower, config = self.config.transfer.depths[0] / place[1], self.placed(self.config, *place)
        base = None if place == narrow else cast("_Part", self.part(*narrow))
        return _Part(self, config, self.data[place], base, slower)


class _Part(Part):
    """The cells of one width and depth."""

    def __init__(self, whole: Map, config: Any, task: Task, base: "_Part | None", slower: float):
        super().__init__(whole, config, task)
        self.base, self.slower = base or self, slower

    @functools.cached_property
    def leaves(self) -> ParamSpec:
        """Of the primary."""
        own = jax.eval_shape(lambda key: own_start(self.task.primary, key, *self.task.example), jax.random.key(0))
        return ParamSpec.of(own["params"])

    def own_of(self, variant: Arm, own: Any) -> Any:
        if not variant.by_width:
            return own
        return {**own, "params": width.scaled(own["params"], width.starts(self.leaves, self.base.leaves))}

    def optimizer_of(self, architecture: Arm, name: str) -> Callable[[Any, Any], Any]:
        if not architecture.by_width:
            return super().optimizer_of(architecture, name)
        groups: Any
        if architecture.hypernetwork:
            groups = width.groups(self._model(architecture), self.base._model(architecture), name)
        else:
            rates = width.rates(self.leaves, self.base.leaves, name)
            groups = [(path, {"learning_rate_multiplier": rate}) for path, rate in rates.items()]
        recipe = optimizers.recipe(self.config.optimizer, name=name, groups=groups)
        return lambda rate, params: optimizers.build({**recipe, "learning_rate": self.slower * rate}, params)
