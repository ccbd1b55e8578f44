"""The studies by name: the modules of `experiments` that have `get_config` and `run`."""

import ast
import importlib
from pathlib import Path


def studies() -> dict[str, str]:
    """The studies by name, with the first line of what each says of itself. They are read, not imported.

    >>> "stability" in studies(), "segment" in studies()
    (True, False)
    """
    found = {}
    for folder in importlib.import_module("experiments").__path__:
        for path in sorted(Path(folder).glob("*.py")):
            module = ast.parse(path.read_text())
            functions = {node.name for node in module.body if isinstance(node, ast.FunctionDef)}
            if {"get_config", "run"} <= functions:
                found[path.stem] = (ast.get_docstring(module) or "").partition("\n")[0]
    return found
