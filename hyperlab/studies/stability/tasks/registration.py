"""Registration at any regularisation weight: gamma is the weight lambda of the smoothness in a VoxelMorph's loss.

Source: Hoopes et al., HyperMorph (2021), arXiv 2101.01035. It is one of the tasks of Magnitude Invariant
Parametrizations (2023), arXiv 2304.07645.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab.data import streaming
from hyperlab.data.splits import permutation
from hyperlab.errors import ConfigError
from hyperlab.metrics import segmentation
from hyperlab.models.voxelmorph import Registration as Field
from hyperlab.nn.precision import computing_in
from hyperlab.registration import PairDataset
from hyperlab.registration import load as load_pairs
from hyperlab.registration.losses import objective
from hyperlab.registration.model import WITHOUT_FLOW, criterion_of, draw_weights, measure, network_of
from hyperlab.registration.settings import check_network, check_pairs
from hyperlab.studies.stability.tasks.dice import at_each, mean_dice
from hyperlab.studies.stability.tasks.task import Gammas, Task, Wording, numbered
from hyperlab.train import engine

Pairs = dict[str, Any]  # arrays by name

GROUP = "registration.data"  # of the config, where the data are described


class Registration(Task):
    """Pairs of images with labels; see `Task` for its parts.

    Args:
      config: the study's: `registration`, `gamma`, `samples`, `batch_size`.
      data: the pairs.

    Raises:
      ConfigError: gamma is not one uniform number from 0 to 1.
    """

    select = WITHOUT_FLOW  # the last convolution has to start near zero: it is an ordinary layer, as published
    gamma_range = (0.0, 1.0)
    probe_examples = 16

    def __init__(self, config: Any, data: PairDataset):
        self.config, self.data = config, data
        settings = config.registration
        check(config)
        self.name, self.fingerprint = data.name, data.fingerprint
        self.sizes = {name: len(pairs) for name, pairs in data.parts().items()}
        self.primary = computing_in(network_of(settings), engine.of(config).precision)
        self.criterion = criterion_of(settings)
        self.example = (jnp.zeros((1, *data.shape)),) * 2
        self.wording = Wording(
            score="Dice",
            setting=f"{data.name}, pairs of {' x '.join(map(str, data.shape[:-1]))}, a VoxelMorph with widths "
            f"{tuple(settings.network.encoder)} and {tuple(settings.network.decoder)}, all parameters but the last "
            "layer's generated from lambda in [0, 1]",
            gamma="the regularisation weight lambda",
            limits=(
                f"Dice is that of warped labels, the mean over classes, subjects and {config.samples} fixed weights; "
                "in use, the best weight would be chosen.",
                "The arm without a hypernetwork has one set of weights for all lambda, and does not see lambda: what "
                "it scores says how much lambda is needed for at all.",
                *data.notes,
            ),
        )

    def train(self) -> Pairs:
        """All training images once, and the table of their pairs."""
        pairs = self.data.train
        return {"images": pairs.images, "pairs": pairs.pairs}

    def rows(self, examples: Pairs, indices: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
        """Both images of each pair, and a table of these pairs."""
        pairs = np.asarray(examples["pairs"])[np.ravel(indices)]
        images, table = streaming.select(examples["images"], pairs)
        return {"images": images, "pairs": table}, streaming.numbered(indices)

    def take(self, examples: Pairs, indices: jax.Array | np.ndarray) -> Pairs:
        """The images of some pairs."""
        moving, fixed = examples["pairs"][indices].T
        return {"moving": examples["images"][moving], "fixed": examples["images"][fixed]}

    def held_out(self, split: str, count: int) -> Pairs:
        """Pairs of a split, chosen at random, with their labels and the subject that each counts for."""
        chosen = self.data.parts()[split]
        rows = np.sort(permutation(len(chosen), self.config.registration.data.seed)[:count])
        moving, fixed = chosen.pairs[rows].T
        return {
            "moving": chosen.images[moving],
            "fixed": chosen.images[fixed],
            "moving_labels": chosen.labels[moving],
            "fixed_labels": chosen.labels[fixed],
            "subjects": numbered(chosen.groups[rows]),
        }

    def draw(self, seeds: np.ndarray, steps: range, per_sample: bool) -> Gammas:
        """Weights, 0 or 1 with a probability of 0.2, as HyperMorph draws them."""
        size = (self.config.batch_size,) if per_sample else ()
        return Gammas(np.stack([draw_weights(int(seed), steps, size) for seed in seeds])[..., None])

    def fixed(self) -> Gammas:
        """The middles of equal parts of the range: at a weight of 1 there is nothing to register by."""
        samples = self.config.samples
        return Gammas(((np.arange(samples) + 0.5) / samples)[:, None].astype(np.float32))

    def grid(self, points: int) -> Gammas:
        """Evenly spaced, both ends included."""
        return Gammas(np.linspace(*self.gamma_range, points)[:, None].astype(np.float32))

    def inputs(self, batch: Pairs, aux_inputs: Any) -> tuple:
        """Moving and fixed images."""
        return (batch["moving"], batch["fixed"])

    def loss(self, outputs: Field, batch: Pairs, gamma: jax.Array) -> jax.Array:
        """Similarity and smoothness, weighed by gamma."""
        return objective(gamma[..., 0], *self.criterion.terms(outputs, batch["moving"], batch["fixed"])).mean()

    def predict(self, outputs: Field, held_out: Pairs) -> dict[str, jax.Array]:
        """What the registrations are worth, pair by pair."""
        return measure(self.criterion, len(self.data.classes), outputs, held_out)

    def score(self, predictions: dict[str, jax.Array], held_out: Pairs) -> jax.Array:
        """Mean Dice of warped labels over the fixed weights."""
        return self._dice(predictions, held_out).mean()

    def final(self, predictions: dict[str, jax.Array], held_out: Pairs) -> dict[str, jax.Array]:
        """Dice at each weight; the share of voxels where the map folds; how rough the field is at the ends."""
        smoothness = predictions["smoothness"].mean(1)
        return at_each(self.fixed().values, self._dice(predictions, held_out)) | {
            "folding": predictions["folding"].mean(),
            "roughness_at_lowest_weight": smoothness[0],
            "roughness_at_highest_weight": smoothness[-1],
        }

    def _dice(self, predictions: dict[str, jax.Array], held_out: Pairs) -> jax.Array:
        right, extra, missed = (predictions[key] for key in ("true_positive", "false_positive", "false_negative"))
        return mean_dice(segmentation.Counts(right, extra, missed, jnp.zeros_like(right)), held_out["subjects"])


def check(config: Any) -> None:
    """Refuses settings that the task cannot use.

    Raises:
      ConfigError: gamma is not one uniform number from 0 to 1; a network or a loss that cannot be.
    """
    gamma = config.gamma
    if (gamma.dim, gamma.prior, gamma.low, gamma.high) != (1, "uniform", 0, 1):
        raise ConfigError(
            f"gamma of dimension {gamma.dim}, {gamma.prior} from {gamma.low} to {gamma.high}; a regularisation "
            "weight is one uniform number from 0 to 1"
        )
    check_network(config.registration, "registration.")


def check_files(config: Any) -> None:
    """See `registration.settings.check_pairs`."""
    check_pairs(config.registration.data, GROUP)


def load(config: Any) -> Registration:
    """The task of a config, with the data that it names.

    Raises:
      ConfigError: settings that it cannot use.
      DataError: data that it cannot use.
    """
    return Registration(config, load_pairs(config.registration.data))
