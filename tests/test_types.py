"""Annotations of arrays are true: shapes and dtypes are checked in every call that an example of a docstring makes.

As a program, `python tests/test_types.py ROOM ...`, this checks the rooms that are named: a process of its own, since
a room must not have been imported before.
"""

import doctest
import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import beartype
import beartype.roar
import pytest

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parent.parent
ROOMS = ("losses", "nn", "metrics", "hypernet", "pruning", "local_sgd", "uncertainty", "pareto")
LIES = '''
import jax.numpy as jnp
from jaxtyping import Array, Float

def doubled(values: Float[Array, " n"]) -> Float[Array, " n"]:
    """
    >>> doubled(jnp.ones(2)).shape
    (4,)
    """
    return jnp.concatenate([values, values])
'''


def checked(function):
    """A function that looks at what it is given and returns; fields of Flax have types that cannot be looked at."""
    try:
        return beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))(function)  # an int is a float
    except beartype.roar.BeartypeDecorHintPep3119Exception:
        return function


def examples(rooms):
    """How many examples of the rooms there are, and how many fail."""
    import jaxtyping

    with jaxtyping.install_import_hook(list(rooms), "test_types.checked"):
        modules = [importlib.import_module(room) for room in rooms]
        for room in list(modules):
            inside = pkgutil.walk_packages(getattr(room, "__path__", []), f"{room.__name__}.")
            modules += [importlib.import_module(found.name) for found in inside]
    results = [doctest.testmod(module, optionflags=doctest.ELLIPSIS) for module in modules]
    return sum(result.attempted for result in results), sum(result.failed for result in results)


def run(*rooms, folder=ROOT):
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "JAX_PLATFORMS": "cpu"}
    return subprocess.run([sys.executable, __file__, *rooms], env=environment, capture_output=True, text=True)


def test_every_example_has_the_shapes_and_dtypes_that_are_annotated():
    done = run(*(f"hyperlab.{room}" for room in ROOMS))
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_annotation_that_lies_is_found(tmp_path):
    (tmp_path / "lies.py").write_text(LIES)
    done = run("lies", folder=tmp_path)
    assert done.returncode == 1 and "TypeCheckError" in done.stdout and "1 of 1" in done.stdout


if __name__ == "__main__":
    attempted, failed = examples(sys.argv[1:])
    print(f"{failed} of {attempted} examples fail")
    sys.exit(failed > 0 or not attempted)
