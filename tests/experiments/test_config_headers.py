"""Every config file says what it does, with what it was run, and what came out; and fits its study's defaults."""

import re
from pathlib import Path

import pytest

from hyperlab import launch
from hyperlab.train import config as configs

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parents[2]
FILES = sorted(path for path in (ROOT / "configs").glob("*/*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("file", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_header_says_command_hardware_time_and_expectation(file):
    text, study = file.read_text(), file.parent.name
    for field in ("Run:", "Hardware:", "Time:", "Expect:"):
        assert re.search(rf"^{field} +\S", text, re.MULTILINE), field
    assert not re.search(r"(TIME|EXPECT)$", text, re.MULTILINE), "a field that was never filled in"
    command = re.search(r"^Run: +python -m (\S+) (.*)$", text, re.MULTILINE)
    module = launch.config_module(str(file))
    assert command[1] == ("hyperlab.sweep" if hasattr(module, "sweep") else f"experiments.{study}")
    assert f"configs/{study}/{file.name}" in command[2]
    configs.validate(module.get_config(), launch.load_study(study).get_config())


def test_every_study_has_configs():
    assert {path.parent.name for path in FILES} == {
        "stability",
        "rescaling",
        "registration",
        "in_context",
        "stochastic",
        "pruning",
        "local_sgd",
        "uncertainty",
    }
