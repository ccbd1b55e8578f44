"""Training and evaluation of one network for any rescaling factor, with few compiled programs.

A training step is a program for each bucket of factors, or for the one factor that a network is trained for, in the
exact form. Evaluation runs on the buckets' canvases, so that any number of factors needs no further program. Programs
are compiled when they are first needed, once, whatever the seed and the learning rate.
"""

import dataclasses
import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hyperlab import losses
from hyperlab.data import evaluation_batches, streaming
from hyperlab.data.augmentation import Augmentation, augment_batch
from hyperlab.data.patched import Cases
from hyperlab.data.splits import Split
from hyperlab.inference.tiles import tiled_case
from hyperlab.metrics import segmentation
from hyperlab.nn import Bucket, bucket_of
from hyperlab.studies.rescaling.drawing import Batch
from hyperlab.studies.rescaling.networks import Network
from hyperlab.train import compiler, groups, optimizers, schedules, state
from hyperlab.train.step import Aux, train_step

Sizes = tuple[tuple[int, ...], ...]
Where = tuple[Bucket | float, ...]  # of a step: the bucket of each of its factors, or the one factor that it is for


class Examples(NamedTuple):
    """What is trained on: images `[n, *spatial, channel]` and labels `[n, *spatial]`."""

    images: jax.Array | np.ndarray
    labels: jax.Array | np.ndarray

    def select(self, batch: Batch) -> "tuple[Examples, Batch]":
        """The rows of a batch, and the batch with their numbers; see `data.streaming`."""
        part, indices = streaming.select(self, batch.indices)
        return part, batch._replace(indices=indices)


class PatchRead(NamedTuple):
    """Reads the patches of a step: what a step is given are they, and the batch with their places in it."""

    reader: Any

    def __call__(self, batch: Batch) -> tuple[Examples, Batch]:
        """On the host; `batch.indices` are numbers of patches."""
        rows = self.reader.rows(batch.indices)
        return Examples(*self.reader(batch.indices)), batch._replace(indices=rows)


@dataclasses.dataclass(frozen=True, eq=False)
class Programs:
    """One network with its programs.

    Attributes:
      network: what is trained.
      optimizer: the recipe of all networks, see `hyperlab.train.optimizers.recipe`.
      buckets: of the factors, from `plan`, the prior's first and those of larger factors after.
      classes: with the background.
      evaluation_batch: images that a program evaluates at once.
      zooming: whether images are magnified.
      augmentation: of the examples of a step; None: they are as they were read.
      evaluating: the programs of the network that this one's prepared parameters run in, where that is another's: a
        generated theta runs in the primary, as trained ones do.
      compiling: told before a training program is compiled.
      compile_seconds: of every program that was compiled so far.
    """

    network: Network
    optimizer: Mapping[str, Any]
    buckets: tuple[Bucket, ...]
    classes: int
    evaluation_batch: int = 16
    zooming: bool = False
    augmentation: Augmentation | None = None
    evaluating: "Programs | None" = None
    compiling: Callable[[], None] = lambda: None
    compile_seconds: dict[Any, float] = dataclasses.field(default_factory=dict, init=False)
    _programs: dict[Any, Callable] = dataclasses.field(default_factory=dict, init=False)
    _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock, init=False)

    # -- training ----------------------------------------------------------------------------------------------

    def start(self, key: jax.Array, learning_rate: float, steps: int) -> state.TrainState:
        """The state before the first of so many steps; rate and length are numbers in it: one program serves all."""
        start = groups.current().made(self._start, key)
        return schedules.with_length(optimizers.with_learning_rate(start, learning_rate), steps)

    @functools.cached_property
    def _start(self) -> Callable:
        def start(key):
            params = self.network.init(key)
            return state.create({"params": params}, self._tx(params))

        return jax.jit(start, compiler_options=compiler.options_once())

    def _tx(self, params: Any) -> optax.GradientTransformation:
        return optimizers.build(optimizers.recipe(self.optimizer, learning_rate=0.0), params)

    def batch(self, factors: Sequence[float], indices: np.ndarray) -> Batch:
        """A batch for one or more factors; sizes are made here, on the host."""
        return Batch.at(self.buckets[0].pyramid, factors, indices)

    def sizes(self, factor: float) -> Sizes:
        """Sizes of the levels at a factor; where images are rescaled, their own size first."""
        return self.buckets[0].pyramid.sizes(factor)

    def step(self, current: state.TrainState, examples: Examples, batch: Batch, exact: float | None, key: jax.Array):
        """One step; `exact` is the factor of a network that is trained for one, None for the bucket's program."""
        where = (exact,) if exact is not None else tuple(self.bucket(float(factor)) for factor in batch.factors[:, 0])
        return self.step_program(where, current, examples, batch, key)(current, examples, batch, key)

    def bucket(self, factor: float) -> Bucket:
        """The bucket of a factor."""
        fitting = [b for b in self.buckets if factor <= b.high + 1e-9] or self.buckets[-1:]
        return bucket_of(fitting, factor) if factor > fitting[0].low else fitting[0]

    def step_program(self, where: Where, *example: Any) -> Callable:
        """The compiled step of the buckets of its factors, or of one factor in the exact form."""

        def call(current, examples, batch, key):
            return self._update(current, (examples, batch), key, where)

        return self._program(("step", where), call, example, donate_argnums=0)

    def _update(self, current, batch, key, where):
        def loss_fn(params, collections, batch, rngs):
            examples, drawn = batch
            images, labels = examples.images[drawn.indices], examples.labels[drawn.indices]
            if self.augmentation is not None:
                images, labels = augment_batch(rngs["augmentation"], images, labels, self.augmentation)
            if self.zooming:
                images, labels = magnified(images, labels, drawn.zoom)
            total: Any = 0.0
            for place, one in enumerate(where):
                exact = isinstance(one, float)
                sizes, canvases = (self.sizes(one), None) if exact else (drawn.sizes[place], one.canvases)
                logits = self.network.run(self.network.prepare(params, drawn.factors[place]), images, sizes, canvases)
                total += losses.dice_cross_entropy(logits, labels).mean()
            return total / len(where), Aux()

        streams = () if self.augmentation is None else ("augmentation",)
        return train_step(loss_fn, self._tx(current.params), streams=streams)(current, batch, key)

    # -- evaluation --------------------------------------------------------------------------------------------

    @functools.cached_property
    def prepare(self) -> Callable:
        """`(params, factor [1]) -> prepared`, compiled."""
        return compiler.Program(self.network.prepare, "prepare")

    def labels(self, prepared: Any, factor: float, split: Split) -> np.ndarray:
        """Predicted labels of every image of a split, `[n, *spatial]`, of a prepared network at a factor.

        The network may have been prepared for another factor: that is how weights are transferred.
        """
        bucket, sizes = self.bucket(factor), np.array(self.sizes(factor), np.int32)

        def call(prepared, sizes, images):
            logits = self.network.run(prepared, images, sizes, bucket.canvases)
            return segmentation.predicted_labels(logits)

        rows, _ = evaluation_batches(len(split), groups.even(self.evaluation_batch))
        given = [(prepared, sizes, groups.deal(split.images[indices])) for indices in rows]
        owner = self.evaluating or self
        parts = [owner._program(("labels", bucket), call, one)(*one) for one in given]
        return np.concatenate(parts)[: len(split)]

    def predicted(
        self, prepared: Any, factor: float, split: Split | Cases
    ) -> Iterator[tuple[np.ndarray, Split, np.ndarray | None]]:
        """Predicted labels `[n, *spatial]` of a split, the split, and None; of whole cases one after the other.

        With a case come its probabilities `[*spatial, class]`.
        """
        if not isinstance(split, Cases):
            yield self.labels(prepared, factor, split), split, None
            return
        for place in range(len(split)):
            one = split.read(place)
            found = self.probabilities(prepared, factor, one.images[0])
            yield segmentation.labels_on_host(found)[None], one, found

    def probabilities(self, prepared: Any, factor: float, image: np.ndarray) -> np.ndarray:
        """Of a whole case, `[*spatial, class]`: windows with Gaussian weights, which overlap by half.

        Args:
          prepared: as for `labels`.
          factor: as well.
          image: `[*spatial, channel]`; with an axis more than patches have, its planes come first.
        """
        bucket, sizes = self.bucket(factor), np.array(self.sizes(factor), np.int32)
        owner, batch = self.evaluating or self, groups.even(self.evaluation_batch)

        def call(prepared, sizes, images):
            return jax.nn.softmax(self.network.run(prepared, images, sizes, bucket.canvases))

        def of_patches(patches: np.ndarray) -> jax.Array:
            given = (prepared, sizes, groups.deal(patches))
            return owner._program(("probabilities", bucket), call, given)(*given)

        return tiled_case(of_patches, image, self.buckets[0].pyramid.shape, batch=batch)

    def counts(self, prepared: Any, factor: float, split: Split | Cases) -> segmentation.Counts:
        """Right and wrong pixels of every image of a split, `[n, classes - 1]`."""
        found = [self.count(labels, one.labels) for labels, one, _ in self.predicted(prepared, factor, split)]
        return found[0] if len(found) == 1 else joined(found)

    @functools.cached_property
    def count(self) -> Callable:
        """`(predicted labels, true labels) -> counts [n, classes - 1]`, on the host: cases have many sizes."""
        return functools.partial(segmentation.counts_on_host, classes=self.classes)

    def dice(self, prepared: Any, factor: float, split: Split | Cases) -> np.ndarray:
        """Dice of every subject and class, `[subjects, classes - 1]`: images of one subject are pooled."""
        return np.asarray(segmentation.dice_of(pooled(self.counts(prepared, factor, split), split.groups)))

    def logits(self, prepared: Any, factor: float, images: np.ndarray) -> np.ndarray:
        """Logits of a few images."""
        return np.asarray(jax.jit(lambda p, x: self.network.run(p, x, self.sizes(factor), None))(prepared, images))

    # -- programs ----------------------------------------------------------------------------------------------

    def _program(self, name: Any, function: Callable, example: Sequence[Any], **options: Any) -> Callable:
        programs, where = self._programs, (name, groups.current())
        if where not in programs:
            with self._lock:
                if where not in programs:
                    if name[0] == "step" and name not in self.compile_seconds:  # for other devices, once more
                        self.compiling()
                    jitted = compiler.Program(function, name[0], compiler_options=compiler.options(), **options)
                    programs[where], seconds = compiler.timed_compile(jitted, *example)
                    self.compile_seconds.setdefault(name, seconds)
        return programs[where]

    def step_seconds(self, where: Where, examples: Examples, batch: Batch, repeats: int = 8) -> float:
        """Median seconds of a step, alone on the machine."""
        key, current = jax.random.key(0), self.start(jax.random.key(0), 1e-3, repeats + 2)
        program, seconds = self.step_program(where, current, examples, batch, key), []
        for _ in range(repeats + 2):
            begun = time.perf_counter()
            current, metrics = program(current, examples, batch, key)
            jax.block_until_ready(metrics)
            seconds.append(time.perf_counter() - begun)
        return float(np.median(seconds[2:]))


def joined(tables: Sequence[Any]) -> Any:
    """Tables of cases, named tuples of arrays `[n, ...]`, one below the other."""
    return type(tables[0])(*(np.concatenate(columns) for columns in zip(*tables, strict=True)))


def pooled(counts: segmentation.Counts, groups: np.ndarray) -> segmentation.Counts:
    """Counts of images summed by subject, in the order of the subjects' numbers."""
    subjects, where = np.unique(groups, return_inverse=True)
    table: list[Any] = []
    for column in counts:
        total = np.zeros((len(subjects), column.shape[1]), np.int64)
        np.add.at(total, where, column)
        table.append(total)
    return segmentation.Counts(*table)


def magnified(images: jax.Array, labels: jax.Array, zoom: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Images and labels magnified about their centre: linear and nearest, zero and background outside.

    Args:
      images: `[batch, *spatial, channel]`.
      labels: `[batch, *spatial]`.
      zoom: `[batch]`; 2 shows the middle half.
    """
    spatial = images.shape[1:-1]

    def one(image, label, zoom):
        axes = [(jnp.arange(n) - (n - 1) / 2) / zoom + (n - 1) / 2 for n in spatial]
        places = jnp.meshgrid(*axes, indexing="ij")

        def read(channel, order):
            return jax.scipy.ndimage.map_coordinates(channel, places, order=order, mode="constant")

        channels = jax.vmap(functools.partial(read, order=1), in_axes=-1, out_axes=-1)(image)
        return channels, read(label.astype(jnp.float32), 0).astype(label.dtype)

    return jax.vmap(one)(images, labels, zoom)
