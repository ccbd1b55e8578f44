import sys

import pytest

import experiments


@pytest.fixture(autouse=True)
def experiments_without_the_toy():
    """The package of the studies as it was, when a test has ended: the toy's config adds its own folder."""
    path = list(experiments.__path__)
    yield
    experiments.__path__[:] = path
    sys.modules.pop("experiments.toy", None)
    if hasattr(experiments, "toy"):
        del experiments.toy
