"""What the settings of a study mean and may be: one declaration a key, from which come its check and its help.

A schema is `{title: {dotted key: field}}`; titles order the help. A field says what one key is for, of which type and
in which range (`train.fields`). What keys ask of each other, of data and of files is for the study's own `check`.
"""

import textwrap
from collections.abc import Mapping
from typing import Any

from hyperlab.train.fields import Field

Schema = Mapping[str, Mapping[str, Field]]

_COLUMNS, _MEANINGS = 100, 38  # of the help: its width, and where meanings begin
_MOST_NAMED = 30  # choices of a key in the help


def check(config: Any, schema: Schema) -> None:
    """Refuses the first value of a config that its field does not allow.

    Args:
      config: complete, its keys and types checked (`train.config.validate`).
      schema: of the study.

    Raises:
      ConfigError: the dotted key, what was given, and what was expected.

    >>> from hyperlab.train.fields import Whole
    >>> check({"data": {"limit": -1}}, {"data": {"data.limit": Whole("images of each split", low=0)}})
    Traceback (most recent call last):
    hyperlab.errors.ConfigError: data.limit is -1, expected a whole number of at least 0 (images of each split)
    """
    for fields in schema.values():
        for key, field in fields.items():
            field.check(key, value_at(config, key))


def value_at(config: Any, key: str) -> Any:
    """The value of a dotted key.

    >>> value_at({"data": {"limit": 5}}, "data.limit")
    5
    """
    for part in key.split("."):
        config = config[part]
    return config


def under(group: str, fields: Mapping[str, Field]) -> dict[str, Field]:
    """Fields of a group, by their dotted keys.

    >>> from hyperlab.train.fields import Text, Whole
    >>> list(under("data", {"root": Text("a folder"), "limit": Whole("images", low=0)}))
    ['data.root', 'data.limit']
    """
    return {f"{group}.{key}": field for key, field in fields.items()}


def listed(config: Any, schema: Schema) -> str:
    """Every key with its value and its meaning, by title, within 100 columns.

    >>> from hyperlab.train.fields import Whole
    >>> print(listed({"seed": 0}, {"the run": {"seed": Whole("of all that is drawn", low=0)}}))
    the run
      seed = 0                            of all that is drawn
    """
    parts = []
    for title, fields in schema.items():
        lines = [_line(key, value_at(config, key), field) for key, field in fields.items()]
        parts.append("\n".join([title, *lines]))
    return "\n\n".join(parts)


def _line(key: str, value: Any, field: Field) -> str:
    shown = value if isinstance(value, str) and value else repr(value)
    named = textwrap.wrap(f"{key} = {shown}", _COLUMNS, initial_indent="  ", subsequent_indent="      ")
    meaning = field.meaning
    if len(field.choices) > 1:
        more = f" and {len(field.choices) - _MOST_NAMED} more" if len(field.choices) > _MOST_NAMED else ""
        meaning += f": {', '.join(name or repr(name) for name in field.choices[:_MOST_NAMED])}{more}"
    said = textwrap.wrap(meaning, _COLUMNS, initial_indent=" " * _MEANINGS, subsequent_indent=" " * _MEANINGS)
    if len(named) == 1 and len(named[0]) <= _MEANINGS - 2:
        said[0] = f"{named[0]:{_MEANINGS}}{said[0].lstrip()}"
        named = []
    return "\n".join([*named, *said])
