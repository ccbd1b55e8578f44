"""What the reference takes from the sources: examples as code, and every name once, in the module that defines it."""

import re

import griffe

BLOCK = re.compile(r"^( *)>>> .*?(?=\n\s*\n|\Z)", re.DOTALL | re.MULTILINE)


class Docstrings(griffe.Extension):
    """Named in mkdocs.yml."""

    def on_object(self, *, obj: griffe.Object, **_) -> None:
        """Puts every `>>>` block between fences: the parser knows those below a heading of their own alone."""
        if obj.docstring:
            obj.docstring.value = BLOCK.sub(r"\1```pycon\n\g<0>\n\1```", obj.docstring.value)

    def on_module_members(self, *, mod: griffe.Module, **_) -> None:
        """Drops what a package imports from its modules."""
        if mod.is_init_module:
            for name in [name for name, member in mod.members.items() if member.is_alias]:
                mod.del_member(name)
