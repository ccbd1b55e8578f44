"""What the documentation says runs: every example in a docstring, and the README's code from top to bottom."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import jax
import pytest

import hyperlab

README = Path(__file__).parent.parent / "README.md"
MODULES = [found.name for found in pkgutil.walk_packages(hyperlab.__path__, "hyperlab.")]


@pytest.fixture(autouse=True)
def as_users_run_it():
    """The strictness of tests is not the documentation's."""
    with jax.numpy_rank_promotion("allow"), jax.debug_key_reuse(False):
        yield


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name):
    module = importlib.import_module(name)
    outcome = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL)
    assert outcome.failed == 0


def test_the_readme_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) >= 3
    namespace = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    assert (tmp_path / "diagnosis.png").stat().st_size > 0


def test_pictures_and_pages_that_the_readme_shows_exist():
    targets = re.findall(r"\]\(([^)#]+)\)", README.read_text())
    local = [target for target in targets if "://" not in target]
    assert local and all((README.parent / target).exists() for target in local)
