"""A sweep as a SLURM array job: the script, which a person can read, and how a task puts itself back into the queue.

A task is told by SIGTERM before its time is up, saves, and asks to be started again; the same task then continues in
the same folder. `--signal` without `B:` sends the signal to the steps, where Python listens, and not to the script.
"""

import dataclasses
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hyperlab.errors import ConfigError, HyperlabError, nearest
from hyperlab.files import write_atomically

SCRIPT = "sweep.sbatch"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the script asks of the cluster; what is empty stays in it as a comment to fill in.

    Attributes:
      partition: where it runs.
      account: who pays.
      time: the limit of one start of one row; a row that takes longer is requeued.
      gpus: for each row.
      cpus: cores for each row.
      memory: for each row, for instance `16G`.
      at_once: how many rows at a time; 0 leaves that to the cluster.
      warning: seconds before the limit at which a row is told to save.
      requeues: how often a row may go back into the queue.
      setup: a line of shell before the run, for instance `module load cuda`.
    """

    partition: str = ""
    account: str = ""
    time: str = "04:00:00"
    gpus: int = 0
    cpus: int = 4
    memory: str = ""
    at_once: int = 0
    warning: int = 300
    requeues: int = 50
    setup: str = ""


def settings(options: Sequence[str]) -> Settings:
    """The settings from words `key=value`.

    Raises:
      ConfigError: an unknown key, or no number where one is needed.

    >>> settings(["partition=short", "gpus=1"]).gpus
    1
    """
    kinds: dict[str, type] = {field.name: type(field.default) for field in dataclasses.fields(Settings)}
    found = {}
    for option in options:
        key, equals, text = option.partition("=")
        if key not in kinds:
            raise ConfigError(f"unknown setting --slurm.{key}; {nearest(key, kinds)}")
        if not equals or (kinds[key] is int and not text.isdecimal()):
            wanted = "a whole number" if kinds[key] is int else "a value"
            raise ConfigError(f"--slurm.{key} needs {wanted}: --slurm.{key}=..., got {text!r}")
        _one_line(text, f"--slurm.{key}")
        if key != "setup" and any(letter.isspace() for letter in text):
            raise ConfigError(f"--slurm.{key} is {text!r}, expected one word without blanks")
        found[key] = kinds[key](text)
    return Settings(**found)


def script(count: int, command: Sequence[str], workdir: Path, wanted: Settings) -> str:
    """The text of the array script.

    Args:
      count: of rows.
      command: the command line of the sweep without a choice of rows.
      workdir: the folder of the sweep; the logs of the tasks go there.
      wanted: of the cluster.

    Raises:
      ConfigError: a name that no line of the script can hold: with a line break, or a backslash in the folder, from
        which SLURM makes another folder.
    """
    workdir = Path(workdir).absolute()
    for word in (*command, str(workdir), os.getcwd()):
        _one_line(word, "the command of a SLURM script")
    if "\\" in str(workdir):
        raise ConfigError(f"{workdir} has a backslash, which SLURM takes out of names of logs; choose another folder")
    at_once = f"%{wanted.at_once}" if wanted.at_once else ""
    asked = [
        ("job-name", workdir.name, ""),
        ("array", f"0-{count - 1}{at_once}", ""),
        ("partition", wanted.partition, "NAME"),
        ("account", wanted.account, "NAME"),
        ("time", wanted.time, "HH:MM:SS"),
        ("gres", f"gpu:{wanted.gpus}" if wanted.gpus else "", "gpu:1"),
        ("cpus-per-task", str(wanted.cpus), ""),
        ("mem", wanted.memory, "16G"),
        ("signal", f"TERM@{wanted.warning}", ""),
        ("requeue", None, ""),
        ("open-mode", "append", ""),
        ("output", f"{str(workdir).replace('%', '%%')}/slurm-%A_%a.log", ""),
    ]
    lines = ["#!/bin/bash", f"# A sweep of {count} rows, one array task each. Submit it, then the report:"]
    lines += [f"#   {line}" for line in submission(command, workdir)]
    for name, value, example in asked:
        if value is None:
            lines.append(f"#SBATCH --{name}")
        elif value:
            lines.append(f"#SBATCH --{name}={_quoted(value)}")
        else:
            lines.append(f"##SBATCH --{name}={example}")
    one = f'{shlex.join(command)} --only "$SLURM_ARRAY_TASK_ID" --requeue {wanted.requeues}'
    lines += [
        "",
        f"cd {shlex.quote(os.getcwd())} || exit 1",
        'export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"  # from 22.05 on, srun does not take it from the job',
        *([wanted.setup] if wanted.setup else []),
        f"srun {one}",
    ]
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    """A value as sbatch reads it from a `#SBATCH` line: in double quotes where it has more than plain letters.

    >>> _quoted("short"), _quoted('my "sweep"')
    ('short', '"my \\\\"sweep\\\\""')
    """
    if re.fullmatch(r"[A-Za-z0-9_@%+=:,./-]+", value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _one_line(text: str, what: str) -> None:
    if not text.isprintable():
        raise ConfigError(f"{what} has a line break or another control character in {text!r}; expected plain letters")


def submission(command: Sequence[str], workdir: Path) -> list[str]:
    """The two command lines: one that submits the script, one that makes the report when every row has ended."""
    path = shlex.quote(str(Path(workdir).absolute() / SCRIPT))
    report = shlex.quote(f"cd {shlex.quote(os.getcwd())} && {shlex.join([*command, '--report'])}")
    return [f"job=$(sbatch --parsable {path})", f'sbatch --dependency="afterany:$job" --wrap={report}']


def write(count: int, command: Sequence[str], workdir: Path, wanted: Settings) -> Path:
    """Writes `sweep.sbatch` into the folder of the sweep; see `script`."""
    text = script(count, command, workdir, wanted)
    Path(workdir).mkdir(parents=True, exist_ok=True)
    path = Path(workdir) / SCRIPT
    write_atomically(path, text)
    return path


def requeue(most: int) -> None:
    """Puts the job, or the array task, that this process is part of back into the queue.

    Args:
      most: how often it may have been started again; a run that gets nowhere would take a cluster's time for ever.

    Raises:
      RequeueError: it was started again so often already, or SLURM refuses.
    """
    job = this_job()
    restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    if restarts >= most:
        raise RequeueError(f"{job} was started again {restarts} times and is not requeued; see --slurm.requeues")
    print(f"requeueing {job}", file=sys.stderr, flush=True)
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise RequeueError(f"scontrol requeue {job} failed: {getattr(error, 'stderr', '') or error}") from error


def this_job() -> str:
    """The name by which SLURM knows this job, or this one task of an array.

    `SLURM_JOB_ID` will not do: the last task of an array has the number of the whole array, and to requeue that number
    requeues all tasks.

    Raises:
      RequeueError: this is no job of SLURM.
    """
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    if array and task:
        return f"{array}_{task}"
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        raise RequeueError("--requeue needs a job of SLURM, and SLURM_JOB_ID is not set")
    return job


class RequeueError(HyperlabError):
    """A job cannot be put back into the queue."""
