"""Annotations of arrays are true: shapes and dtypes are checked in every call that an example of a docstring makes."""

import os
import subprocess
import sys
from pathlib import Path

import checked_examples
import pytest

ROOT = Path(__file__).parent.parent
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


def run(*rooms, folder=ROOT):
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [sys.executable, checked_examples.__file__, *rooms], env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
def test_every_example_has_the_shapes_and_dtypes_that_are_annotated():
    done = run(*(f"hyperlab.{room}" for room in checked_examples.ROOMS))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.fast
def test_an_annotation_that_lies_is_found(tmp_path):
    (tmp_path / "lies.py").write_text(LIES)
    done = run("lies", folder=tmp_path)
    assert done.returncode == 1 and "TypeCheckError" in done.stdout and "1 of 1" in done.stdout
