"""Old names of modules still import what is elsewhere now, and say so."""

import importlib
import subprocess
import sys

import pytest

import hyperlab
from hyperlab import moved

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("old", sorted(moved.MODULES))
@pytest.mark.filterwarnings("ignore::FutureWarning")  # of the packages above it
def test_an_old_name_is_the_module_of_today(old, monkeypatch):
    new = importlib.import_module(moved.MODULES[old])
    spec, name = new.__spec__, new.__name__
    importlib.import_module(old.rpartition(".")[0])
    monkeypatch.delitem(sys.modules, old, raising=False)
    with pytest.warns(FutureWarning, match=f"{old} is {new.__name__} now") as caught:
        got = importlib.import_module(old)
    assert len(caught) == 1
    if hasattr(got, "__path__"):
        public = next(name for name in vars(new) if not name.startswith("__"))
        assert got.__name__ == old and getattr(got, public) is getattr(new, public)
    else:
        assert got is new
    assert new.__spec__ is spec and new.__name__ == name


def test_names_of_today_are_searched_for_by_python_alone():
    assert not {*moved.MODULES} & {*moved.MODULES.values()}


@pytest.mark.slow
def test_a_room_that_is_gone_gives_its_names():
    code = "from hyperlab.few_shot import training; from hyperlab.replicas.arms import Arm; print(Arm, training)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("<class 'hyperlab.studies.local_sgd.arms.Arm'> <module 'hyperlab.studies.episodic'")
    assert done.stderr.count("FutureWarning") == 4 and "<string>:1: FutureWarning: hyperlab.few_shot is" in done.stderr


@pytest.mark.slow
def test_the_command_of_the_docs_of_before_still_runs():
    done = subprocess.run([sys.executable, "-m", "hyperlab.replicas.spawn"], capture_output=True, text=True)
    assert done.returncode == 2 and "python -m hyperlab.studies.local_sgd.spawn" in done.stderr
    assert "hyperlab.replicas.spawn is hyperlab.studies.local_sgd.spawn now" in done.stderr


def test_a_name_that_never_was_is_no_module():
    with pytest.raises(ModuleNotFoundError, match=r"hyperlab\.replicas_of_nothing"):
        importlib.import_module("hyperlab.replicas_of_nothing")
    moved.install()
    assert sum(type(finder).__module__ == moved.__name__ for finder in sys.meta_path) == 1
    assert hyperlab.moved is moved


def test_a_name_of_a_module_that_is_another():
    lookup = moved.names("hyperlab.errors", {"Failure": "hyperlab.errors.HyperlabError"})
    with pytest.warns(FutureWarning, match=r"hyperlab\.errors\.Failure is hyperlab\.errors\.HyperlabError now"):
        assert lookup("Failure") is hyperlab.errors.HyperlabError
    with pytest.raises(AttributeError, match="module 'hyperlab.errors' has no attribute 'Nothing'"):
        lookup("Nothing")
