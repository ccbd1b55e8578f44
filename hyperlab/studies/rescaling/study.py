"""The rescaling study: networks of arms at one learning rate, trained and measured at every factor."""

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab.data import batch_indices
from hyperlab.data.factors import Prior
from hyperlab.data.labelled_pixels import load_segmented
from hyperlab.data.patched import Patched
from hyperlab.data.splits import Splits, stratified_subset
from hyperlab.metrics import segmentation
from hyperlab.metrics.defined import mean_dice
from hyperlab.models import UNet
from hyperlab.nn import plan_for
from hyperlab.nn.precision import computing_in
from hyperlab.studies.base import Chosen, Study
from hyperlab.studies.record import keep_preprocessing, write_json
from hyperlab.studies.rescaling import cases, costs, deploy
from hyperlab.studies.rescaling.arms import ARMS, PLAIN, Arm, Cell, cells_of, widths_of
from hyperlab.studies.rescaling.drawing import Drawing, Drawn
from hyperlab.studies.rescaling.networks import build
from hyperlab.studies.rescaling.programs import Examples, PatchRead, Programs, pooled
from hyperlab.studies.rescaling.schema import augmentation_of, check, check_levels, pyramid_of
from hyperlab.train import durations
from hyperlab.train.curves import Curve
from hyperlab.train.phases import REPORT, TUNE
from hyperlab.train.protocols import Folder, Stop
from hyperlab.train.units import Measurements, memoize_method
from hyperlab.train.writers import MultiWriter


class Rescaling(Study[Cell]):
    """Trains the networks of the study; the data are images with a label for every pixel."""

    page = "hyperlab.studies.rescaling.page"
    version = 2  # FiLM is given an encoded phi
    lists = ("arms", "widths", "rates", "tuning_seeds", "widenings", "report_seeds", "margin", "tolerance")
    data: Splits

    def __init__(self, config: Any, data: Splits, folder: Folder, stop: Stop):
        super().__init__(config, data, folder, stop)
        self.prior = Prior(config.prior.kind, config.prior.low, config.prior.high)
        self.shape = data.image_shape[:-1]
        self.pyramid = pyramid_of(config, self.shape)
        weights = self.primary(1.0).pixel_costs(len(self.shape), data.image_shape[-1])
        self.buckets = plan_for(
            self.pyramid, self.prior.low, self.prior.high, config.programs, self.prior.cumulative, weights
        )
        if self.prior.high < 1:  # for evaluation beyond the prior
            self.buckets += plan_for(self.pyramid, self.prior.high, 1.0, 1)
        patched = isinstance(data, Patched)
        self.examples = None if patched else Examples(data.train.images, data.train.labels)
        self.augmentation = augmentation_of(config, len(self.shape), data.limits)
        validation = data.validation
        if config.curve_examples and config.curve_examples < len(validation):
            validation = validation.take(stratified_subset(validation.strata, config.curve_examples, 0))
        self.curve_split = validation
        self._compiled = 0  # training programs

    @classmethod
    def load(cls, config: Any, folder: Path) -> Splits:
        """Images, whose size leaves every level some pixels."""
        check(config)
        splits = load_segmented(config.data)
        check_levels(config, splits.image_shape[:-1])
        return splits

    # -- what there is to do -----------------------------------------------------------------------------------

    @property
    def fingerprint(self) -> tuple[str, str]:
        """Of the data, which the config names."""
        return self.config.data.name, self.data.fingerprint

    def cells(self) -> list[Cell]:
        """The networks of all arms."""
        return [cell for arm in self.config.arms for cell in cells_of(arm, self.config)]

    def describe(self, key: str) -> dict[str, Any]:
        """Of an arm."""
        return {"label": ARMS[key].label, "definition": ARMS[key].definition()}

    def feeding(self, draws: int) -> tuple[Callable[[int], np.ndarray], dict[str, Any]]:
        """What a training draws at a step, and where its examples come from, as `fit` takes it.

        Args:
          draws: the seed.

        Returns:
          `step -> ` numbers of examples, `[batch]`: of images, or of patches that are read for it.
        """
        batch = self.config.batch_size
        if not isinstance(self.data, Patched):
            numbers = functools.partial(_rows, draws, len(self.data.train), batch)
            return numbers, {"examples": self.examples, "select": Examples.select}
        reader = self.data.reader(batch, draws)
        return reader.numbers, {"read": PatchRead(reader)}

    def steps(self, cell: Cell, phase: str = REPORT) -> int:
        """Training steps of a network."""
        base = durations.steps(
            self.config.train_length, batch_size=self.config.batch_size, examples=len(self.data.train)
        )
        return round(base * ARMS[cell.arm].length)

    def factors(self, cell: Cell) -> list[float]:
        """The compared factors that a network is measured at."""
        return list(self.config.factors) if cell.factor is None else [cell.factor]

    def front(self, cell: Cell) -> list[float]:
        """All factors within the prior that a network is measured at in the end."""
        return sorted({*self.config.factors, *self.config.front}) if cell.factor is None else [cell.factor]

    def points(self, cell: Cell, factors: Iterable[float]) -> list[tuple[float, float]]:
        """A network's operating points at some factors: factor and width."""
        return [(factor, width) for factor in factors for width in widths_of(cell, self.config)]

    def further(self, cell: Cell) -> dict[str, Any]:
        """What a network depends on beside the config: of a slimmable one, the widths that are listed there."""
        shared = {"widths": widths_of(cell, self.config)} if ARMS[cell.arm].trains == "slimmable" else {}
        return {"factor": cell.factor, "width": cell.width, **shared}

    def factors_of(self, cell: Cell) -> Drawn:
        """The factors of a step of a network."""
        if cell.factor is not None:
            return Drawn(None, (cell.factor,))
        return Drawn(self.prior, (min(self.front(cell)), self.prior.high) if ARMS[cell.arm].sandwich else ())

    def prepare(self) -> None:
        """Notes on the data, and names of the test cases."""
        write_json(self.folder, "data.json", {"notes": list(self.data.notes)})
        keep_preprocessing(self.folder, self.data)
        cases.keep(self)

    def score(self, measured: Measurements) -> float:
        """Validation Dice in the end, mean over what the network is compared at."""
        return mean_dice(measured["validation/dice"])

    def curve(self, cell: Cell, seed: int, measured: Measurements) -> Iterable[tuple[int, dict[str, float], str]]:
        """Validation Dice along training."""
        for step, dice in zip(measured["curve/step"], measured["curve/dice"], strict=True):
            yield int(step), {"dice": float(dice)}, f"{cell.arm}/{cell.trained_at}/{seed}/validation"

    def finish(self, chosen: Chosen, writer: MultiWriter) -> None:
        """All costs, alone on the machine; the chosen factor, and the network at it."""
        costs.measure(self)
        deploy.write(self, chosen, writer)

    def verdict(self) -> str:
        """The first sentence of its page."""
        from hyperlab.studies.rescaling import results, verdict

        return verdict.verdict(results.read(self.folder.path))

    # -- training ----------------------------------------------------------------------------------------------

    def train(self, cell: Cell, setting: float, seed: int, phase: str) -> Measurements | None:
        """Trains one network, or reads what is known of it.

        Returns:
          `curve/step`, `curve/dice` (validation, mean over the compared factors), `curve/loss`; at all `factors` and
          `widths`, which are listed pairwise, per subject and class: `validation/dice`, and in the report phase
          `test/...`, see `tested`; for networks of the prior in the report phase `transfer/dice [from, to]` and
          `outside/dice` (validation means). None after a stop.
        """
        compute = lambda: self._train(cell, setting, seed, phase)  # noqa: E731
        further = {"rate": setting, **self.further(cell)}
        beside = [cell.network_file(seed)] if self.keeps(seed, phase) else []
        name = cell.unit_name(phase, setting, seed)
        return self.unit(name, self.steps(cell, phase), compute, further=further, beside=beside)

    def _train(self, cell: Cell, rate: float, seed: int, phase: str) -> Measurements | None:
        if self.stop.requested:
            return None
        arm, networks, steps = ARMS[cell.arm], self.by_width(cell), self.steps(cell, phase)
        programs, each = self.programs(cell), list(networks.values())
        draws = seed + 10_000 * arm.stream
        key = self.key("initial", draws)
        every = max(1, steps // self.config.curve_points)
        curve, losses = Curve(steps, every, {"dice": ()}), np.full(steps, np.nan, np.float32)

        numbers, feeding = self.feeding(draws)
        drawing = Drawing(draws, numbers, self.pyramid, self.factors_of(cell), arm.zoom, len(each))

        def step(state, given, root_key):
            examples, drawn = given
            return each[int(drawn.width[0])].step(state, examples, drawn, cell.factor, root_key)

        def observe(step, metrics):
            losses[step] = metrics["loss"].total

        def evaluate(state, step, stop):
            values = []
            for factor, width in self.points(cell, self.factors(cell)):
                one = networks[width]
                values.append(mean_dice(one.dice(one.prepare(state.params, _gamma(factor)), factor, self.curve_split)))
            curve.put(step, dice=np.mean(values))

        state = self.fit(
            programs.start(key, rate * (arm.rate_factor if phase == REPORT else 1.0), steps),
            step,
            drawing,
            steps=steps,
            key=jax.random.clone(key),
            **feeding,
            cycle=1 if cell.factor is not None else 4 * self.config.programs,  # of all buckets, most likely
            observe=observe,
            evaluate=evaluate,
            evaluate_every=every,
            kept={"curve": curve.values, "losses": losses},
        )
        if state is None:
            return None
        return {
            "curve/step": curve.step,
            "curve/dice": curve.values["dice"],
            "curve/loss": losses,
            "seed": np.array(seed),
            "learning_rate": np.array(rate),
            **self._measured(cell, networks, state.params, seed, phase),
        }

    # -- measuring ---------------------------------------------------------------------------------------------

    def _measured(
        self, cell: Cell, networks: dict[float, Programs], params: Any, seed: int, phase: str
    ) -> Measurements:
        points = self.points(cell, self.factors(cell) if phase == TUNE else self.front(cell))
        prepared = [networks[width].prepare(params, _gamma(factor)) for factor, width in points]
        at = [(networks[width], one, factor) for (factor, width), one in zip(points, prepared, strict=True)]
        dice = [programs.dice(one, factor, self.data.validation) for programs, one, factor in at]
        factors, widths = map(np.array, zip(*points, strict=True))
        result = {"factors": factors, "widths": widths, "validation/dice": np.stack(dice)}
        if phase == TUNE:
            return result
        self.reads_test(phase)
        tested = [self.tested(*one) for one in at]
        result |= {f"test/{name}": np.stack([one[name] for one in tested]) for name in tested[0]}
        if cell.factor is None:
            result |= self._beyond(networks[cell.width], params)
        if self.keeps(seed, phase):
            self.keep_network(cell.network_file(seed), params)
        return result

    def tested(self, programs: Programs, prepared: Any, factor: float) -> Measurements:
        """What a network is worth on the test split.

        Returns:
          `dice` `[subjects, classes - 1]`, images of a subject pooled; and of every image, `[n, classes - 1]`:
          `case_dice`, and `hd95_pooled`, `hd95_max`, `assd` (mm where the spacing is known, else pixels), `nsd`.
        """
        found = cases.compared(self, programs, prepared, factor)
        return {
            "dice": np.asarray(segmentation.dice_of(pooled(found.counts, self.data.test.groups))),
            "case_dice": np.asarray(segmentation.dice_of(found.counts)),
            **found.far._asdict(),
            **({} if found.on_scan is None else {"scan_dice": found.on_scan}),
        }

    def _beyond(self, programs: Programs, params: Any) -> Measurements:
        """Weights of one factor used at another, and factors outside of the prior; validation split."""
        factors, split = list(self.config.factors), self.curve_split
        prepared = {f: programs.prepare(params, _gamma(f)) for f in (*factors, *self.config.outside)}
        transfer = [[mean_dice(programs.dice(prepared[a], b, split)) for b in factors] for a in factors]
        outside = [mean_dice(programs.dice(prepared[f], f, split)) for f in self.config.outside]
        return {"transfer/dice": np.array(transfer), "outside/dice": np.array(outside)}

    # -- networks ----------------------------------------------------------------------------------------------

    def primary(self, width: float) -> UNet:
        """The primary, with its channels multiplied."""
        given = self.config.primary
        network = UNet(
            tuple(given.widths),
            len(self.data.classes),
            convs_per_block=given.convs_per_block,
            normalization=given.normalization or None,
            activation=given.activation,
            skip=given.skip,
            width_multiplier=width,
            rescaled_input=self.pyramid.full_at is not None,
            remat=given.get("remat", False),
        )
        return computing_in(network, self.engine.precision)

    def programs(self, cell: Cell) -> Programs:
        """The programs of a network; arms that differ in draws, rates or length alone share them."""
        arm = ARMS[cell.arm]
        slimming = arm.trains == "slimmable" and cell.width != 1
        return self._programs(arm.kind, cell.width, arm.zoom != 1, slimming)

    def by_width(self, cell: Cell) -> dict[float, Programs]:
        """The programs of a network at each of its widths; all of them take the same parameters."""
        return {width: self.programs(cell._replace(width=width)) for width in widths_of(cell, self.config)}

    @memoize_method
    def _programs(self, arm: Arm, width: float, zooming: bool, slimming: bool) -> Programs:
        options = dict(self.config.hypernet) if arm.network == "hypernet" else {}
        example = jax.ShapeDtypeStruct((1, *self.data.image_shape), jnp.float32)
        primary, options = (self.primary(1.0), {"width": width}) if slimming else (self.primary(width), options)
        built = build(arm, primary, example, low=self.prior.low, high=self.prior.high, **options)
        return Programs(
            built,
            dict(self.config.optimizer),
            self.buckets,
            len(self.data.classes),
            evaluation_batch=self.config.evaluation_batch,
            zooming=zooming,
            augmentation=self.augmentation,
            evaluating=self._programs(PLAIN, width, False, False) if arm.network == "hypernet" else None,
            compiling=self._compiling,
        )

    def _compiling(self) -> None:
        """Shows which of the training programs is compiled now."""
        with self._lock:
            self._compiled += 1
            if self.progress is not None:
                self.progress.waits(f"compiling {self._compiled} of {self._planned_programs}")

    @functools.cached_property
    def _planned_programs(self) -> int:
        inside = sum(bucket.high <= self.prior.high + 1e-9 for bucket in self.buckets)
        kinds = {}
        for cell in self.cells():
            arm, widths = ARMS[cell.arm], widths_of(cell, self.config)
            kind = (cell.factor, cell.width, arm.kind, arm.zoom != 1, arm.sandwich, tuple(widths))
            kinds[kind] = len(widths) * (inside if cell.factor is None else 1)
        return sum(kinds.values())


def _rows(draws: int, examples: int, batch_size: int, step: int) -> np.ndarray:
    return batch_indices(draws, step, examples, batch_size)


def _gamma(factor: float) -> np.ndarray:
    return np.array([factor], np.float32)
