"""The command line of a study, and the same from Python."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ml_collections
import pytest

import hyperlab as hl
from experiments import stability
from hyperlab import launch
from hyperlab.errors import ConfigError, WorkdirError
from hyperlab.train.run_folder import RunFolder
from hyperlab.train.writers import read_rows

ROOT = Path(__file__).parent.parent
TINY = {
    "arms": ("plain", "mip"),
    "contrasts": ("mip - plain",),
    "rates": {"sgd": (0.03, 0.1), "adam": (0.003,)},
    "tuning_seeds": 1,
    "widenings": 0,
    "report_seeds": 2,
    "train_length": "8 steps",
    "steps_per_call": 4,
    "evaluate_every": 2,
    "samples": 2,
    "curve_examples": 50,
    "primary": {"kind": "mlp", "widths": (8,)},
    "hypernet": {"hidden": (4, 8), "activation": "leaky_relu", "scale_by_dimension": False},
    "workers": 1,
}
FLAGS = [
    "--config.arms=('plain','mip')",
    "--config.contrasts=('mip - plain',)",
    "--config.rates.sgd=(0.03,0.1)",
    "--config.tuning_seeds=1",
    "--config.widenings=0",
    "--config.report_seeds=2",
    "--config.steps_per_call=4",
    "--config.evaluate_every=2",
    "--config.samples=2",
    "--config.primary.widths=(8,)",
    "--config.hypernet.hidden=(4,8)",
    "--config.workers=1",
]


def tiny(**changes):
    config = stability.get_config()
    with config.ignore_type():
        config.update({**TINY, **changes})
    return config


# -- arguments ----------------------------------------------------------------------------------------------------


@pytest.mark.fast
def test_overrides_are_read_as_the_type_they_have():
    arguments = ["--config.seed=3", "--config.gamma.high", "2", "--config.arms=('mip',)", "--workdir=runs/a"]
    options, config = launch.parse("stability", arguments)
    assert (config.seed, config.gamma.high, config.arms, options["workdir"]) == (3, 2.0, ("mip",), "runs/a")
    assert isinstance(config.gamma.high, float)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.train_lenght=3"], "unknown config key 'train_lenght'.*'train_length'"),
        (["--config.gamma.dims=3"], "unknown config key 'gamma.dims'.*'gamma.dim'"),
        (["--config.seed=fast"], "'seed' is 'fast'.*int"),
        (["--config.seed=1.5"], "'seed'.*int"),
        (["--config.arms=mip"], "'arms' is 'mip'.*tuple"),
        (["--config.primary.widths=3"], "'primary.widths'|'widths'.*tuple"),
        (["--config.gamma=3"], "'gamma' is a group"),
        (["--config.seed"], "needs a value"),
        (["--seed=3"], "unknown argument '--seed=3'"),
        (["--wrokdir=x"], "unknown argument.*'--workdir'"),
        (["--config=configs/stability/mnits.py"], "does not exist.*mnist"),
    ],
)
def test_bad_arguments_are_one_error_each(arguments, message):
    with pytest.raises(ConfigError, match=message):
        launch.parse("stability", arguments)


@pytest.mark.fast
def test_a_group_names_its_keys_or_says_that_it_is_empty():
    config = ml_collections.ConfigDict({"named": {"low": 0.0, "high": 1.0}, "empty": {}})
    with pytest.raises(ConfigError, match=r"'named' is a group; set one of named.high, named.low"):
        launch.override(config, "named", "1")
    with pytest.raises(ConfigError, match=r"'empty' is a group; it is empty"):
        launch.override(config, "empty", "1")


def test_a_config_file_with_an_argument_and_one_that_fails(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from experiments import stability\n"
        "def get_config(seed='0'):\n"
        "    config = stability.get_config(); config.seed = int(seed); return config\n"
    )
    assert launch.parse("stability", [f"--config={file}:7"])[1].seed == 7
    assert launch.parse("stability", ["--config", str(file), "--config.seed=8"])[1].seed == 8
    file.write_text("def get_config(): return 1 / 0\n")
    with pytest.raises(ConfigError, match="mine.py failed: ZeroDivisionError"):
        launch.parse("stability", [f"--config={file}"])
    file.write_text(
        "from experiments import stability\n"
        "def get_config():\n"
        "    config = stability.get_config(); config.nonsense = 1; return config\n"
    )
    with pytest.raises(ConfigError, match="nonsense"):
        launch.parse("stability", [f"--config={file}"])


# -- from Python --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"study": "stabilty"}, "'stability'"),
        ({"arms": ("mipp",)}, "unknown arm 'mipp'.*'mip'"),
        ({"contrasts": ("mip - default",)}, "'default'"),
        ({"optimizers": ("sgdd",)}, "unknown optimizer 'sgdd'.*'sgd'"),
        ({"train_length": "10 steps"}, "must divide"),
        ({"train_length": "ten steps"}, "duration"),
        ({"primary": {"kind": "cnn", "widths": (8,)}}, "primary.kind"),
        ({"gamma": {"dim": 1, "prior": "cauchy", "low": 0.0, "high": 1.0}}, "prior"),
        ({"gamma": {"dim": 1, "prior": "uniform", "low": 1.0, "high": 0.0}}, "low"),
        ({"data": {"name": "digit", "root": "", "split_seed": 0, "limit": 0}}, "'digits'"),
        ({"data": {"name": "mnist", "root": "/nowhere", "split_seed": 0, "limit": 0}}, "/nowhere"),
    ],
)
def test_a_bad_config_is_refused_before_anything_is_written(tmp_path, changes, message):
    with pytest.raises(hl.errors.HyperlabError, match=message):
        hl.run(tiny(**changes), tmp_path / "run")
    assert not list(tmp_path.glob("run/units/*")) and not (tmp_path / "run" / "checkpoints").exists()


def test_from_python_the_same_folder_twice_does_the_work_once(tmp_path):
    folder = hl.run(tiny(), tmp_path / "run")
    report, units = (folder / "report.html").read_text(), sorted((folder / "units").iterdir())
    assert "<h1>" in report and "data:image/png;base64," in report and len(units) == 2 * (4 + 1) - 3
    stamps = [unit.stat().st_mtime_ns for unit in units]
    results = (folder / "results.csv").read_bytes()
    assert hl.run(ml_collections.ConfigDict(tiny()), folder) == folder
    assert [unit.stat().st_mtime_ns for unit in units] == stamps
    assert (folder / "results.csv").read_bytes() == results
    starts = json.loads((folder / "run.json").read_text())["starts"]
    assert [start["exit_reason"] for start in starts] == ["finished", "finished"]
    assert [start["test_reads"] for start in starts] == [4, 0]
    assert starts[0]["compiled"]["programs"] > 0 and starts[0]["compiled"]["seconds"] > 0
    assert starts[0]["peak_bytes"]["process"] > 2**26
    with pytest.raises(WorkdirError, match="report_seeds is 2 there and 3 here"):
        hl.run(tiny(report_seeds=3), folder)


# -- what could not run ---------------------------------------------------------------------------------------------

BAD = {
    "stability": "--config.devices.per_training=999",
    "rescaling": "--config.data.size=(48, 48, 48)",
    "registration": "--config.steps_per_call=37",
    "in_context": "--config.support_sizes=(5000,)",
    "stochastic": "--config.data.held_out=('x',)",
    "uncertainty": "--config.data.other_kinds=('x',)",
    "pruning": "--config.compressions=(4.0, 8.0, 16.0, 32.0, 5000.0)",
    "local_sgd": "--config.arms=('loca',)",
}  # most of them only the data or the machine tell


@pytest.mark.slow
@pytest.mark.parametrize(("study", "word"), BAD.items(), ids=BAD)
def test_what_a_run_refuses_the_printing_of_its_config_refuses_in_the_same_words(study, word, tmp_path, capsys):
    told = []
    for more in (["--print_config"], []):
        with pytest.raises(SystemExit) as ended:
            launch.main(f"experiments.{study}", [word, f"--workdir={tmp_path / 'run'}", *more])
        printed = capsys.readouterr()
        assert ended.value.code == 2 and printed.out == "" and not (tmp_path / "run").exists()
        told.append(printed.err.splitlines()[-1])
    assert told[0] == told[1] and told[0].startswith("error: ")


def test_the_printing_of_a_config_leaves_nothing_and_knows_the_folder_that_is_meant(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    launch.main("experiments.stability", [*FLAGS, "--config.train_length=8 steps", "--print_config"])
    printed = capsys.readouterr()
    assert json.loads(printed.out)["report_seeds"] == 2 and printed.err == "" and not list(tmp_path.iterdir())
    other = tiny(seed=5)
    folder = RunFolder.open(tmp_path / "run", other)
    (folder.path / "metrics.jsonl").write_text("{}\n")  # it came to some work
    folder.finish("stopped")
    files = {path: path.read_bytes() for path in folder.path.iterdir() if path.is_file()}
    with pytest.raises(WorkdirError, match="seed is 5 there and 0 here"):
        launch.rehearse(tiny(), folder.path)
    launch.rehearse(tiny(), folder.path, allow_config_change=True)
    assert {path: path.read_bytes() for path in folder.path.iterdir() if path.is_file()} == files


# -- real processes -----------------------------------------------------------------------------------------------


def command(*arguments, **options):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.stability", *FLAGS, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.slow
def test_bad_input_ends_with_one_message_and_code_2(tmp_path):
    done = command("--config.data.name=mnist", f"--config.data.root={tmp_path}", f"--workdir={tmp_path / 'run'}")
    _, error = done.communicate(timeout=60)
    assert done.returncode == 2
    assert "Traceback" not in error and error.count("error:") == 1 and "train-images-idx3-ubyte" in error


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)])
def test_stopped_or_killed_it_continues_and_the_results_are_those_of_one_run(tmp_path, number, code):
    length = "--config.train_length=400 steps"
    child = command(length, f"--workdir={tmp_path / 'cut'}")
    end = time.monotonic() + 60
    while not list((tmp_path / "cut").glob("units/*.npz")) and time.monotonic() < end:
        time.sleep(0.02)
    child.send_signal(number)
    output, error = child.communicate(timeout=60)
    assert child.returncode == code, error
    assert not (tmp_path / "cut" / "report.html").exists(), "it was too fast to be cut off"
    if code == 0:
        assert "continue: --workdir" in output
    for name in ("cut", "straight"):
        child = command(length, f"--workdir={tmp_path / name}")
        output, error = child.communicate(timeout=120)
        assert child.returncode == 0, error
        assert "report.html" in output
    for file in ("results.csv", "contrasts.csv", "choices.json"):
        assert (tmp_path / "cut" / file).read_bytes() == (tmp_path / "straight" / file).read_bytes()
    rows = [
        [(row["step"], row["split"]) for row in read_rows(tmp_path / name / "metrics.jsonl")]
        for name in ("cut", "straight")
    ]
    assert rows[0] == rows[1] and len(set(rows[0])) == len(rows[0])
