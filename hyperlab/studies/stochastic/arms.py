"""The arms of the stochastic study: a network that is trained, and the way in which it gives several answers.

Arms that differ at inference alone share one trained network for each seed (`Learner`), which is tuned, trained and
counted once. Adding an arm is one line in `ARMS`, adding a network one in `LEARNERS`.
"""

import dataclasses
from typing import NamedTuple

CONTROL = "universeg_noise"  # the arm that is made as diverse as Tyche
OPTIMUM = "optimum"  # the unit that holds what draws from the truth have
CASES = "cases"  # the unit that holds subjects and pictures of the held-out tasks


class Cell(NamedTuple):
    """All networks of a learner under one seed.

    >>> Cell("tyche").unit_name("tune", 0.003, 0)
    'tyche/tune/0.003/0'
    """

    learner: str

    @property
    def key(self) -> str:
        """A learning rate is chosen for each learner."""
        return self.learner

    def unit_name(self, phase: str, rate: float, seed: int) -> str:
        """Of one training."""
        return f"{self.learner}/{phase}/{rate:.3g}/{seed}"

    def network_file(self, seed: int) -> str:
        """The file of a network that is kept, from the run folder."""
        return f"networks/{self.learner}_{seed}.npz"


TYCHE = Cell("tyche")

ANSWERS = {
    "channel": "noise as a second input channel",
    "noise": "one answer under smooth noise, as diverse as Tyche's on development tasks",
    "draws": "a support set of its own for each candidate",
    "augmented": "grey values of image and support set changed for each candidate",
    "augmented_target": "grey values of the image changed for each candidate",
    "augmented_context": "grey values of the support set changed for each candidate",
    "dropout": "another draw of dropout for each candidate",
    "networks": "another network for each candidate",
}


@dataclasses.dataclass(frozen=True)
class Learner:
    """A network to be trained.

    Attributes:
      module: `tyche`, `universeg`; or `unet`, `dropout_unet`, which know no support set.
      trains: `pool`, once across tasks, or `task`, anew for each task on all its training examples.
      loss: of candidates, `best` or `mean`; `single` for one answer: cross-entropy and soft Dice.
      mix: whether candidates meet inside the network.
      candidates: in training; 0 for as many as the config says.
      stream: another number gives other random draws under the same seeds (A/A test).
      rate_factor: multiplies the learning rate of the reported runs (a planted handicap).
    """

    module: str
    trains: str = "pool"
    loss: str = "single"
    mix: bool = True
    candidates: int = 0
    stream: int = 0
    rate_factor: float = 1.0

    @property
    def across_tasks(self) -> bool:
        """Whether one network is trained for all tasks."""
        return self.trains == "pool"

    @property
    def scored(self) -> str:
        """What its learning rate is chosen by: `ged`, of candidates; or `dice`, of one answer."""
        return "ged" if self.module in ("tyche", "dropout_unet") else "dice"

    def definition(self) -> str:
        """Everything in one line, for tables."""
        parts = [
            _MODULES[self.module],
            {"pool": "trained across tasks, once", "task": "trained for each task"}[self.trains],
        ]
        parts += [
            {
                "best": "best-candidate Dice loss",
                "mean": "mean-candidate Dice loss",
                "single": "Dice and cross-entropy",
            }[self.loss]
        ]
        parts += [] if self.mix else ["candidates do not meet"]
        parts += [f"{self.candidates} candidate(s) in training"] if self.candidates else []
        return ", ".join(parts)


_MODULES = {
    "tyche": "set blocks of candidates and support",
    "universeg": "cross blocks of query and support",
    "unet": "U-Net without a support set",
    "dropout_unet": "U-Net with dropout of channels, without a support set",
}

LEARNERS: dict[str, Learner] = {
    "tyche": Learner("tyche", loss="best"),
    "universeg": Learner("universeg"),
    "dropout_unet": Learner("dropout_unet", trains="task"),
    "unet": Learner("unet", trains="task"),
    # ablations
    "tyche_mean": Learner("tyche", loss="mean"),
    "tyche_apart": Learner("tyche", loss="best", mix=False),
    "tyche_one": Learner("tyche", loss="best", candidates=1),
    "tyche_four": Learner("tyche", loss="best", candidates=4),
    # A/A and sensitivity checks
    "tyche_again": Learner("tyche", loss="best", stream=1),
    "tyche_slowed": Learner("tyche", loss="best", rate_factor=0.01),
}


@dataclasses.dataclass(frozen=True)
class CandidateArm:
    """One arm.

    Attributes:
      label: what the report calls it.
      learner: name in `LEARNERS`.
      answers: how candidates come about, one of `ANSWERS`.
    """

    label: str
    learner: str
    answers: str = "channel"

    @property
    def independent(self) -> bool:
        """Whether candidates are draws of their own, so that few of them are the first of many."""
        return self.answers != "channel" or not LEARNERS[self.learner].mix

    def definition(self) -> str:
        """Everything in one line, for tables."""
        return f"{LEARNERS[self.learner].definition()}; candidates: {ANSWERS[self.answers]}"


ARMS: dict[str, CandidateArm] = {
    "tyche": CandidateArm("Tyche", "tyche"),
    # controls: one deterministic network
    "universeg_noise": CandidateArm("UniverSeg and noise", "universeg", "noise"),
    "universeg_draws": CandidateArm("UniverSeg, support draws", "universeg", "draws"),
    "universeg_augmented": CandidateArm("UniverSeg, augmented", "universeg", "augmented"),
    # a network for each task
    "dropout_unet": CandidateArm("dropout U-Net", "dropout_unet", "dropout"),
    "unet_ensemble": CandidateArm("U-Net ensemble", "unet", "networks"),
    # ablations
    "tyche_mean": CandidateArm("Tyche, mean-candidate loss", "tyche_mean"),
    "tyche_apart": CandidateArm("Tyche, no mixing", "tyche_apart"),
    "tyche_one": CandidateArm("Tyche, 1 candidate in training", "tyche_one"),
    "tyche_four": CandidateArm("Tyche, 4 candidates in training", "tyche_four"),
    "universeg_augmented_target": CandidateArm("UniverSeg, image augmented", "universeg", "augmented_target"),
    "universeg_augmented_context": CandidateArm("UniverSeg, support augmented", "universeg", "augmented_context"),
    # A/A and sensitivity checks
    "tyche_again": CandidateArm("Tyche, other draws", "tyche_again"),
    "tyche_slowed": CandidateArm("Tyche, a hundredth of the rate", "tyche_slowed"),
}


def learners(arms: tuple[str, ...]) -> tuple[str, ...]:
    """The networks that some arms need, each once, Tyche first: the noise control takes its diversity from it.

    >>> learners(("universeg_noise", "universeg_draws", "tyche"))
    ('tyche', 'universeg')
    """
    needed = dict.fromkeys(ARMS[arm].learner for arm in arms)
    return tuple(sorted(needed, key=lambda name: name != TYCHE.learner))
