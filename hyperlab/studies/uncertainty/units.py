"""Units of work of the uncertainty study: networks that were trained, and what they were measured to know and not."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from hyperlab import trees
from hyperlab.data.splits import fingerprint, permutation
from hyperlab.errors import ConfigError
from hyperlab.in_context.stochastic import matching_scale
from hyperlab.metrics.candidates import sample_diversity
from hyperlab.nn.dropout import DROPOUTS
from hyperlab.studies.uncertainty import costs
from hyperlab.studies.uncertainty import scoring as judging
from hyperlab.studies.uncertainty.arms import Point, find
from hyperlab.studies.uncertainty.data import Material
from hyperlab.studies.uncertainty.networks import Bayesian
from hyperlab.studies.uncertainty.programs import Maps, of_passes
from hyperlab.studies.uncertainty.training import Training
from hyperlab.train.phases import REPORT, TUNE
from hyperlab.train.units import Measurements

MEMBER = 1000  # between the seeds of an ensemble's members
LOUDEST = 1000.0  # scale of noise beside which no logit counts
Like = tuple[Point, float]  # another arm's point, and its learning rate


class Units(Training):
    """Trains and judges the networks of one study.

    Args: those of `Training`.
    """

    def __init__(self, config: Any, material: Material, folder: Any, progress: Any, stop: Any):
        super().__init__(config, material, folder, progress, stop)
        self.judging = judging.settings_of(config.judging)

    # -- what is given beside parameters -----------------------------------------------------------------------

    def _beside(self, point: Point, params: Any, seed: int, like: Like | None) -> Any:
        """What a network that answers is given beside images and parameters."""
        network = find(point.arm).network
        if network == "tyche":
            rows = self.rows(point.share)
            examples = rows[permutation(len(rows), seed)[: self.config.tyche.support]]
            return self.images[examples], self.labels[examples][..., None].astype(self.images.dtype)
        if network == "noise":
            return self._scale(point, params, seed, *like)
        return self.rates(point) if network in DROPOUTS else ()

    def _scale(self, point: Point, params: Any, seed: int, other: Point, rate: float) -> np.ndarray:
        """The scale at which noise is as diverse on the validation split as the draws of another arm's network."""

        def compute() -> Measurements:
            images, draws = self.material.parts["validation"].images, self.config.draws[-1]
            params_of_other = self.params(other.arm, self.network(other, rate, seed, REPORT))
            masks = self._answers(other, [params_of_other], images, seed, (draws,))[1]
            wanted = float(sample_diversity(jnp.asarray(masks), unbiased=True).mean())
            probabilities = self.trial.predict("noise", params, images)[..., 1:]
            key, smoothness = self.key("scale", seed), self.config.noise.smoothness
            try:
                scale = matching_scale(key, probabilities, wanted, count=draws, smoothness=smoothness)
            except ConfigError:  # masks of noise alone are less diverse, which an untrained network's can be
                scale = LOUDEST
            return {"scale": np.float32(scale), "diversity": np.float32(wanted)}

        leaves = [np.asarray(leaf) for leaf in trees.flatten(params).values()]
        further = {"network": fingerprint(*leaves), "other": list(other), "rate": rate}
        return self.files.measure(f"scale/{point.name}/{seed}", compute, further=further)["scale"]

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
            answers, _ = self._answers(point, [self.params(point.arm, network)], part.images, seed, counts)
            return judging.score(answers[self.final(point.arm, counts)].mean, part)

        further = {"point": list(point), "rate": rate}
        return self.files.measure(f"score/{point.name}/{rate:.3g}/{seed}", compute, further=further)

    def measure(
        self, point: Point, rate: float, seed: int, *, shifted: bool = True, like: Like | None = None
    ) -> Measurements | None:
        """Trains under a fresh seed and judges, or reads what is known; None after a stop.

        Args:
          point: what is trained.
          rate: of learning.
          seed: fresh.
          shifted: on every part; otherwise on the validation and test split alone.
          like: the point and learning rate of the arm whose diversity it is given, where there is one.

        Returns:
          `<part>/<answer>/<measure>`, see `judging.judged`, where an answer is `pass` (without dropout) or a number of
          draws or members; `probe/<measure>`, see `judging.probed`; `shown/<map>` of some test images.
        """

        seeds = [seed + MEMBER * member for member in range(self.members(point.arm))]
        networks = [self.network(point, rate, one, REPORT) for one in seeds]
        if None in networks or (like and self.network(*like, seed, REPORT) is None):
            return None
        name = f"judged/{point.name}/{rate:.3g}/{seed}"
        further = {"point": list(point), "rate": rate, "shifted": shifted, "like": _listed(like)}
        return self.files.measure(name, lambda: self._judge(point, networks, seed, shifted, like), further=further)

    def final(self, arm: str, counts: tuple[int, ...] | None = None) -> str:
        """The answer that stands for an arm: of the most draws or members, or the pass."""
        counts = counts or tuple(self.config.draws)
        answers = find(arm).answers
        return "pass" if answers == "pass" else str(counts[-1] if answers == "draws" else self.members(arm))

    def _answers(
        self,
        point: Point,
        params: list[Any],
        images: np.ndarray,
        seed: int,
        counts: tuple[int, ...],
        like: Like | None = None,
    ) -> tuple[dict[str, Maps], np.ndarray | None]:
        """Maps by answer, and the masks of draws or members."""
        arm, key = find(point.arm), self.key("pass", seed)
        beside = self._beside(point, params[0], seed, like)
        passes = [self.trial.predict(arm.network, one, images, key, beside) for one in params]
        answers = {"pass": of_passes(np.stack(passes[:1]))}
        if arm.answers == "members":
            answers[str(len(passes))] = of_passes(np.stack(passes))
            return answers, np.stack(passes, 1).argmax(-1) > 0
        if arm.answers == "pass":
            return answers, None
        found, masks = self.trial.sample(arm.network, params[0], beside, self.key("draws", seed), images, counts)
        return answers | {str(count): maps for count, maps in found.items()}, masks

    def _judge(
        self, point: Point, networks: list[Measurements], seed: int, shifted: bool, like: Like | None
    ) -> Measurements:
        params = [self.params(point.arm, one) for one in networks]
        self.reads_test(REPORT)
        result: Measurements = {"learning_rate": networks[0]["learning_rate"], "seed": np.array(seed)}
        settings, final = self.judging, self.final(point.arm)
        temperatures: dict[str, float] = {}
        for name, part in self.material.parts.items():  # validation first
            if not shifted and name not in ("validation", "test"):
                continue
            answers, masks = self._answers(point, params, part.images, seed, tuple(self.config.draws), like)
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
        return result | {f"probe/{key}": value for key, value in self._probed(point, params[0], seed).items()}

    def untrained(self, seed: int) -> Measurements:
        """The probe of feature maps of a U-Net before its first step, `probe/<measure>`."""

        def compute() -> Measurements:
            params = self.trial.start("spatial", self.key("initial", seed), 0.0).params
            return {f"probe/{key}": value for key, value in self._probed(Point("none"), params, seed).items()}

        return self.files.measure(f"untrained/{seed}", compute)

    def cost(self, point: Point, rate: float, seed: int, like: Like | None = None) -> Measurements:
        """What a reported network costs, see `costs.measure`; measured while nothing else of the study runs."""
        arm, counts = find(point.arm), tuple(self.config.draws)
        params = self.params(point.arm, self.network(point, rate, seed, REPORT))

        def compute() -> Measurements:
            rows = self.rows(point.share)[: self.config.batch_size]
            learner = point._replace(arm=arm.learner or point.arm)
            batch = (self.images, self.labels, rows, self.beside_training(learner))
            images = self.material.parts["test"].images[: self.config.evaluation_batch]
            beside = self._beside(point, params, seed, like)
            draws = counts if arm.answers == "draws" else ()
            names = (find(learner.arm).network, arm.network)
            return costs.measure(self.trial, names, params, batch, beside, images, draws)

        further = {"point": list(point), "rate": rate, "seed": seed, "like": _listed(like)}
        return self.files.measure(f"cost/{point.name}", compute, further=further)

    def keep(self, point: Point, rate: float, seed: int, save: Callable) -> None:
        """Hands a reported network to `save`, see `reliability.saved.save`."""
        arm, splits = find(point.arm), self.material.splits
        module = self.trial.module(arm.network).clone(rate=point.dropout_rate, places=arm.places)
        save(
            self.folder.path,
            module,
            {"params": self.params(point.arm, self.network(point, rate, seed, REPORT))},
            name=f"{point.arm}_{seed}",
            channels=self.material.shape[-1],
            classes=splits.classes,
            window=self.material.shape[:2],
            scale=splits.scale,
            normalisation=splits.normalisation,
            score=self.judging.score,
        )

    def _probed(self, point: Point, params: Any, seed: int) -> Measurements:
        """The probes of a network that is a U-Net, and of one that is generated how far its draws differ."""
        name, part = find(point.arm).network, self.material.parts["test"]
        network, found = self.trial.network(name), {}
        plain = network.plain(params, self.key("pass", seed))
        if plain is not None:
            found |= judging.probed(self.trial.module("spatial"), plain, part, self.judging, seed)
        if isinstance(network, Bayesian):
            spread = self.trial.spread(name, params, self.key("spread", seed), part.images)
            found |= {"base_dice": judging.score(spread.pop("base"), part)["dice"], **spread}
        return found


def _listed(like: Like | None) -> list[Any]:
    return [] if like is None else [list(like[0]), like[1]]
