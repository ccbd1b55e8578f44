"""Units of work of the rescaling study: networks of one arm at one learning rate, trained and measured."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab.data import batch_indices
from hyperlab.data.factors import Prior
from hyperlab.data.splits import Splits, philox, stratified_subset
from hyperlab.metrics import segmentation, surface
from hyperlab.metrics.defined import mean_dice
from hyperlab.models import UNet
from hyperlab.nn import plan
from hyperlab.studies.base import StudyUnits
from hyperlab.studies.rescaling.arms import ARMS, Arm, Job
from hyperlab.studies.rescaling.networks import build
from hyperlab.studies.rescaling.programs import Examples, Trial, pooled
from hyperlab.train import durations
from hyperlab.train.checkpoints import save_variables
from hyperlab.train.loop import fit
from hyperlab.train.phases import FIRST_REPORT_SEED, REPORT, TUNE
from hyperlab.train.units import Measurements, kept


class Units(StudyUnits):
    """Trains the networks of one study.

    Args:
      config: the study's config.
      splits: its data, images with a label for every pixel.
      folder: the run's folder.
      progress: a `train.progress.Progress` over training steps.
      stop: an object with `.requested`.
    """

    lists = ("arms", "widths", "rates", "tuning_seeds", "widenings", "report_seeds", "margin", "tolerance")

    def __init__(self, config: Any, splits: Splits, folder: Any, progress: Any, stop: Any):
        super().__init__(config, folder, progress, stop)
        self.splits = splits
        self.prior = Prior(config.prior.kind, config.prior.low, config.prior.high)
        self.shape = splits.image_shape[:-1]
        self.levels = len(config.primary.widths)
        primary = self.primary(1.0)
        weights = primary.pixel_costs(len(self.shape), splits.image_shape[-1])
        self.buckets = plan(
            self.shape, self.levels, self.prior.low, self.prior.high, config.programs, self.prior.cumulative, weights
        )
        if self.prior.high < 1:  # for evaluation beyond the prior
            self.buckets += plan(self.shape, self.levels, self.prior.high, 1.0, 1)
        self.examples = Examples(jnp.asarray(splits.train.images), jnp.asarray(splits.train.labels))
        validation = splits.validation
        if config.curve_examples and config.curve_examples < len(validation):
            validation = validation.take(stratified_subset(validation.strata, config.curve_examples, 0))
        self.curve_split = validation

    # -- what there is to do -----------------------------------------------------------------------------------

    def steps(self, arm: Arm) -> int:
        """Training steps of one network of an arm."""
        base = durations.steps(
            self.config.train_length, batch_size=self.config.batch_size, examples=len(self.splits.train)
        )
        return round(base * arm.length)

    def factors(self, job: Job) -> list[float]:
        """The compared factors that a network is measured at."""
        return list(self.config.factors) if job.factor is None else [job.factor]

    def front(self, job: Job) -> list[float]:
        """All factors within the prior that a network is measured at in the end."""
        return sorted({*self.config.factors, *self.config.front}) if job.factor is None else [job.factor]

    # -- measuring ---------------------------------------------------------------------------------------------

    def measure(self, arm_name: str, job: Job, rate: float, seed: int, phase: str) -> Measurements | None:
        """Trains one network, or reads what is known of it.

        Returns:
          `curve/step`, `curve/dice` (validation, mean over the compared factors), `curve/loss`; at all `factors`,
          per subject and class: `validation/dice`, and in the report phase `test/...`, see `tested`; for networks of
          the prior in the report phase `transfer/dice [from, to]` and `outside/dice` (validation means). None after a
          stop.
        """
        name = f"{arm_name}/{job.name}/{phase}/{rate:.3g}/{seed}"
        compute = lambda: self._train(arm_name, job, rate, seed, phase)  # noqa: E731
        further = {"rate": rate, "factor": job.factor, "width": job.width}
        kept = [self.kept_as(arm_name, job, seed)] if self._keeps(phase, seed) else []
        return self.unit(name, self.steps(ARMS[arm_name]), compute, further=further, beside=kept)

    def kept_as(self, arm_name: str, job: Job, seed: int) -> str:
        """The file of a network that is kept, from the run folder."""
        return f"networks/{arm_name}_{job.name}_{seed}.npz"

    def _keeps(self, phase: str, seed: int) -> bool:
        return phase == REPORT and seed < FIRST_REPORT_SEED + self.config.keep_networks

    def _train(self, arm_name: str, job: Job, rate: float, seed: int, phase: str) -> Measurements | None:
        if self.stop.requested:
            return None
        arm, trial = ARMS[arm_name], self.trial(ARMS[arm_name], job)
        steps, draws = self.steps(arm), seed + 10_000 * arm.stream
        key = self.key("initial", draws)
        losses: list[Any] = []
        curve: list[tuple[int, float]] = []

        def batch(step: int):
            indices = batch_indices(draws, step, len(self.splits.train), self.config.batch_size)
            factor = self.prior.draw(draws, step) if job.factor is None else job.factor
            zoom = None
            if arm.zoom != 1:
                words = np.random.Generator(philox(draws, step, stream=3))
                zoom = arm.zoom ** words.uniform(-1, 1, len(indices))
            return trial.batch(factor, indices, zoom)

        def step(state, drawn, root_key):
            state, metrics = trial.step(state, self.examples, drawn, job.factor, root_key)
            losses.append(metrics["loss"].total)
            return state, metrics

        def evaluate(state, step, stop):
            values = [
                mean_dice(trial.dice(trial.prepare(state.params, _gamma(factor)), factor, self.curve_split))
                for factor in self.factors(job)
            ]
            curve.append((step, float(np.mean(values))))

        state = fit(
            trial.start(key, rate * (arm.rate_factor if phase == REPORT else 1.0)),
            step,
            batch,
            total_steps=steps,
            root_key=jax.random.clone(key),
            evaluate=evaluate,
            evaluate_every=max(1, steps // self.config.curve_points),
            stop=self.stop,
            place=lambda drawn: drawn,
            progress=self.counter(),
            on_nonfinite="ignore",  # failures are part of what is measured: a network of NaN scores 0
        )
        if self.stop.requested:
            return None
        result = {
            "curve/step": np.array([step for step, _ in curve]),
            "curve/dice": np.array([value for _, value in curve]),
            "curve/loss": np.array(jax.device_get(losses), np.float32),
            "seed": np.array(seed),
            "learning_rate": np.array(rate),
        }
        factors = self.factors(job) if phase == TUNE else self.front(job)
        prepared = {factor: trial.prepare(state.params, _gamma(factor)) for factor in factors}
        result["factors"] = np.array(factors)
        result["validation/dice"] = np.stack([trial.dice(prepared[f], f, self.splits.validation) for f in factors])
        if phase == REPORT:
            self.reads_test(phase)
            tested = [self.tested(trial, prepared[f], f) for f in factors]
            result |= {f"test/{name}": np.stack([one[name] for one in tested]) for name in tested[0]}
            if job.factor is None:
                result |= self._beyond(trial, state.params)
            if self._keeps(phase, seed):
                save_variables(self.folder.path / self.kept_as(arm_name, job, seed), {"params": state.params})
        return result

    def tested(self, trial: Trial, prepared: Any, factor: float) -> Measurements:
        """What a network is worth on the test split.

        Returns:
          `dice` `[subjects, classes - 1]`, images of a subject pooled; and of every image, `[n, classes - 1]`:
          `case_dice`, and `hd95_pooled`, `hd95_max`, `assd` (mm where the spacing is known, else pixels), `nsd`.
        """
        split, classes = self.splits.test, len(self.splits.classes)
        labels = trial.labels(prepared, factor, split)
        counts = trial.count(labels, split.labels)
        far = surface.per_class(
            labels, split.labels, classes, spacing=split.spacing, tolerance=self.config.surface_tolerance
        )
        return {
            "dice": np.asarray(segmentation.dice_of(pooled(counts, split.groups))),
            "case_dice": np.asarray(segmentation.dice_of(counts)),
            **far._asdict(),
        }

    def _beyond(self, trial: Trial, params: Any) -> Measurements:
        """Weights of one factor used at another, and factors outside of the prior; validation split."""
        factors, split = list(self.config.factors), self.curve_split
        prepared = {f: trial.prepare(params, _gamma(f)) for f in (*factors, *self.config.outside)}
        transfer = [[mean_dice(trial.dice(prepared[a], b, split)) for b in factors] for a in factors]
        outside = [mean_dice(trial.dice(prepared[f], f, split)) for f in self.config.outside]
        return {"transfer/dice": np.array(transfer), "outside/dice": np.array(outside)}

    # -- networks ----------------------------------------------------------------------------------------------

    def primary(self, width: float) -> UNet:
        """The primary, with its channels multiplied."""
        given = self.config.primary
        return UNet(
            tuple(given.widths),
            len(self.splits.classes),
            convs_per_block=given.convs_per_block,
            normalization=given.normalization or None,
            activation=given.activation,
            skip=given.skip,
            width_multiplier=width,
        )

    def trial(self, arm: Arm, job: Job) -> Trial:
        """The trial of an arm's network; arms that differ in draws, rates or length alone share its programs."""
        key = (arm.network, arm.encoding, arm.parametrization, arm.initializer)
        return self._trial(key if arm.network == "hypernet" else (arm.network, "", "", ""), job.width, arm.zoom != 1)

    @kept
    def _trial(self, kind: tuple[str, str, str, str], width: float, zooming: bool) -> Trial:
        network, encoding, parametrization, initializer = kind
        arm = Arm("", network, encoding=encoding, parametrization=parametrization, initializer=initializer)
        options = dict(self.config.hypernet) if network == "hypernet" else {}
        example = jax.ShapeDtypeStruct((1, *self.splits.image_shape), jnp.float32)
        built = build(arm, self.primary(width), example, low=self.prior.low, high=self.prior.high, **options)
        return Trial(
            built,
            self.config.optimizer,
            self.buckets,
            len(self.splits.classes),
            evaluation_batch=self.config.evaluation_batch,
            zooming=zooming,
        )


def _gamma(factor: float) -> np.ndarray:
    return np.array([factor], np.float32)
