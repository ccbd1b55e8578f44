"""The examples of docstrings, run with a look at the shapes and dtypes of every array that a function takes and gives.

    python tests/helpers/checked_examples.py hyperlab.nn ...

A program of its own, since what is checked must not have been imported before.
"""

import doctest
import importlib
import pkgutil
import sys

import beartype
import beartype.roar

# Parts of the library whose arrays have axes in their annotations: their examples run here and nowhere else.
ROOMS = ("losses", "nn", "metrics", "hypernet", "pruning", "local_sgd", "uncertainty", "pareto")
SAME = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL


def checked(function):
    """A function that looks at what it is given and returns; fields of Flax have types that cannot be looked at."""
    try:
        return beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))(function)  # an int is a float
    except beartype.roar.BeartypeDecorHintPep3119Exception:
        return function


def examples(rooms):
    """How many examples of the rooms there are, and how many fail."""
    import jaxtyping

    with jaxtyping.install_import_hook(list(rooms), "checked_examples.checked"):
        modules = [importlib.import_module(room) for room in rooms]
        for room in list(modules):
            inside = pkgutil.walk_packages(getattr(room, "__path__", []), f"{room.__name__}.")
            modules += [importlib.import_module(found.name) for found in inside]
    results = [doctest.testmod(module, optionflags=SAME) for module in modules]
    return sum(result.attempted for result in results), sum(result.failed for result in results)


if __name__ == "__main__":
    attempted, failed = examples(sys.argv[1:])
    print(f"{failed} of {attempted} examples fail")
    sys.exit(failed > 0 or not attempted)
