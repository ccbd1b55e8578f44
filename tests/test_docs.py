"""The pages under docs/: commands are read by the programs that they name, links and numbers lead somewhere."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from command_lines import FENCE, found, named_options, read, refusal

from hyperlab.cli import words
from hyperlab.errors import ConfigError

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
INTERVAL = re.compile(r"\[[-+]?\.?\d[-+\d., ]*\]")
fast = pytest.mark.fast
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@each_page
def test_commands_are_those_that_their_programs_take(page):
    refused = {" ".join(words): why for words in found(page.read_text()) if (why := refusal(words))}
    assert not refused


@pytest.fixture(scope="module")
def options():
    """Every option of every command, and every key."""
    commands, _ = words._of_commands()
    keys = {f"--config.{key}" for of_study in words._of_studies().values() for key in of_study}
    own = {option.rstrip("=") for option in words.RUN_OPTIONS}
    return own | keys | {option for of_command in commands.values() for option in of_command}


OF_OTHERS = {"--record"}  # of scripts that a page sends one to


@each_page
def test_options_that_are_named_alone_are_options_of_some_command(page, options):
    named = set(named_options(page.read_text())) - OF_OTHERS
    slurm = {option for option in named if option.startswith("--slurm.")}
    assert not named - slurm - options


@fast
def test_a_command_that_does_not_exist_is_found():
    page = (
        "```\nhyperlab run stability --config.sed=1\n```\nand `hyperlab results ROOT --bye arm` and `python -m venv x`"
    )
    first, second, third = found(page)
    with pytest.raises(ConfigError, match="sed"):
        read(first)
    with pytest.raises((AssertionError, SystemExit)):
        read(second)
    read(third)
    with pytest.raises(ConfigError, match="does not exist"):
        read(["hyperlab", "sweep", "--config", "configs/stability/nothing.py", "--workdir", "X"])


@fast
@each_page
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text())
    for target in LINK.findall(text):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        other = page.parent / path if path else page
        assert other.exists(), target
        if anchor:
            heads = [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in _headings(other)]
            assert anchor in heads, target
    for path in re.findall(r"`((?:configs|experiments|benchmarks|tests|hyperlab|docs)/[\w./]+)`", text):
        assert (ROOT / path).exists(), path


def _headings(page):
    return re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)


@fast
def test_every_page_is_in_the_menu():
    named = re.findall(r"^ +- (?:[^:\n]+: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(str(page.relative_to(ROOT / "docs")) for page in PAGES[1:])


@fast
def test_every_room_is_in_the_reference():
    pages = (ROOT / "docs" / "reference").glob("*.md")
    named = set(re.findall(r"^::: hyperlab\.(\w+)$", "\n".join(page.read_text() for page in pages), re.MULTILINE))
    inside = {"cli", "moved", "report"}  # reached by commands, by studies and by old names
    packages = {path.stem for path in (ROOT / "hyperlab").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert named == {package for package in packages if not package.startswith("__")} - inside


@fast
def test_the_reference_of_hypernetworks_has_every_module_and_begins_with_what_makes_one():
    page = (ROOT / "docs" / "reference" / "hypernet.md").read_text()
    named = re.findall(r"^ +- (\w+)$", page, re.MULTILINE)
    modules = [path.stem for path in (ROOT / "hyperlab" / "hypernet").glob("*.py") if path.stem != "__init__"]
    assert named[:2] == ["hypernetize", "model"] and sorted(named) == sorted(modules)


@fast
@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "papers").glob("*.md")), ids=lambda page: page.stem)
def test_intervals_of_a_page_are_those_of_a_config_or_a_benchmark(page):
    sources = [*ROOT.glob("configs/*/*.py"), *ROOT.glob("benchmarks/*.md")]
    recorded = " ".join(" ".join(source.read_text().split()) for source in sources)
    for interval in INTERVAL.findall(" ".join(page.read_text().split())):
        assert interval in recorded, interval


def test_the_diffs_of_the_page_apply_and_what_they_add_works(tmp_path):
    page = (ROOT / "docs" / "contributing.md").read_text()
    here = tmp_path / "changed"
    for name in ("hyperlab", "experiments", "configs", "tests"):
        shutil.copytree(ROOT / name, here / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, here)

    def run(*command, given=None):
        # a copy inside a checkout would be no business of git's
        alone = os.environ | {"GIT_CEILING_DIRECTORIES": str(tmp_path), "PYTHONPATH": str(here)}
        done = subprocess.run(command, cwd=here, env=alone, input=given, text=True, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    diffs = [code for language, code in FENCE.findall(page) if language == "diff"]
    assert len(diffs) == 6
    for diff in diffs:
        run("git", "apply", "-C1", "-", given=diff)
    changed = re.findall(r"^\+\+\+ b/(\S+)$", "".join(diffs), re.MULTILINE)
    run(sys.executable, "-m", "ruff", "check", *changed)
    run(sys.executable, "-m", "ruff", "format", "--check", *changed)

    code = "".join(code for language, code in FENCE.findall(page) if language == "py")
    body = f"import hyperlab\n{code}assert hyperlab.__file__.startswith({str(here)!r})\n"
    (here / "tests" / "test_page.py").write_text("def test_page():\n" + textwrap.indent(body, "    "))
    batteries = re.findall(r"^pytest (\S+) -k (\w+)$", page, re.MULTILINE)
    assert len(batteries) == 6
    files = ["tests/test_page.py", *(file for file, _ in batteries)]
    chosen = " or ".join(["test_page", *(name for _, name in batteries)])
    told = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", chosen)
    assert re.search(r"^15 passed", told, re.MULTILINE), told
