"""Completion by TAB, as the shells ask for it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hyperlab import launch
from hyperlab.cli import command, completion, main, words
from hyperlab.studies import studies

ROOT = Path(__file__).parents[2]
GAMMA = ("dim", "high", "low", "prior")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A folder where the words are known, and a program `hyperlab` of these sources."""
    folder = tmp_path_factory.mktemp("cache")
    program = folder / "bin" / "hyperlab"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m hyperlab "$@"\n')
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYPERLAB_CACHE", str(folder))
        words.learn()
        yield folder


@pytest.fixture
def environment(cache):
    path = f"{cache / 'bin'}{os.pathsep}{os.environ['PATH']}"
    # of the very library that is tested, which may be an installed one, and not what the working folder holds
    library = str(Path(words.__file__).parents[2])
    own = {"PATH": path, "PYTHONPATH": library, "PYTHONSAFEPATH": "1"}
    return {**os.environ, "HYPERLAB_CACHE": str(cache), **own}


def completed(line, environment, folder=ROOT):
    """What bash would put in place of the word at the end of a line."""
    script = """
eval "$(hyperlab completion bash)"
COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
compopt() { echo "$@" >&2; }
_hyperlab hyperlab
printf '%s\\n' "${COMPREPLY[@]}"
"""
    given = ["bash", "-c", script, "bash", line]
    done = subprocess.run(given, env=environment, cwd=folder, capture_output=True, text=True, check=True)
    return [word for word in done.stdout.split("\n") if word], done.stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("hyperlab seg", ["segment", "segment-uncertain"]),
        ("hyperlab help pre", ["predict", "prepare"]),
        ("hyperlab data ", ["build", "check"]),
        ("hyperlab run sta", ["stability"]),
        ("hyperlab run rescaling --config.data.na", ["--config.data.name="]),
        ("hyperlab run rescaling --config.data.name=nn", ["nnunet"]),
        ("hyperlab run rescaling --config.prior.kind=", ["area", "uniform"]),
        ("hyperlab run stability --config.seed=1 --config.gamma.", [f"--config.gamma.{key}=" for key in GAMMA]),
        ("hyperlab run rescaling --config.pri", ["--config.primary.", "--config.prior."]),
        ("hyperlab run stability --print", ["--print_config"]),
        ("hyperlab run rescaling --config configs/rescaling/wb", ["configs/rescaling/wbc.py"]),
        ("hyperlab sweep --dry", ["--dry_run"]),
        ("hyperlab export RUN --to safetensors st", ["stablehlo"]),
        ("hyperlab segment --aspect ", ["keep", "stretch"]),
        ("hyperlab predict RUN --im", ["--images"]),
        ("hyperlab predict runs/fro", []),  # names of files, which the shell knows
        ("hyperlab run rescaling --workdir runs/fro", []),
        ("hyperlab nothing --a", []),
    ],
)  # fmt: skip
def test_a_word_is_completed(line, expected, cache, capsys):
    assert main(["completion", "--answer", line, "=:"]) == 0
    assert capsys.readouterr().out.split() == expected


@pytest.mark.parametrize(
    ("line", "expected", "told"),
    [
        ("hyperlab seg", ["segment", "segment-uncertain"], ""),
        ("hyperlab run rescaling --config.data.na", ["--config.data.name="], "-o nospace\n"),
        ("hyperlab run rescaling --config.data.name=nn", ["nnunet"], ""),
        ("hyperlab predict runs/fro", [], ""),
    ],
)
def test_bash_gets_what_it_asks_for(line, expected, told, environment):
    assert completed(line, environment) == (expected, told)


def test_arms_are_those_of_the_run(cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a run").mkdir()
    Path("a run", "config.json").write_text(json.dumps({"arms": ["fixed", "sshn"]}))
    of = lambda line: completion.candidates(completion.split(line)[1:], words.known())  # noqa: E731
    assert of("hyperlab predict 'a run' --arm ") == ["fixed", "sshn"]
    assert of("hyperlab export a\\ run --arm s") == ["sshn"]
    assert of("hyperlab export 'a run' --arm=s") == ["--arm=sshn"]
    assert of("hyperlab export nowhere --arm s") == []


def test_keys_are_those_that_a_run_takes(cache):
    known = words.known()
    assert list(known.studies) == list(studies())
    for study, keys in known.studies.items():
        assert {"seed", "arms", "data.device_bytes", "devices.per_training"} <= keys.keys()
        for key, choices in keys.items():
            if choices and not key.endswith("data.name"):
                launch.parse(study, [f"--config.{key}={choices[0]}"])


def test_every_command_with_a_parser_is_known(cache):
    known = words.known()
    assert known.commands.keys() == command.COMMANDS.keys() - {"run", "completion"}
    assert known.commands["predict"]["--probabilities"].takes == ""
    assert known.commands["prepare"]["--spacing"].takes == "several"
    assert known.positional == ["plan", "results", "report", "data check", "prepare", "predict", "export"]


def test_an_answer_imports_nothing_heavy(environment):
    code = f"""
import sys
from hyperlab.cli import main
main(["completion", "--answer", "hyperlab run rescaling --config.data.na", "="])
print([name for name in {["jax", "flax", "numpy", "ml_collections", "pandas"]!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "--config.data.name=\n[]\n"


def test_until_the_words_are_known_another_process_learns_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HYPERLAB_CACHE", str(tmp_path / "new"))
    started = []
    monkeypatch.setattr(words.subprocess, "Popen", lambda given, **_: started.append(given))
    for line, found in (("hyperlab run sta", "stability\n"), ("hyperlab run stability --config.s", "\n")):
        assert main(["completion", "--answer", line]) == 0
        assert capsys.readouterr().out == found
    assert started == [[sys.executable, "-m", "hyperlab.cli.words"]], "one is enough"
    monkeypatch.setenv("HYPERLAB_CACHE", "")
    assert main(["completion", "--answer", "hyperlab pred"]) == 0 and capsys.readouterr().out == "predict\n"
    assert len(started) == 1, "nothing may be kept"


def test_other_sources_have_other_words(cache, monkeypatch):
    assert words.known() is not None
    monkeypatch.setattr(words, "_sources", lambda folder: [("changed.py", 1)])
    assert words.known() is None


def test_another_installation_takes_no_words_away(tmp_path, monkeypatch):
    monkeypatch.setenv("HYPERLAB_CACHE", str(tmp_path))
    monkeypatch.setattr(words, "_of_commands", lambda: ({}, []))
    monkeypatch.setattr(words, "_of_studies", dict)
    words.learn()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(words, "_installed", lambda: "elsewhere")
        words.learn()
        monkeypatch.setattr(words, "_sources", lambda folder: [("changed.py", 1)])
        words.learn()
    assert len(list(tmp_path.glob("words-elsewhere-*.json"))) == 1 and len(list(tmp_path.glob("words-*"))) == 2


def test_a_damaged_file_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("HYPERLAB_CACHE", str(tmp_path))
    for text in ("", "{", "[]", '{"commands": {"a": 3}}'):
        words.place().write_text(text)
        assert words.known() is None


@pytest.mark.parametrize("shell", completion.SCRIPTS)
def test_the_script_is_one_that_its_shell_reads(shell, capsys, monkeypatch):
    monkeypatch.setenv("HYPERLAB_CACHE", "")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} is installed")
    assert subprocess.run([shell, "-n"], input=script, text=True, capture_output=True).stderr == ""


@pytest.mark.parametrize("given", [[], ["fish"], ["bsh"]])
def test_another_shell_is_refused(given, capsys):
    assert main(["completion", *given]) == 2
    assert "'bash'" in capsys.readouterr().err
