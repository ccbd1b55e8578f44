"""What the documentation says runs: every example in a docstring, and the code of the README and of each page."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import jax
import pytest
from checked_examples import ROOMS, SAME

import hyperlab

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
FOUND = [found.name for found in pkgutil.walk_packages(hyperlab.__path__, "hyperlab.")]
MODULES = [name for name in FOUND if name.split(".")[1] not in ROOMS]  # test_types.py runs the examples of those


def blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


PAGES = [page for page in (README, *sorted((ROOT / "docs").rglob("*.md"))) if blocks(page)]


@pytest.fixture(autouse=True)
def as_users_run_it():
    """The strictness of tests is not the documentation's."""
    with jax.numpy_rank_promotion("allow"), jax.debug_key_reuse(False):
        yield


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name):
    module = importlib.import_module(name)
    outcome = doctest.testmod(module, optionflags=SAME)
    assert outcome.failed == 0


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for block in blocks(page):
        exec(compile(block, page.name, "exec"), namespace)
    if page == README:
        assert (tmp_path / "diagnosis.png").stat().st_size > 0


def test_pictures_and_pages_that_the_readme_shows_exist():
    targets = re.findall(r"\]\(([^)#]+)\)", README.read_text())
    local = [target for target in targets if "://" not in target]
    assert local and all((README.parent / target).exists() for target in local)
