"""The arms of the in-context study, each defined completely: network, what it trains on, how examples are changed.

An arm is trained across tasks (`pool`), once, and then answers for tasks that it never saw; or anew for each task, on
the support set alone (`support`) or on every example that the task has outside of its test split (`task`), which is
what an in-context network is spared. Adding an arm is one line in `ARMS`.
"""

import dataclasses
from typing import NamedTuple

BASELINE_SCORES = "floors"  # the unit that holds what needs no network
CASES = "cases"  # the unit that holds subjects and pictures of the held-out tasks


class Cell(NamedTuple):
    """All networks that an arm trains under one seed.

    >>> Cell("universeg").unit_name("tune", 0.003, 0)
    'universeg/tune/0.003/0'
    """

    arm: str

    @property
    def key(self) -> str:
        """A learning rate is chosen for each arm."""
        return self.arm

    def unit_name(self, phase: str, rate: float, seed: int) -> str:
        """Of one training."""
        return f"{self.arm}/{phase}/{rate:.3g}/{seed}"

    def network_file(self, seed: int) -> str:
        """The file of a network that is kept, from the run folder."""
        return f"networks/{self.arm}_{seed}.npz"


@dataclasses.dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
      label: what the report calls it.
      network: `universeg`, `squeeze`, `prototypes`; or `unet`, which knows no support set.
      trains: `pool`, `support` or `task`.
      synthetic: whether synthetic tasks are in the pool.
      task_augmentation: changes of a whole episode, which make new tasks.
      in_task_augmentation: changes of every example on its own.
      stream: another number gives other random draws under the same seeds (A/A test).
      rate_factor: multiplies the learning rate of the reported runs (a planted handicap).
    """

    label: str
    network: str = "universeg"
    trains: str = "pool"
    synthetic: bool = True
    task_augmentation: bool = True
    in_task_augmentation: bool = True
    stream: int = 0
    rate_factor: float = 1.0

    @property
    def across_tasks(self) -> bool:
        """Whether one network is trained for all tasks."""
        return self.trains == "pool"

    def definition(self) -> str:
        """Everything in one line, for tables."""
        parts = [_NETWORKS[self.network], _TRAINS[self.trains]]
        if self.across_tasks:
            parts += [] if self.synthetic else ["no synthetic tasks"]
            parts += [] if self.task_augmentation else ["no task augmentation"]
        parts += [] if self.in_task_augmentation else ["no in-task augmentation"]
        return ", ".join(parts)


_NETWORKS = {
    "universeg": "cross blocks of query and support",
    "squeeze": "U-Net, gated by a conditioner of the support",
    "prototypes": "nearer of two mean features of the support",
    "unet": "U-Net without a support set",
}
_TRAINS = {
    "pool": "trained across tasks, once",
    "support": "trained for each task and support set",
    "task": "trained for each task on all its examples",
}

ARMS: dict[str, Arm] = {
    # few-shot networks, trained once across tasks
    "universeg": Arm("UniverSeg"),
    "squeeze": Arm("squeeze-guided", network="squeeze"),
    "prototypes": Arm("prototypes", network="prototypes"),
    # what a user without such a network would do
    "unet_support": Arm("U-Net on the support set", network="unet", trains="support"),
    "unet_task": Arm("U-Net on the whole task", network="unet", trains="task"),
    # ablations
    "no_synthetic": Arm("UniverSeg, no synthetic tasks", synthetic=False),
    "no_task_augmentation": Arm("UniverSeg, no task augmentation", task_augmentation=False),
    "no_augmentation": Arm("UniverSeg, no augmentation", task_augmentation=False, in_task_augmentation=False),
    # A/A and sensitivity checks
    "universeg_again": Arm("UniverSeg, other draws", stream=1),
    "universeg_slowed": Arm("UniverSeg, a hundredth of the rate", rate_factor=0.01),
}
