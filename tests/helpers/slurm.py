"""SLURM on this machine alone, in a temporary folder, for as long as a `with` block lasts."""

import contextlib
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue")
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}


def why_not():
    """Why SLURM cannot run here; empty where it can."""
    missing = [name for name in PROGRAMS if _where(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed (Debian: slurm-wlm, munge)"
    return "" if os.geteuid() == 0 else "SLURM's daemons need root here"


class Cluster:
    """One controller and one node, with two tasks at a time.

    Attributes:
      environment: of processes that shall see this cluster, with extra variables of the caller.
    """

    def __init__(self, folder, **variables):
        self.folder = Path(folder)
        self.environment = os.environ | variables | {"SLURM_CONF": str(self.folder / "slurm.conf")}
        self._daemons, self._hurried = [], set()

    def __enter__(self):
        self.folder.mkdir(mode=0o700)
        try:
            self._munge()
            self._slurm()
            self.wait_until(lambda: "idle" in self.ask("sinfo", "--noheader", "-o", "%T"), 20, "the node is not idle")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error):
        with contextlib.suppress(Exception):
            self.ask("scancel", "--user", "root")
            self.wait_until(lambda: not self.ask("squeue", "--noheader"), 10, "")
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in reversed(self._daemons):
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def ask(self, *command):
        """The output of one of SLURM's commands."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=30)
        if done.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr}")
        return done.stdout.strip()

    def submit(self, script, *options):
        """The number of a new job."""
        return self.ask("sbatch", "--parsable", *options, str(script))

    def state(self, job):
        """`{task: (state, restarts)}` of a job; the task of a job that is no array is its number."""
        found = {}
        for line in self.ask("scontrol", "--oneliner", "show", "job", job).splitlines():
            values = dict(word.partition("=")[::2] for word in line.split())
            found[values.get("ArrayTaskId", values["JobId"])] = (values["JobState"], int(values["Restarts"]))
        return found

    def limit(self, job, minutes):
        """Gives a job, or one task of an array, another time limit."""
        with contextlib.suppress(RuntimeError):  # of an array, it tells of tasks that have ended too
            self.ask("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}")

    def wait(self, job, happened=None, seconds=60):
        """Waits until `happened(states)`, by default until all tasks have ended: the states then.

        SLURM holds a requeued job back for two minutes; here it starts after three seconds.
        """
        happened = happened or (lambda states: all(state in ENDED for state, _ in states.values()))
        states = {}

        def look():
            states.clear()
            states.update(self.state(job))
            for task, (state, restarts) in states.items():
                if state == "PENDING" and restarts and (job, task, restarts) not in self._hurried:
                    self._hurried.add((job, task, restarts))
                    name = job if task == job else f"{job}_{task}"
                    # At once would be too soon: the node still ends the start before, and the job fails.
                    with contextlib.suppress(RuntimeError):  # of an array, it tells of tasks that have ended too
                        self.ask("scontrol", "update", f"JobId={name}", "StartTime=now+3")
            return happened(states)

        self.wait_until(look, seconds, f"what was waited for of job {job} did not happen")
        return states

    def wait_until(self, happened, seconds, otherwise):
        """Waits until `happened()` is true; a command of SLURM that fails counts as not yet."""
        until = time.monotonic() + seconds
        while True:
            with contextlib.suppress(RuntimeError):
                if happened():
                    return
            if time.monotonic() > until:
                raise TimeoutError(otherwise)
            time.sleep(0.2)

    def _munge(self):
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        files = {f"--{name}-file": self.folder / f"munge.{name}" for name in ("pid", "log", "seed", "key")}
        self._start(
            "munged", "--foreground", "--force", f"--socket={self._socket}", *(f"{k}={v}" for k, v in files.items())
        )
        self.wait_until(self._socket.exists, 10, "munged does not answer")

    def _slurm(self):
        host, (controller, node) = platform.node(), _free_ports(2)
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        (self.folder / "slurm.conf").write_text(
            f"""ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={self._socket}
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/spool
SlurmctldPidFile={self.folder}/slurmctld.pid
SlurmdPidFile={self.folder}/slurmd.pid
SlurmctldLogFile={self.folder}/slurmctld.log
SlurmdLogFile={self.folder}/slurmd.log
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,batch_sched_delay=0
JobRequeue=1
ReturnToService=2
KillWait=10
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=here Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
        )
        self._start("slurmctld", "-D", "-f", self.environment["SLURM_CONF"])
        self.wait_until(lambda: "UP" in self.ask("scontrol", "ping"), 20, "slurmctld does not answer")
        self._start("slurmd", "-D", "-f", self.environment["SLURM_CONF"])

    @property
    def _socket(self):
        return self.folder / "munge.socket"

    def _start(self, name, *arguments):
        with (self.folder / f"{name}.out").open("wb") as out:
            command = [_where(name), *map(str, arguments)]
            daemon = subprocess.Popen(command, env=self.environment, stdout=out, stderr=out, start_new_session=True)
        self._daemons.append(daemon)


def _where(name):
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def _free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
