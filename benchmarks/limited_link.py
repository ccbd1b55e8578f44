"""Two processes on a slow network of their own: what a link is fitted to, and rounds of local SGD over it.

The network is the loopback of a Linux network namespace, limited by a token bucket. Both directions share it, so of an
all-reduce of two processes twice the payload crosses. The processes are pinned to a core each; process 0 moves the
limit, so that one start serves all measurements. Run as a script with a plan, this module is first the parent within
the namespace and then each of the processes.
"""

import dataclasses
import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from typing import Any, NamedTuple

from hyperlab.errors import ConfigError
from hyperlab.local_sgd import cost_model

PROCESSES = 2
# A packet has to fit into the bucket, hence the small MTU: the loopback's own packets of 64 KB would be dropped for
# ever. What fits into the bucket crosses at once after a pause: a small one, or the latency would come out negative.
SET_UP = "ip link set lo mtu 1500 up"
LIMIT = "tc qdisc replace dev lo root tbf rate {rate}mbit burst 64kb latency 800ms"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is fitted and what is measured.

    Attributes:
      rates: Mbit/s of the limits that are predicted.
      fit_rate: Mbit/s of the limit to which the link is fitted; none of `rates`.
      payloads: bytes of the all-reduces it is fitted to; none is the size of the network.
      periods: values of H, each a divisor of `steps`, the first one 1.
      steps: of one turn.
      repeats: turns of each period, after one that is not counted.
      widths: of the perceptron's hidden layers.
      rows: of a replica's batch.
    """

    rates: tuple[int, ...] = (800, 400)
    fit_rate: int = 600
    payloads: tuple[int, ...] = (500_000, 1_000_000, 6_000_000)
    periods: tuple[int, ...] = (1, 2, 4, 8, 16)
    steps: int = 16
    repeats: int = 5
    widths: tuple[int, ...] = (512, 512)
    rows: int = 64

    def __post_init__(self):
        if self.fit_rate in self.rates:
            raise ConfigError(f"the link is fitted at {self.fit_rate} Mbit/s, which is to be predicted: {self.rates}")


class Row(NamedTuple):
    """One period at one limit: seconds of a step and speed-up over H = 1, predicted and measured.

    Attributes:
      rate: Mbit/s.
      period: H.
      predicted_seconds: from the fitted link and one process alone.
      seconds: of a step, one a turn.
      predicted: speed-up.
      measured: speed-up, one a turn.
    """

    rate: int
    period: int
    predicted_seconds: float
    seconds: list[float]
    predicted: float
    measured: list[float]

    @property
    def errors(self) -> list[float]:
        """Relative errors of the predicted speed-up, one a turn."""
        return [abs(self.predicted / measured - 1) for measured in self.measured]


def obstacle() -> str | None:
    """Why this machine does not allow a limited network, in one line; None where it does."""
    for program in ("unshare", "ip", "tc"):
        if shutil.which(program) is None:
            return f"there is no program {program!r}"
    return _namespace()[1]


def measure(plan: Plan, timeout: float = 900.0) -> dict[str, Any]:
    """Runs the plan in a namespace of its own.

    Returns:
      `bytes` of the parameters; `sweep`, seconds of each payload; `alone`, by period, seconds of a step of one process
      while the other sleeps, one a turn; `together`, of the largest period while both compute and do not talk;
      `turns`, by rate and period, seconds of a step of both. Keys are text, as in JSON.

    Raises:
      RuntimeError: there can be no such namespace, or a process failed.
    """
    reason = obstacle()
    if reason:
        raise RuntimeError(f"no limited network on this machine: {reason}")
    command = [*_namespace()[0], sys.executable, __file__, json.dumps(dataclasses.asdict(plan)), str(timeout)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the processes in the namespace failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def link(plan: Plan, found: dict[str, Any], rate: int) -> cost_model.Link:
    """The link at a limit: latency and share of the nominal bandwidth as at `plan.fit_rate`, from its sweep alone."""
    fitted = cost_model.fit_link(plan.payloads, found["sweep"], PROCESSES)
    return fitted._replace(bandwidth=fitted.bandwidth * rate / plan.fit_rate)


def rows(plan: Plan, found: dict[str, Any]) -> list[Row]:
    """Predictions beside measurements, for every rate and period."""
    result = []
    for rate in plan.rates:
        at = link(plan, found, rate)
        predicted = {
            period: cost_model.step_seconds(
                statistics.median(found["alone"][str(period)]), at, PROCESSES, found["bytes"], period
            )
            for period in plan.periods
        }
        turns = found["turns"][str(rate)]
        for period in plan.periods:
            speedups = [first / other for first, other in zip(turns["1"], turns[str(period)], strict=True)]
            result.append(
                Row(rate, period, predicted[period], turns[str(period)], predicted[1] / predicted[period], speedups)
            )
    return result


@functools.cache
def _namespace() -> tuple[list[str], str | None]:
    """The command that enters a new namespace, and why there is none: as root, or as root of a user's own."""
    reason = ""
    for command in (["unshare", "--net"], ["unshare", "--map-root-user", "--net"]):
        steps = f"{SET_UP} && {LIMIT.format(rate=400)}"
        tried = subprocess.run([*command, "sh", "-c", steps], capture_output=True, text=True, check=False)
        if not tried.returncode:
            return command, None
        reason = " ".join(tried.stderr.split())
    return [], reason or "unshare fails"


def _parent(plan: str, timeout: float) -> None:
    """Within the namespace: starts the processes and prints what process 0 found."""
    from hyperlab.train import distributed

    subprocess.run(SET_UP.split(), check=True)
    environment = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}  # a flag may ask for several devices a process
    done = distributed.launch_local(
        [sys.executable, __file__, plan], PROCESSES, environment=environment, timeout=timeout
    )
    for one in done:
        if one.returncode:
            raise SystemExit(one.stderr or f"a process ended with code {one.returncode}")
    print(done[0].stdout.splitlines()[-1])


class _Process:
    """One of the processes: a replica of its own, which it trains alone or together with the other."""

    def __init__(self, plan: Plan):
        import jax
        import numpy as np
        import optax
        from jax.sharding import NamedSharding, PartitionSpec

        from hyperlab import local_sgd, trees
        from hyperlab.models import MLP
        from hyperlab.train import compiler, state
        from hyperlab.train.mesh import make_mesh
        from hyperlab.train.step import Aux, train_step

        net, optimizer = MLP(plan.widths), optax.sgd(1e-3, momentum=0.9)

        def loss(params, collections, batch, rngs):
            logits = net.apply({"params": params}, batch["image"])
            return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean(), Aux()

        self.plan, self.mesh, self.key = plan, make_mesh(local_sgd.mesh_shape(PROCESSES, PROCESSES)), jax.random.key(1)
        random = np.random.default_rng(jax.process_index())
        mine = {
            "image": random.normal(size=(1, plan.rows, 28, 28)).astype(np.float32),
            "label": random.integers(0, 10, (1, plan.rows)),
        }
        split = NamedSharding(self.mesh, PartitionSpec("replica"))
        self.batches = {
            1: jax.device_put(mine),
            PROCESSES: jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(split, leaf), mine),
        }
        variables = jax.device_get(jax.jit(net.init)(jax.random.key(0), mine["image"][0]))
        self.bytes = trees.count(variables["params"]) * 4
        self.drivers, self.states = {}, {}
        for replicas, mesh in ((1, None), (PROCESSES, self.mesh)):
            for period in plan.periods:
                config = local_sgd.Config("local", replicas, period)
                method = local_sgd.build(config, functools.partial(train_step, loss), optimizer, mesh)
                make = functools.partial(lambda method: method.create(state.create(variables, optimizer)), method)
                where = mesh and local_sgd.shardings(jax.eval_shape(make), mesh)
                self.states[replicas, period] = jax.jit(make, out_shardings=where)()
                self.drivers[replicas, period] = local_sgd.Driver(method, compiler_options=compiler.options())

    def turn(self, replicas: int, period: int) -> float:
        """Seconds of a step, over a whole number of rounds, begun when both processes are there."""
        import jax

        at = replicas, period
        self.meet()
        start = time.perf_counter()
        for _ in range(self.plan.steps):
            self.states[at], _ = self.drivers[at](self.states[at], self.batches[replicas], self.key)
        jax.block_until_ready(self.states[at])
        return (time.perf_counter() - start) / self.plan.steps

    def turns(self, replicas: int, periods: tuple[int, ...], works: bool = True) -> dict[int, list[float]]:
        """One period after another, in turns; a process that does not work waits for the one that does."""
        found: dict[int, list[float]] = {period: [] for period in periods}
        for repeat in range(self.plan.repeats + 1):
            for period in periods:
                seconds = self.turn(replicas, period) if works else self.meet()
                if repeat:
                    found[period].append(seconds)
        self.meet()
        return found

    def limit(self, rate: int) -> None:
        """Sets the limit while nobody sends."""
        import jax

        self.meet()
        if jax.process_index() == 0:
            subprocess.run(LIMIT.format(rate=rate).split(), check=True)
        self.meet()

    @staticmethod
    def meet() -> None:
        """Waits, asleep, for the other process."""
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices("limited link")

    def run(self) -> dict[str, Any]:
        """The whole plan; the link and one process alone come first."""
        import jax

        from hyperlab.local_sgd import measure

        plan, last = self.plan, self.plan.periods[-1]
        self.limit(plan.fit_rate)
        sweep = measure.all_reduce_sweep(self.mesh, plan.payloads, plan.repeats)
        alone = self.turns(1, plan.periods, works=jax.process_index() == 0)
        together = self.turns(1, (last,))[last]
        turns = {}
        for rate in plan.rates:
            self.limit(rate)
            turns[rate] = self.turns(PROCESSES, plan.periods)
        return {"bytes": self.bytes, "sweep": sweep, "alone": alone, "together": together, "turns": turns}


def _worker(plan: str) -> None:
    """Within the namespace: one of the processes."""
    from hyperlab.train import distributed

    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(os.environ["JAX_PROCESS_ID"]) % len(cores)]})  # before threads are started
    distributed.initialize(timeout=60)
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in json.loads(plan).items()}
    print(json.dumps(_Process(Plan(**values)).run()))


if __name__ == "__main__":
    if "JAX_PROCESS_ID" in os.environ:
        _worker(sys.argv[1])
    else:
        _parent(sys.argv[1], float(sys.argv[2]))
