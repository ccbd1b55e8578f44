"""Options by name: `"cos_sin"`, `"fourier:8"`, or the object itself."""

import ast
import inspect
import math
from collections.abc import Callable
from typing import Any

from hyperlab.errors import ConfigError, nearest


class Registry:
    """Maps a name in a config to an option; a member is added with one line above its definition.

    >>> shapes = Registry("shape")
    >>> @shapes.add("box")
    ... class Box:
    ...     def __init__(self, side=1): self.side = side
    >>> shapes.get("box").side, shapes.get("box:3").side
    (1, 3)
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._factories: dict[str, Callable[..., Any]] = {}
        self._taken: dict[str, list[inspect.Parameter]] = {}

    def add(self, *names: str, **fixed: Any) -> Callable[..., Any]:
        """Registers a class (or factory) under each name, with fixed keyword arguments."""

        def register(factory: Callable[..., Any]) -> Callable[..., Any]:
            taken = [one for one in inspect.signature(factory).parameters.values() if one.name not in fixed]
            for name in names:
                self._taken[name] = taken
                self._factories[name] = lambda *args, **kwargs: factory(*args, **{**fixed, **kwargs})
            return factory

        return register

    def names(self) -> list[str]:
        """The registered names."""
        return sorted(self._factories)

    def get(self, option: Any) -> Any:
        """An option from its name, `name:argument` or `name:first,second`; an object comes back as it is.

        Raises:
          ConfigError: unknown name (the nearest is given), or arguments that the option does not take: more than it
            has, no whole number where its default is one, a size below 1.

        >>> sizes = Registry("size")
        >>> _ = sizes.add("rank")(lambda rank=4: rank)
        >>> sizes.get("rank:1.5")
        Traceback (most recent call last):
        hyperlab.errors.ConfigError: size 'rank:1.5': rank is 1.5, expected a whole number of at least 1
        """
        if not isinstance(option, str):
            return option
        name, _, arguments = option.partition(":")
        if name not in self._factories:
            raise ConfigError(f"unknown {self.kind} {name!r}; {nearest(name, self._factories)}")
        try:
            values = [ast.literal_eval(part) for part in arguments.split(",")] if arguments else []
            for parameter, value in zip(self._taken[name], values, strict=False):
                _check(parameter, value)
            return self._factories[name](*values)
        except (TypeError, ValueError, SyntaxError) as error:
            raise ConfigError(f"{self.kind} {option!r}: {error}") from error


def _check(parameter: inspect.Parameter, value: Any) -> None:
    """Refuses a value that is not of the kind of the default: sizes, counts from 0, numbers."""
    default = parameter.default
    if isinstance(default, bool) or not isinstance(default, int | float):
        return
    if isinstance(default, float):
        wanted, right = "a finite number", isinstance(value, int | float) and math.isfinite(value)
    else:
        least = min(default, 1)
        wanted, right = f"a whole number of at least {least}", isinstance(value, int) and value >= least
    if not right or isinstance(value, bool):
        raise ValueError(f"{parameter.name} is {value!r}, expected {wanted}")
