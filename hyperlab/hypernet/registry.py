"""Options by name: `"cos_sin"`, `"fourier:8"`, or the object itself."""

import ast
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

    def add(self, *names: str, **fixed) -> Callable:
        """Registers a class (or factory) under each name, with fixed keyword arguments."""

        def register(factory):
            for name in names:
                self._factories[name] = lambda *args, **kwargs: factory(*args, **{**fixed, **kwargs})
            return factory

        return register

    def names(self) -> list[str]:
        """The registered names."""
        return sorted(self._factories)

    def get(self, option: Any) -> Any:
        """An option from its name, `name:argument` or `name:first,second`; an object comes back as it is.

        Raises:
          ConfigError: unknown name (the nearest is given), or arguments that the option does not take.
        """
        if not isinstance(option, str):
            return option
        name, _, arguments = option.partition(":")
        if name not in self._factories:
            raise ConfigError(f"unknown {self.kind} {name!r}; {nearest(name, self._factories)}")
        try:
            values = [ast.literal_eval(part) for part in arguments.split(",")] if arguments else []
            return self._factories[name](*values)
        except (TypeError, ValueError, SyntaxError) as error:
            raise ConfigError(f"{self.kind} {option!r}: {error}") from error
