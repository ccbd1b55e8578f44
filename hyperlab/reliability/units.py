"""Units of work of the uncertainty study: networks that were trained, and what they were measured to know and not."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab import trees
from hyperlab.data import batch_indices
from hyperlab.data.splits import permutation
from hyperlab.reliability import judging
from hyperlab.reliability.arms import Point, find
from hyperlab.reliability.material import Material
from hyperlab.reliability.trial import Maps, Trial, of_passes
from hyperlab.train import durations
from hyperlab.train.loop import fit
from hyperlab.train.study import REPORT, TUNE, StudyUnits
from hyperlab.train.units import Measurements, kept

MEMBER = 1000  # between the seeds of an ensemble's members


class Units(StudyUnits):
    """Trains and judges the networks of one study.

    Args:
      config: the study's config.
      material: its images.
      folder: the run's folder.
      progress: a `train.progress.Progress` over training steps.
      stop: an object with `.requested`.
    """

    def __init__(self, config: Any, material: Material, folder: Any, progress: Any, stop: Any):
        super().__init__(config, folder, progress, stop)
        self.material, splits = material, material.splits
        self.trial = Trial(
            config.network,
            material.shape,
            len(splits.classes),
            config.optimizer,
            augment=config.augment,
            evaluation_batch=config.evaluation_batch,
            chunk=config.chunk,
        )
        self.images, self.labels = jnp.asarray(splits.train.images), jnp.asarray(splits.train.labels)
        self.judging = judging.settings_of(config.judging)
        self.shapes = jax.eval_shape(self.trial.module("spatial").init, jax.random.key(0), self.images[:1])["params"]

    # -- what there is to do -----------------------------------------------------------------------------------

    def steps(self, phase: str) -> int:
        """Training steps of one network; the same on every share of the training images."""
        length = self.config.tuning_length if phase == TUNE else self.config.train_length
        return durations.steps(length, batch_size=self.config.batch_size, examples=len(self.images))

    @property
    def size(self) -> int:
        """Parameters of a network."""
        return trees.count(self.shapes)

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
        # networks that drop nothing are the same in all arms
        arm = find(point.arm)
        name = point.arm if arm.drops else "none"
        unit = f"network/{point._replace(arm=name).name}/{phase}/{rate:.3g}/{seed}"
        return self.unit(unit, self.steps(phase), lambda: self._train(point, rate, seed, phase))

    def params(self, network: Measurements) -> Any:
        """The parameters of a network."""
        leaves = {path: jnp.asarray(network[f"params/{path}"]) for path in trees.flatten(self.shapes)}
        return trees.unflatten(leaves, self.shapes)

    def _train(self, point: Point, rate: float, seed: int, phase: str) -> Measurements | None:
        if self.stop.requested:
            return None
        arm, steps, losses = find(point.arm), self.steps(phase), []
        draws = seed + 10_000 * arm.stream
        rows, key = self._rows(point.share), self.key("initial", draws)
        step, rates = self.trial.step(arm.dropout), self._rates(point)

        def advance(current, indices, root_key):
            current, metrics = step(current, (self.images, self.labels, indices, rates), root_key)
            losses.append(metrics["loss"].total)
            return current, metrics

        trained = fit(
            self.trial.start(key, rate * (arm.rate_factor if phase == REPORT else 1.0)),
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
    def _rows(self, share: float) -> np.ndarray:
        """Training images: a smaller share is part of a larger one."""
        count = max(1, round(share * len(self.images)))
        return np.sort(permutation(len(self.images), self.config.data.split_seed)[:count])

    def _rates(self, point: Point) -> Any:
        arm = find(point.arm)
        return self.trial.module(arm.dropout).rates(point.dropout_rate, arm.places)

    # -- answers -----------------------------------------------------------------------------------------------

    def score(self, point: Point, rate: float, seed: int) -> Measurements | None:
        """What a network that was trained to choose by is worth on the validation split; None after a stop.

        Returns:
          `nll`, mean over pixels in nats, and `dice`, mean over images: of the mean of the draws, or of one pass.
        """

        network = self.network(point, rate, seed, TUNE)
        if network is None:
            return None

        def compute() -> Measurements:
            counts, part = (self.config.tuning_draws,), self.material.parts["validation"]
            answers, _ = self._answers(point, [self.params(network)], part.images, seed, counts)
            return judging.score(answers[self.final(point.arm, counts)].mean, part)

        return self.files.measure(f"score/{point.name}/{rate:.3g}/{seed}", compute)

    def measure(self, point: Point, rate: float, seed: int, *, shifted: bool = True) -> Measurements | None:
        """Trains under a fresh seed and judges, or reads what is known; None after a stop.

        Args:
          point: what is trained.
          rate: of learning.
          seed: fresh.
          shifted: on every part; otherwise on the validation and test split alone.

        Returns:
          `<part>/<answer>/<measure>`, see `judging.judged`, where an answer is `pass` (without dropout) or a number of
          draws or members; `probe/<measure>`, see `judging.probed`; `shown/<map>` of some test images.
        """

        seeds = [seed + MEMBER * member for member in range(self.members(point.arm))]
        networks = [self.network(point, rate, one, REPORT) for one in seeds]
        if None in networks:
            return None
        name = f"judged/{point.name}/{rate:.3g}/{seed}"
        return self.files.measure(name, lambda: self._judge(point, networks, seed, shifted))

    def final(self, arm: str, counts: tuple[int, ...] | None = None) -> str:
        """The answer that stands for an arm: of the most draws or members, or the pass."""
        counts = counts or tuple(self.config.draws)
        answers = find(arm).answers
        return "pass" if answers == "pass" else str(counts[-1] if answers == "draws" else self.members(arm))

    def _answers(
        self, point: Point, params: list[Any], images: np.ndarray, seed: int, counts: tuple[int, ...]
    ) -> tuple[dict[str, Maps], np.ndarray | None]:
        """Maps by answer, and the masks of draws or members."""
        arm = find(point.arm)
        passes = [self.trial.predict(one, images) for one in params]
        answers = {"pass": of_passes(np.stack(passes[:1]))}
        if arm.answers == "members":
            answers[str(len(passes))] = of_passes(np.stack(passes))
            return answers, np.stack(passes, 1).argmax(-1) > 0
        if arm.answers == "pass":
            return answers, None
        found, masks = self.trial.sample(
            arm.dropout, params[0], self._rates(point), self.key("draws", seed), images, counts
        )
        return answers | {str(count): maps for count, maps in found.items()}, masks

    def _judge(self, point: Point, networks: list[Measurements], seed: int, shifted: bool) -> Measurements:
        params = [self.params(one) for one in networks]
        self.reads_test(REPORT)
        result: Measurements = {"learning_rate": networks[0]["learning_rate"], "seed": np.array(seed)}
        settings, final = self.judging, self.final(point.arm)
        temperatures: dict[str, float] = {}
        for name, part in self.material.parts.items():  # validation first
            if not shifted and name not in ("validation", "test"):
                continue
            answers, masks = self._answers(point, params, part.images, seed, tuple(self.config.draws))
            answers = {answer: judging.finite(maps) for answer, maps in answers.items()}
            one_pass = answers["pass"].total
            for answer, maps in answers.items():
                if name == "validation":
                    temperatures[answer] = judging.temperature(maps.mean, part)
                whole = answer in (final, "pass") and name == "test"
                measured = judging.judged(
                    maps,
                    part,
                    one_pass,
                    settings,
                    masks=masks if whole and answer == final else None,
                    temperature=temperatures[answer],
                    errors=name == "test",
                    whole=whole,
                )
                result |= {f"{name}/{answer}/{key}": value for key, value in measured.items()}
                if name == "test" and answer == final:
                    result |= {f"shown/{key}": value for key, value in judging.shown(maps, settings.shown).items()}
        return result | {f"probe/{key}": value for key, value in self._probed(params[0], seed).items()}

    def untrained(self, seed: int) -> Measurements:
        """The probe of feature maps of a network before its first step, `probe/<measure>`."""
        params = self.trial.start(self.key("initial", seed), 0.0).params
        return self.files.measure(
            f"untrained/{seed}", lambda: {f"probe/{key}": value for key, value in self._probed(params, seed).items()}
        )

    def keep(self, point: Point, rate: float, seed: int, save: Callable) -> None:
        """Hands a reported network to `save`, see `reliability.saved.save`."""
        arm, splits = find(point.arm), self.material.splits
        module = self.trial.module(arm.dropout).clone(rate=point.dropout_rate, places=arm.places)
        save(
            self.folder.path,
            module,
            {"params": self.params(self.network(point, rate, seed, REPORT))},
            name=f"{point.arm}_{seed}",
            channels=self.material.shape[-1],
            classes=splits.classes,
            window=self.material.shape[:2],
            scale=splits.scale,
            normalisation=splits.normalisation,
            score=self.judging.score,
        )

    def _probed(self, params: Any, seed: int) -> Measurements:
        return judging.probed(self.trial.module("spatial"), params, self.material.parts["test"], self.judging, seed)
