"""Every config of the stability study: its header is complete, and shrunk it runs to a report."""

from pathlib import Path

import pandas as pd
import pytest

import hyperlab as hl
from hyperlab import launch, sweep

ROOT = Path(__file__).parents[3]
APART = ("__init__", "map", "transfer")  # they have other pages, see test_map.py and test_transfer.py
FILES = sorted(path for path in (ROOT / "configs" / "stability").glob("*.py") if path.stem not in APART)
SMALL = {
    "tuning_seeds": 1,
    "widenings": 0,
    "report_seeds": 2,
    "train_length": "4 steps",
    "evaluate_every": 2,
    "steps_per_call": 4,
    "samples": 2,
    "curve_examples": 20,
    "batch_size": 8,
    "hypernet.hidden": (4,),
    "rates.sgd": (0.03,),
    "rates.adam": (0.003,),
}
TINY = {
    "rescaling": {"rescaling.data.count": 20, "rescaling.data.size": (16, 16), "rescaling.widths": (2, 2)},
    "registration": {
        "registration.data.subjects": 6,
        "registration.data.size": (16, 16),
        "registration.network.encoder": (2,),
        "registration.network.decoder": (2,),
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_shrunk_it_runs_to_a_report(file, tmp_path):
    config = launch.config_module(str(file)).get_config()
    small = dict(SMALL)
    if config.data.name == "mnist":
        small |= {"primary.widths": (2, 2), "data.limit": 40, "data.root": str(ROOT.parent / "shared/data/mnist")}
        if not Path(small["data.root"]).exists():
            pytest.skip("no MNIST at ../shared/data/mnist")
    small |= TINY.get(config.task, {})
    if "mip_slowed" not in config.arms:
        small["arms"] = ("plain", "default", "additive", "mip", "batch_norm")[: 5 if file.stem == "digits" else 4]
    folder = hl.run(sweep.apply(config, small), tmp_path / "run")
    results = pd.read_csv(folder / "results.csv")
    assert set(results.arm) == set(small.get("arms", config.arms))
    assert set(results.seed) == {100, 101} and set(results.split) == {"test"}
    assert results.groupby(["arm", "seed"])["metric"].nunique().min() >= 9
    contrasts = pd.read_csv(folder / "contrasts.csv")
    assert set(contrasts.contrast) == set(config.contrasts) and set(contrasts.label) == {"no claim"}
    assert (folder / "report.html").stat().st_size > 100_000
    score = "accuracy" if config.task == "classification" else "Dice"
    metrics = {score.lower(), f"mean_{score.lower()}", f"{score.lower()}_without_delta", "steps_to_target"}
    assert metrics <= set(results.metric) and set(contrasts.metric) == {"steps to target", score}
    assert f"<th>{score} without delta</th>" in (folder / "report.html").read_text()
    assert list((folder / "figures").glob("*.pdf"))


@pytest.mark.slow
def test_a_sweep_goes_on_after_a_failed_row_and_runs_no_row_twice(tmp_path):
    file = tmp_path / "mine.py"
    lines = "\n".join(f"    launch.override(config, {key!r}, {str(value)!r})" for key, value in SMALL.items())
    file.write_text(
        "from experiments import stability\nfrom hyperlab import launch\n\n"
        f"def get_config():\n    config = stability.get_config()\n{lines}\n"
        "    config.arms = ('plain', 'mip')\n    config.contrasts = ('mip - plain',)\n    return config\n\n"
        "def sweep():\n    yield {}\n    yield {'gamma.low': 2.0}\n    yield {'gamma.dim': 4}\n"
    )
    command = ["--config", str(file), "--workdir", str(tmp_path / "sweep")]
    with pytest.raises(SystemExit) as ended:
        sweep.main(command)
    assert ended.value.code == 1
    results = pd.read_csv(tmp_path / "sweep" / "results.csv")
    assert set(results.row) == {"default", "gamma.dim=4"}
    page = (tmp_path / "sweep" / "report.html").read_text()
    assert "failed: ConfigError: gamma.low (2.0) must be below gamma.high (1.0)" in page
    stamp = (tmp_path / "sweep" / "default" / "run.json").read_bytes()
    sweep.main([*command, "--only", "2"])
    with pytest.raises(SystemExit):
        sweep.main(command)
    assert (tmp_path / "sweep" / "default" / "run.json").read_bytes() == stamp


@pytest.mark.fast
def test_a_dry_run_lists_the_rows_and_writes_nothing(tmp_path, capsys):
    sweep.main(["--config", str(ROOT / "configs/stability/grid.py"), "--workdir", str(tmp_path / "x"), "--dry_run"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:3] == ["0", "new", "default"] and len(lines) > 10 and not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--config FILE is needed"),
        (["--config", "configs/stability/grid.py"], "--workdir"),
        (["--config", "configs/stability/digits.py", "--workdir", "x"], "has no sweep"),
        (["--config", "configs/stability/grid.py", "--workdir", "x", "--only", "99"], "rows 0 to"),
        (
            ["--config", "configs/stability/grid.py", "--workdir", "x", "--config.samples=0"],
            "row 0 (default): samples is 0",
        ),
        (["--config", "configs/stability/grid.py", "--workdir", "x", "--only", "a"], "number of a row"),
    ],
)
def test_a_sweep_that_cannot_start_says_why(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        sweep.main(arguments)
    assert ended.value.code == 2 and message in capsys.readouterr().err
