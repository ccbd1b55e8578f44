"""The uncertainty study: networks that are trained, and what their answers are worth."""

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab import trees
from hyperlab.data import batch_indices, streaming
from hyperlab.data.splits import permutation
from hyperlab.metrics.defined import mean_defined
from hyperlab.studies.base import Chosen, Study
from hyperlab.studies.uncertainty import choosing, feature_maps, finish, scoring
from hyperlab.studies.uncertainty.arms import cells_of, find, on_fewer
from hyperlab.studies.uncertainty.cells import TEST, VALIDATION, Cell, Setting
from hyperlab.studies.uncertainty.data import Benchmark, build
from hyperlab.studies.uncertainty.programs import Maps, Programs
from hyperlab.studies.uncertainty.schema import check
from hyperlab.studies.uncertainty.sources.base import Problem, Source
from hyperlab.train import capture, durations, groups
from hyperlab.train.phases import REPORT, TUNE
from hyperlab.train.protocols import Folder, Stop
from hyperlab.train.units import Measurements, memoize_method
from hyperlab.train.writers import MultiWriter

MEMBER = 1000  # between the seeds of an ensemble's members


class Uncertainty(Study[Cell]):
    """Trains the networks of the study and scores their answers."""

    page = "hyperlab.studies.uncertainty.page"
    lists = ("arms", "dropout_rates", "train_shares", "rates", "tuning_seeds", "widenings", "report_seeds")
    data: Benchmark

    def __init__(self, config: Any, data: Benchmark, folder: Folder, stop: Stop):
        super().__init__(config, data, folder, stop)
        train = data.splits.train
        self.images, self.labels = train.images, train.labels
        self.rules = scoring.ScoringRules(**dict(config.judging))
        fewest = len(self.rows(min(config.train_shares)))
        self.programs = Programs(
            Problem(config, data.shape, len(data.splits.classes), fewest),
            config.optimizer,
            augment=config.augment,
            evaluation_batch=config.evaluation_batch,
            chunk=config.chunk,
        )
        for arm in config.arms:  # what cannot be with these images is refused before the first training
            self.programs.source(arm)

    @classmethod
    def load(cls, config: Any, folder: Path) -> Benchmark:
        """See `data.build`."""
        check(config)
        return build(config)

    # -- what there is to do -----------------------------------------------------------------------------------

    def cells(self) -> list[Cell]:
        """Every dropout rate of all arms, on all images."""
        return [cell for arm in self.config.arms for cell in cells_of(arm, self.config)]

    def tuned(self) -> list[Cell]:
        """The cells with networks of their own."""
        return [cell for cell in self.cells() if not find(cell.arm).learner]

    def grid(self, key: str) -> Sequence[float]:
        """An arm without dropout tries as many rates as one with it does at all its dropout rates."""
        rates = sorted(self.config.rates)
        if find(key).drops:
            return rates
        return np.geomspace(rates[0], rates[-1], len(rates) * len(self.config.dropout_rates)).tolist()

    def length(self, phase: str) -> int:
        """Training steps of one network; the same on every share of the training images."""
        length = self.config.tuning_length if phase == TUNE else self.config.train_length
        return durations.steps(length, batch_size=self.config.batch_size, examples=len(self.images))

    def steps(self, cell: Cell, phase: str) -> int:
        """Training steps of all networks of a cell; the first of an arm that uses another's is trained already."""
        source = find(cell.arm)
        networks = 1 if phase == TUNE else source.members(self.config) - bool(source.learner)
        return networks * self.length(phase)

    def planned(self) -> int:
        """With the smaller shares of the images, whose dropout rate is not known yet."""
        fewer = [cell for arm in self.config.arms for cell in on_fewer(arm, 0.0, self.config)]
        return super().planned() + sum(self.steps(cell, REPORT) for cell in fewer) * len(self.report_seeds)

    def first_trainings(self) -> Iterable[tuple[str, Callable[[], Any]]]:
        """A network of each arm, and its answers, for which no more than the shapes of its parameters are known."""

        def begin(cell: Cell, setting: Setting) -> None:
            with capture.until_asked():
                self.network(cell, setting.learning_rate, 0, TUNE)
            source, images = self.source(cell), self.data.evaluated[VALIDATION].images
            params = groups.current().whole(capture.promised(self.programs.shapes(source)))
            with capture.until_asked():
                self._score(cell, setting, [params], 0)
            if source.draws:
                aux_inputs = source.aux_inputs(self, cell, setting, params, 0)
                self.programs.sample(
                    source, params, aux_inputs, self.key("draws", 0), images, (self.config.tuning_draws,)
                )

        for arm, cell in {cell.arm: cell for cell in self.tuned()}.items():
            setting = Setting(self.grid(cell.key)[0])
            yield arm, functools.partial(begin, cell, setting)

    def tune(self) -> Chosen | None:
        """Learning rates of every cell, and the dropout rate of every arm."""
        grids = {cell: self.grid(cell.key) for cell in self.tuned()}

        def score(cell: Cell, rate: float, seed: int) -> float | None:
            measured = self.train(cell, Setting(rate), seed, TUNE)
            return None if measured is None else self.score(measured)

        choices = self.choose(grids, score)
        if choices is None:
            return None
        known = {
            cell: [self.train(cell, Setting(choice.rate), seed, TUNE) for seed in self.tuning_seeds]
            for cell, choice in choices.items()
        }
        return choosing.chosen(self.config, choices, cast("dict[Cell, list[Measurements]]", known))

    def setting(self, chosen: Chosen, cell: Cell) -> Setting:
        """Shifted images are for the chosen dropout rate alone."""
        rate, best = choosing.at(chosen, cell)["learning_rate"], choosing.best(chosen, cell.arm, cell.share)
        like = find(cell.arm).like
        other = choosing.best(chosen, like) if like else None
        return Setting(rate, cell == best, other and (other, choosing.at(chosen, other)["learning_rate"]))

    def jobs(self, chosen: Chosen) -> list[tuple[Cell, Setting, int]]:
        """All cells, and the chosen dropout rates on fewer images."""
        arms = self.config.arms
        fewer = [cell for arm in arms for cell in on_fewer(arm, chosen[arm]["dropout_rate"], self.config)]
        return super().jobs(chosen) + [(c, self.setting(chosen, c), seed) for c in fewer for seed in self.report_seeds]

    def score(self, measured: Measurements) -> float:
        """Log likelihood of the validation split."""
        return -float(measured["nll"])

    def curve(self, cell: Cell, seed: int, measured: Measurements) -> Iterable[tuple[int, dict[str, float], str]]:
        """Test Dice in the end."""
        dice = measured[f"{TEST}/{self.answer_names(cell)[-1]}/dice"]
        yield self.length(REPORT), {"dice": float(mean_defined(dice))}, f"{cell.name}/{seed}/{TEST}"

    def finish(self, chosen: Chosen, writer: MultiWriter) -> None:
        """Baselines, costs, images to show, and the network that draws."""
        finish.write(self, chosen)

    # -- networks ----------------------------------------------------------------------------------------------

    def source(self, cell: Cell) -> Source:
        """The source of uncertainty of a cell, with its network."""
        return self.programs.source(cell.arm)

    def trained(self, cell: Cell) -> Cell:
        """The cell whose networks a cell uses."""
        return cell._replace(arm=find(cell.arm).learner or cell.arm)

    @memoize_method
    def rows(self, share: float) -> np.ndarray:
        """Training images: a smaller share is part of a larger one."""
        count = max(1, round(share * len(self.images)))
        return np.sort(permutation(len(self.images), self.config.data.split_seed)[:count])

    def network(self, cell: Cell, rate: float, seed: int, phase: str) -> Measurements | None:
        """Trains a network, or reads what is known; None after a stop.

        Returns:
          `params/<path>`, `loss` of every twentieth of the training, `seed`, `learning_rate`.
        """
        own = self.trained(cell)
        return self.unit(
            own.network_name(phase, rate, seed),
            self.length(phase),
            lambda: self._train(own, rate, seed, phase),
            further={"point": list(own), "rate": rate},
        )

    def params(self, cell: Cell, network: Measurements) -> Any:
        """The parameters of a cell's network."""
        shapes = self.programs.shapes(self.source(cell))
        return trees.unflatten({path: jnp.asarray(network[f"params/{path}"]) for path in trees.flatten(shapes)}, shapes)

    def _train(self, cell: Cell, rate: float, seed: int, phase: str) -> Measurements | None:
        if self.stop.requested:
            return None
        source, steps = self.source(cell), self.length(phase)
        draws = seed + 10_000 * source.stream
        rows, key = self.rows(cell.share), self.key("initial", draws)
        step, aux_inputs = self.programs.step(source), groups.current().whole(source.train_inputs(self, cell))
        taken, key_of_steps = self.programs.rows(source), jax.random.clone(key)
        losses = np.full(steps, np.nan, np.float32)

        def advance(current, given, root_key):
            examples, indices = given
            return step(current, (*examples, indices, aux_inputs), root_key)

        def batch(index: int) -> Any:
            chosen = rows[batch_indices(draws, index, len(rows), self.config.batch_size)]
            return taken(key_of_steps, index, chosen, aux_inputs)

        def observe(step, metrics):
            losses[step] = metrics["loss"].total

        trained = self.fit(
            self.programs.start(source, key, rate * (source.rate_factor if phase == REPORT else 1.0), steps),
            advance,
            batch,
            steps=steps,
            key=key_of_steps,
            examples=(self.images, self.labels),
            select=streaming.select,
            observe=observe,
            kept={"losses": losses},
        )
        if trained is None:
            return None
        parts = np.array_split(losses, min(20, steps))
        flat = trees.flatten(jax.device_get(trained.params))
        return {f"params/{path}": leaf for path, leaf in flat.items()} | {
            "loss": np.array([part.mean() for part in parts]),
            "seed": np.array(seed),
            "learning_rate": np.array(rate),
        }

    # -- answers -----------------------------------------------------------------------------------------------

    def train(self, cell: Cell, setting: Setting, seed: int, phase: str) -> Measurements | None:
        """Trains the networks of a cell and scores their answers, or reads what is known; None after a stop.

        Returns:
          To choose by, of the validation split: `nll`, mean over pixels in nats, and `dice`, mean over images. To
          report: `<split>/<answer>/<measure>`, see `scoring.measures` and `Source.answers`; `probe/<measure>`, see
          `probe`; `shown/<map>` of some test images.
        """
        members = find(cell.arm).members(self.config) if phase == REPORT else 1
        seeds = [seed + MEMBER * member for member in range(members)]
        networks = [self.network(cell, setting.learning_rate, one, phase) for one in seeds]
        if None in networks or (setting.like and self.network(*setting.like, seed, phase) is None):
            return None
        further: dict[str, Any] = {"point": list(cell), "rate": setting.learning_rate}
        measure = self._score
        if phase == REPORT:
            further |= {"shifted": setting.shifted, "like": setting.listed_like}
            measure = self._measure
        name = cell.unit_name(phase, setting.learning_rate, seed)
        params = [self.params(cell, one) for one in cast("list[Measurements]", networks)]
        return self.files.measure(name, lambda: measure(cell, setting, params, seed), further=further)

    def answer_names(self, cell: Cell) -> list[str]:
        """See `Source.answers`."""
        return find(cell.arm).answers(self.config)

    def answers(
        self, cell: Cell, setting: Setting, params: list[Any], images: np.ndarray, seed: int, draws: Sequence[int]
    ) -> tuple[dict[str, Maps], np.ndarray | None]:
        """Maps by answer, and the masks of draws or networks."""
        source = self.source(cell)
        return self.programs.answers(
            source,
            params,
            images,
            source.aux_inputs(self, cell, setting, params[0], seed),
            pass_key=self.key("pass", seed),
            draw_key=self.key("draws", seed),
            draws=draws,
        )

    def _score(self, cell: Cell, setting: Setting, params: list[Any], seed: int) -> Measurements:
        split = self.data.evaluated[VALIDATION]
        answers, _ = self.answers(cell, setting, params, split.images, seed, (self.config.tuning_draws,))
        return scoring.score(list(answers.values())[-1].mean, split)

    def _measure(self, cell: Cell, setting: Setting, params: list[Any], seed: int) -> Measurements:
        self.reads_test(REPORT)
        result: Measurements = {"learning_rate": np.array(setting.learning_rate), "seed": np.array(seed)}
        temperatures: dict[str, float] = {}
        final = self.answer_names(cell)[-1]
        for name, split in self.data.evaluated.items():  # validation first
            if not setting.shifted and name not in (VALIDATION, TEST):
                continue
            answers, masks = self.answers(cell, setting, params, split.images, seed, tuple(self.config.draws))
            answers = {answer: scoring.finite(maps) for answer, maps in answers.items()}
            one_pass = answers["pass"].total
            for answer, maps in answers.items():
                if name == VALIDATION:
                    temperatures[answer] = scoring.temperature(maps.mean, split)
                whole = answer in (final, "pass") and name == TEST
                measured = scoring.measures(
                    maps,
                    split,
                    one_pass,
                    self.rules,
                    masks=masks if whole and answer == final else None,
                    temperature=temperatures[answer],
                    errors=name == TEST,
                    whole=whole,
                )
                result |= {f"{name}/{answer}/{key}": value for key, value in measured.items()}
                if name == TEST and answer == final:
                    result |= {f"shown/{key}": value for key, value in scoring.shown(maps, self.rules.shown).items()}
        return result | self.probe(self.source(cell), params[0], seed)

    def probe(self, source: Source, params: Any, seed: int) -> Measurements:
        """`probe/<measure>` of feature maps, where those of a U-Net are there, and of how far networks differ."""
        split = self.data.evaluated[TEST]
        found: Measurements = {}
        if source.feature_maps:
            unet = source.unet(params, self.key("pass", seed))
            found |= feature_maps.measures(self.programs.unet.network, unet, split, self.rules.removed, seed)
        for name, value in self.programs.spread(source, params, self.key("spread", seed), split.images).items():
            found |= {f"{name}_dice": scoring.score(value, split)["dice"]} if value.ndim else {name: value}
        return {f"probe/{name}": value for name, value in found.items()}
