"""Training of the study's networks: each once, kept by arm, dropout rate, share of the images, learning rate, seed."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab import trees
from hyperlab.data import batch_indices
from hyperlab.data.splits import permutation
from hyperlab.errors import ConfigError
from hyperlab.nn.dropout import DROPOUTS
from hyperlab.studies.conducted import StudyUnits
from hyperlab.studies.uncertainty.arms import Point, find
from hyperlab.studies.uncertainty.data import Material
from hyperlab.studies.uncertainty.programs import Trial
from hyperlab.train import durations
from hyperlab.train.loop import fit
from hyperlab.train.phases import REPORT, TUNE
from hyperlab.train.units import Measurements, kept


class Training(StudyUnits):
    """Trains the networks of one study.

    Args:
      config: the study's config.
      material: its images.
      folder: the run's folder.
      progress: a `train.progress.Progress` over training steps.
      stop: an object with `.requested`.
    """

    lists = ("arms", "dropout_rates", "train_shares", "rates", "tuning_seeds", "widenings", "report_seeds")

    def __init__(self, config: Any, material: Material, folder: Any, progress: Any, stop: Any):
        super().__init__(config, folder, progress, stop)
        self.material, splits = material, material.splits
        self.trial = Trial(
            config,
            material.shape,
            len(splits.classes),
            config.optimizer,
            augment=config.augment,
            evaluation_batch=config.evaluation_batch,
            chunk=config.chunk,
        )
        self.images, self.labels = jnp.asarray(splits.train.images), jnp.asarray(splits.train.labels)
        self._check()

    # -- what there is to do -----------------------------------------------------------------------------------

    def steps(self, phase: str) -> int:
        """Training steps of one network; the same on every share of the training images."""
        length = self.config.tuning_length if phase == TUNE else self.config.train_length
        return durations.steps(length, batch_size=self.config.batch_size, examples=len(self.images))

    @property
    def size(self) -> int:
        """Parameters of a U-Net."""
        return trees.count(self.trial.shapes("spatial"))

    def members(self, arm: str) -> int:
        """Networks that answer together."""
        return self.config.members if find(arm).answers == "members" else 1

    def points(self, arm: str) -> list[Point]:
        """What is reported of an arm: every dropout rate on all images."""
        rates = self.config.dropout_rates if find(arm).drops else (0.0,)
        return [Point(arm, rate) for rate in rates]

    # -- networks ----------------------------------------------------------------------------------------------

    def network(self, point: Point, rate: float, seed: int, phase: str) -> Measurements | None:
        """Trains a network, or reads what is known; None after a stop.

        Returns:
          `params/<path>`, `loss` of every twentieth of the training, `seed`, `learning_rate`.
        """
        own = point._replace(arm=find(point.arm).learner or point.arm)
        unit = f"network/{own.name}/{phase}/{rate:.3g}/{seed}"
        further = {"point": list(own), "rate": rate}
        return self.unit(unit, self.steps(phase), lambda: self._train(own, rate, seed, phase), further=further)

    def params(self, arm: str, network: Measurements) -> Any:
        """The parameters of an arm's network."""
        shapes = self.trial.shapes(find(arm).network)
        return trees.unflatten({path: jnp.asarray(network[f"params/{path}"]) for path in trees.flatten(shapes)}, shapes)

    def _train(self, point: Point, rate: float, seed: int, phase: str) -> Measurements | None:
        if self.stop.requested:
            return None
        arm, steps, losses = find(point.arm), self.steps(phase), []
        draws = seed + 10_000 * arm.stream
        rows, key = self.rows(point.share), self.key("initial", draws)
        step, beside = self.trial.step(arm.network), self.beside_training(point)

        def advance(current, indices, root_key):
            current, metrics = step(current, (self.images, self.labels, indices, beside), root_key)
            losses.append(metrics["loss"].total)
            return current, metrics

        trained = fit(
            self.trial.start(arm.network, key, rate * (arm.rate_factor if phase == REPORT else 1.0)),
            advance,
            lambda index: rows[batch_indices(draws, index, len(rows), self.config.batch_size)],
            total_steps=steps,
            root_key=jax.random.clone(key),
            stop=self.stop,
            place=lambda indices: indices,
            progress=self.counter(),
            on_nonfinite="ignore",  # failures are part of what is measured: a network of NaN is right nowhere
        )
        if self.stop.requested:
            return None
        flat = trees.flatten(jax.device_get(trained.params))
        parts = np.array_split(np.array(jax.device_get(losses), np.float32), min(20, steps))
        result = {f"params/{path}": leaf for path, leaf in flat.items()}
        return result | {
            "loss": np.array([part.mean() for part in parts]),
            "seed": np.array(seed),
            "learning_rate": np.array(rate),
        }

    @kept
    def rows(self, share: float) -> np.ndarray:
        """Training images: a smaller share is part of a larger one."""
        count = max(1, round(share * len(self.images)))
        return np.sort(permutation(len(self.images), self.config.data.split_seed)[:count])

    def beside_training(self, point: Point) -> Any:
        """What a network is given in training beside images and parameters; see `networks`."""
        arm = find(point.arm)
        if arm.network == "tyche":
            return self.rows(point.share)
        return self.rates(point) if arm.network in DROPOUTS else ()

    def rates(self, point: Point) -> Any:
        """What an arm drops, as values; see `models.DropoutUNet.rates`."""
        arm = find(point.arm)
        return self.trial.module(arm.network).rates(point.dropout_rate, arm.places)

    def _check(self) -> None:
        """Refuses, before the first training, what cannot be with these images."""
        for name in self.config.arms:
            network = find(name).network
            self.trial.network(network)
            fewest = len(self.rows(min(self.config.train_shares)))
            if network == "tyche" and fewest <= self.config.tyche.support:
                raise ConfigError(
                    f"tyche.support is {self.config.tyche.support}; expected fewer than the {fewest} training images, "
                    "since an image is none of its own examples"
                )
