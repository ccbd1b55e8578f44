"""The `hyperlab` command: its words, its help, its exit codes, and what it writes."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from run_folders import table, write_run

from hyperlab.cli import command, main
from hyperlab.errors import DataError, WorkdirError
from hyperlab.studies import studies
from hyperlab.studies.again import write_again
from hyperlab.train.run_folder import RunFolder

ROOT = Path(__file__).parents[2]


def said(capsys, *words):
    """The exit code, and what went to stdout and to stderr."""
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code
    return code, *capsys.readouterr()


def test_help_names_every_command_and_the_exit_codes(capsys):
    for words in ((), ("--help",), ("-h",), ("help",)):
        code, out, err = said(capsys, *words)
        assert (code, err) == (0, "") and all(f"  {name} " in out for name in command.COMMANDS)
        assert "exit codes:" in out
    assert said(capsys, "help", "data", "check")[1].startswith("usage: hyperlab data check")
    assert said(capsys, "--version")[1].startswith("hyperlab 0.")


@pytest.mark.parametrize("words", [["results"], ["report"], ["export"], ["run"], ["data"]])
def test_every_word_has_help_with_exit_codes(capsys, words):
    code, out, _ = said(capsys, *words, "--help")
    assert code == 0 and out.startswith(f"usage: hyperlab {words[0]}") and "exit codes:" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reslts"], "unknown command 'reslts'; did you mean 'results'"),
        (["segment_uncertain"], "did you mean 'segment-uncertain'"),
        (["run", "stabilty"], "unknown study 'stabilty'; did you mean 'stability'"),
        (["run", "segment"], "unknown study 'segment'"),
        (["run", "stability", "--config.sed=1"], "'sed'; did you mean 'seed'"),
        (["data", "chekc", "DIR"], "unknown command 'data chekc'; did you mean 'data check'"),
        (["results", "no/such/folder"], "is no folder"),
        (["report", "no/such/folder"], "is no run folder"),
        (["export", "no/such/folder"], "is no run folder"),
        (["export", "x", "--to=zip"], "invalid choice: 'zip'"),
        (["results"], "required: ROOT"),
        (["sweep"], "--config"),
        (["sweep", "--cofig", "x"], "unknown option --cofig; did you mean '--config'"),
        (["run", "--config", "x"], "the study comes before --config"),
        (["run", "stability", "--config.hypernet.hiden=1"], "did you mean 'hypernet.hidden'"),
        (["--versoin"], "did you mean '--version'"),
        (["dta", "check", "DIR"], "did you mean 'data'"),
        (["predict", "RUN", "-images", "DIR"], "unknown option -images; did you mean '--images'"),
    ],
)
def test_bad_input_is_one_message_and_code_2(capsys, words, message):
    code, out, err = said(capsys, *words)
    assert (code, out) == (2, "") and message in err and "Traceback" not in err


def test_studies_are_those_that_can_be_launched(capsys):
    known = studies()
    tools = {"pruning_suite", "pruning_survey", "segment", "segment_uncertain"}
    assert set(known) == {path.stem for path in (ROOT / "experiments").glob("[a-z]*.py")} - tools
    listed = said(capsys, "run", "--help")[1]
    assert all(f"  {name} " in listed and line and line in listed for name, line in known.items())


def test_words_are_those_of_the_modules(capsys, monkeypatch):
    code, out, _ = said(capsys, "run", "stability", "--config.seed=7", "--print_config")
    assert code == 0 and json.loads(out)["seed"] == 7
    for name, module in (("data check", "hyperlab.data.check"), ("sweep", "hyperlab.sweep"),
                         ("segment-uncertain", "hyperlab.cli.segment_uncertain")):  # fmt: skip
        monkeypatch.setattr(f"{module}.main", lambda words: len(words))
        assert said(capsys, *name.split(), "--a", "b", "c")[0] == 3


def test_ctrl_c_leaves_no_traceback(capsys, monkeypatch):
    def interrupted(words):
        raise KeyboardInterrupt

    monkeypatch.setitem(command.COMMANDS, "run", command.COMMANDS["run"]._replace(run=interrupted))
    assert said(capsys, "run", "stability") == (130, "", "interrupted\n")


@pytest.mark.parametrize(
    "words", [["--help"], ["reslts"], ["run", "--help"], ["run", "stabilty"], ["results", "--help"]]
)
def test_help_and_did_you_mean_import_nothing_heavy(words):
    heavy = ["jax", "flax", "numpy", "pandas", "scipy", "matplotlib", "rich", "ml_collections"]
    code = f"""
import sys
from hyperlab.cli import main
try:
    main({words!r})
finally:
    print("imported:", [name for name in {heavy!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "imported: []" in done.stdout, done.stdout[-300:] + done.stderr[-300:]


def test_the_command_is_installed_and_a_module(tmp_path):
    settings = (ROOT / "setup.cfg").read_text()
    assert "hyperlab = hyperlab.cli:main" in settings
    done = subprocess.run([sys.executable, "-m", "hyperlab", "reslts"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and done.stderr.startswith("error: ")


# -- results ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", table(("mip", "[bold]")), config={"gamma": 4})
    write_run(tmp_path / "c", False, exit_reason=None)
    return tmp_path


def test_results_are_printed_and_written(capsys, root):
    code, out, err = said(capsys, "results", str(root))
    assert (code, err) == (0, "") and out.startswith("3 runs of stability, 12 rows of results.\n2 finished; 1 stopped.")
    assert "c\tstability\tstopped\tit ended without a word\t0" in out, "in a pipe, columns are separated by tabs"
    written = pd.read_csv(root / "results.csv")
    assert len(written) == 13 and written.columns[:4].tolist() == ["run", "study", "name", "status"]
    page = (root / "results.html").read_text()
    assert "3 runs of stability" in page and "<td>it ended without a word</td>" in page
    assert said(capsys, "results", str(root))[0] == 0, "its own files are written over"
    assert len(pd.read_csv(root / "results.csv")) == 13


def test_the_spread_of_groups_and_a_choice_of_rows(capsys, root):
    words = [
        "results",
        str(root),
        "--by",
        "run",
        "arm",
        "--where",
        "run=a",
        "run=b",
        "split=test",
        "--metric",
        "accuracy",
    ]
    code, out, _ = said(capsys, *words)
    lines = [line.split("\t") for line in out.splitlines() if "\t" in line]
    assert code == 0 and lines[0][:4] == ["run", "arm", "median", "mean"] and len(lines) == 5
    assert lines[1][:2] + lines[1][7:] == ["a", "mip", "3", "3", "0"] and ["b", "[bold]"] in [
        each[:2] for each in lines
    ]
    assert (root / "results_figures" / "accuracy.png").exists() and len(pd.read_csv(root / "results.csv")) == 12


def test_keys_of_configs_are_columns(capsys, root):
    assert "config.gamma" in said(capsys, "results", str(root), "--no-files", "--config", "gamma")[1]
    assert "config.gamma" not in said(capsys, "results", str(root), "--no-files")[1]
    assert not (root / "results.csv").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--by", "amr"], "'amr'; did you mean 'arm'"),
        (["--where", "split"], "expected COLUMN=VALUE"),
        (["--where", "splt=test"], "'splt'; did you mean 'split'"),
        (["--where", "split=tst"], "no row has split 'tst'; did you mean 'test'"),
        (["--metric", "acuracy"], "did you mean 'accuracy'"),
        (["--config", "gama"], "did you mean 'gamma'"),
    ],
)
def test_wrong_names_are_refused_before_anything_is_written(capsys, root, words, message):
    code, _, err = said(capsys, "results", str(root), *words)
    assert code == 2 and message in err and not (root / "results.html").exists()


def test_tables_of_others_are_never_written_over(capsys, root):
    (root / "results.csv").write_text("row,metric,value\n")
    code, out, err = said(capsys, "results", str(root))
    assert code == 0 and "not written" in err and "--out DIR" in err and "results.html" in out
    assert (root / "results.csv").read_text() == "row,metric,value\n"
    own = (root / "a" / "results.csv").read_bytes()
    assert said(capsys, "results", str(root / "a"))[0] == 0 and (root / "a" / "results.csv").read_bytes() == own
    assert said(capsys, "results", str(root / "a"), "--csv")[0] == 2, "what was asked for by name must be there"
    out = root / "new" / "folder"
    assert said(capsys, "results", str(root / "a"), "--out", str(out), "--csv")[0] == 0
    assert [path.name for path in out.iterdir()] == ["results.csv"]


def test_a_reader_who_has_seen_enough_ends_it_quietly(root):
    command_line = f"{sys.executable} -m hyperlab results {root} | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command_line], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines() == ["3 runs of stability, 12 rows of results.", "0"] and done.stderr == ""
    assert (root / "results.html").exists()


# -- report ----------------------------------------------------------------------------------------------------------


def test_a_report_is_written_again_by_its_study(tmp_path, capsys, monkeypatch):
    run = write_run(tmp_path / "run")
    code, _, err = said(capsys, "report", str(run))
    assert code == 2 and "holds no finished tuning" in err
    (run / "choices.json").write_text("{}")
    monkeypatch.setattr("hyperlab.studies.stability.page.write", lambda folder: folder / "report.html")
    assert said(capsys, "report", str(run))[:2] == (0, f"report: {run / 'report.html'}\n")


def test_reports_that_cannot_be_written(tmp_path):
    old = write_run(tmp_path / "old", study="in_context")
    (old / "choices.json").write_text("{}")
    with pytest.raises(WorkdirError, match="lacks what a report of this version reads"):
        write_again(old)
    with pytest.raises(DataError, match="is no run folder"):
        write_again(tmp_path)
    folder = RunFolder.open(tmp_path / "now", {"study": "stability"})
    try:
        with pytest.raises(WorkdirError, match="in use by another process"):
            write_again(folder.path)
    finally:
        folder.finish("finished")
    (write_run(tmp_path / "odd", study="stabilty") / "choices.json").write_text("{}")
    with pytest.raises(ValueError, match="a run of 'stabilty', of which no report is known; did you mean 'stability'"):
        write_again(tmp_path / "odd")
