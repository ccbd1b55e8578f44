"""A sweep as an array job: the script, and a real SLURM on this machine that runs, warns and requeues it."""

import json
import re
import shlex
import subprocess
import time

import pandas as pd
import pytest
import slurm as cluster
import toy_sweep

from hyperlab import sweep
from hyperlab.errors import ConfigError
from hyperlab.sweep import slurm

# -- the script ---------------------------------------------------------------------------------------------------


@pytest.mark.fast
def test_the_script_asks_for_what_was_set_and_leaves_the_rest_to_fill_in(tmp_path):
    wanted = slurm.settings(["partition=short", "gpus=2", "at_once=4", "setup=module load cuda"])
    text = slurm.script(20, ["python", "-m", "hyperlab.sweep", "--config=a b.py"], tmp_path, wanted)
    lines = text.splitlines()
    for line in ("array=0-19%4", "partition=short", "gres=gpu:2", "time=04:00:00", "signal=TERM@300", "requeue"):
        assert f"#SBATCH --{line}" in lines
    assert "##SBATCH --account=NAME" in lines and "#SBATCH --open-mode=append" in lines
    assert lines[-2:] == [
        "module load cuda",
        "srun python -m hyperlab.sweep '--config=a b.py' --only \"$SLURM_ARRAY_TASK_ID\" --requeue 50",
    ]
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("partion=short", "unknown setting --slurm.partion; did you mean 'partition'"),
        ("gpus=two", "--slurm.gpus needs a whole number"),
        ("time", "--slurm.time needs a value"),
        ("setup=a\nb", "line break"),
        ("partition=a b", "--slurm.partition is 'a b', expected one word"),
    ],
)
def test_a_wrong_setting_is_refused(option, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        slurm.settings([option])


AWKWARD = 'my "runs"; it\'s 50%_of_%j #1 $HOME'


@pytest.mark.fast
@pytest.mark.parametrize(
    "name", ["plain", "my sweep", "-x", "a'b\"c;echo X", "50%_of_%j", "#1", "$(echo X)`", "a\tb", "é", AWKWARD]
)
def test_a_folder_of_any_name_is_what_the_script_means(tmp_path, name):
    """shlex reads `#SBATCH` lines as SLURM 22.05 does, which the test with a real one below confirms."""
    folder = tmp_path / name
    command = ["python", "-m", "hyperlab.sweep", f"--workdir={folder}"]
    if not name.isprintable():
        with pytest.raises(ConfigError, match="control character"):
            slurm.script(3, command, folder, slurm.Settings())
        return
    text = slurm.script(3, command, folder, slurm.Settings())
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    asked = [shlex.split(line, comments=True) for line in re.findall("^#SBATCH (.*)$", text, re.MULTILINE)]
    assert all(len(words) == 1 for words in asked)
    values = dict(words[0].removeprefix("--").partition("=")[::2] for words in asked)
    assert values["job-name"] == name
    assert values["output"].replace("%A", "7").replace("%a", "0").replace("%%", "%") == f"{folder}/slurm-7_0.log"
    run = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert [line.split()[0] for line in run] == ["cd", "export", "srun"]
    assert shlex.split(run[-1])[4] == f"--workdir={folder}"


@pytest.mark.fast
def test_a_backslash_in_the_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="has a backslash"):
        slurm.script(3, ["python"], tmp_path / "a\\b", slurm.Settings())


@pytest.mark.fast
def test_one_task_of_an_array_is_requeued_and_never_the_whole(monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(slurm.RequeueError, match="SLURM_JOB_ID is not set"):
        slurm.this_job()
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert slurm.this_job() == "12"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert slurm.this_job() == "12_3"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "5")
    with pytest.raises(slurm.RequeueError, match="12_3 was started again 5 times"):
        slurm.requeue(5)


# -- a real one ---------------------------------------------------------------------------------------------------

STEPS = 360
LIMITED, SIGNALLED = "pause=0.1", "seed=2,pause=0.05"
ROWS = ({"seed": 1}, {"pause": 0.1}, {"seed": 2, "pause": 0.05})


@pytest.mark.slow
@pytest.mark.skipif(bool(cluster.why_not()), reason=cluster.why_not() or "SLURM runs here")
def test_an_array_of_three_is_warned_and_requeued_and_ends_as_if_it_had_not_been(tmp_path, monkeypatch, capsys):
    """Row 0 is left in peace, row 1 meets its time limit, row 2 is told to go; a last job makes the report."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / AWKWARD
    command = ["--config", str(toy_sweep.write(tmp_path, ROWS, steps=STEPS)), "--workdir"]
    # SLURM looks every 30 s whose time is up: of one minute, the signal comes when 20 to 50 s are left.
    sweep.main([*command, AWKWARD, "--emit=slurm", "--slurm.time=00:01:00", "--slurm.warning=50", "--slurm.cpus=1"])
    submit = capsys.readouterr().out.splitlines()[1:]
    with cluster.Cluster(tmp_path / "slurm", **toy_sweep.environment()) as here:
        job, last = here.ask("bash", "-ec", "\n".join([*submit, 'echo "$job"'])).splitlines()[::-1]
        last = last.split()[-1]
        here.wait_until((folder / SIGNALLED / "reached.txt").exists, 60, "row 2 has not started")
        time.sleep(0.5)
        here.limit(f"{job}_2", minutes=10)
        here.ask("scancel", "--signal=TERM", f"{job}_2")
        here.wait(job, lambda states: "1" in states and states["1"][1] == 1)
        here.limit(f"{job}_1", minutes=10)
        tasks, ended = here.wait(job, seconds=120), here.wait(last)
    logs = "\n".join(path.read_text() for path in sorted(folder.glob("slurm-*.log")))
    assert tasks == {"0": ("COMPLETED", 0), "1": ("COMPLETED", 1), "2": ("COMPLETED", 1)}, logs
    assert ended[last][0] == "COMPLETED"
    for row in (LIMITED, SIGNALLED):
        starts = json.loads((folder / row / "run.json").read_text())["starts"]
        assert [start["exit_reason"] for start in starts] == ["stopped: SIGTERM", "finished"], logs
        assert starts[1]["environment"]["SLURM_RESTART_COUNT"] == "1"
    assert "requeueing" in logs and "Traceback" not in logs
    assert "3 rows: 3 finished; 3 have results." in (folder / "report.html").read_text()
    # The results of the toy are its final parameters, to the last digit; the pause is no part of them.
    toy_sweep.write_config(tmp_path / "straight.py", [{"seed": seed} for seed in (1, 0, 2)], steps=STEPS)
    sweep.main(["--config", "straight.py", "--workdir", "straight"])
    values = [pd.read_csv(tmp_path / name / "results.csv").value.tolist() for name in (AWKWARD, "straight")]
    assert values[0] == values[1] and len(values[0]) == 6
