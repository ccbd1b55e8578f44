"""What the settings of the registration study mean and may be, and what they ask of each other."""

from typing import Any

from hyperlab.errors import ConfigError
from hyperlab.hypernet.network import ACTIVATIONS
from hyperlab.registration.settings import DATA, LOSS, NETWORK, check_network, check_pairs
from hyperlab.studies.registration.arms import ARMS, INITIALIZERS
from hyperlab.train import durations, settings
from hyperlab.train.fields import Choice, Duration, Flag, Number, Several, Whole
from hyperlab.train.schema import Schema, under

SCHEMA: Schema = {
    "the question": {
        **settings.run("registration"),
        **settings.compared(ARMS, "Dice at the weight chosen on validation, loss over all weights"),
        "weights": Several("of the separate networks; at 1 the images do not count", Number("", low=0, below=1)),
        "curve_weights": Several("HyperMorphs are measured there too", Number("", low=0, high=1), least=0),
        "weight_per_pair": Flag("a weight, and so a network, for each pair instead of for the batch"),
    },
    "data": under("data", DATA),
    "networks": {**under("network", NETWORK), **settings.hypernet(ACTIVATIONS)},
    "loss": under("loss", LOSS),
    "training": {
        "initializers": Several("of the head, that arms are tried with", Choice("", INITIALIZERS, "initializer")),
        **settings.recipe(),
        "rates": settings.rates(),
        **settings.trials(),
        "train_length": Duration("of a network"),
        "batch_size": settings.batch("pairs of a step"),
        "steps_per_call": Whole("of the compiled program; a stop waits for their end", low=1),
        "evaluation_batch": settings.EVALUATION_BATCH,
    },
    "every pair on its own": {
        "pairwise.steps": Whole("of gradient descent", low=1),
        "pairwise.rates": settings.rates("in voxels a step"),
    },
}


def check(config: Any) -> None:
    """What keys ask of each other, known before anything is read.

    Raises:
      ConfigError: contrasts of arms that are not run; a network, a loss or lengths that cannot be.
    """
    settings.check_contrasts("contrasts", config.contrasts, config.arms)
    settings.check_recipe(config.optimizer)
    check_network(config, "")
    steps = durations.known(config.train_length, config.batch_size)
    if steps is not None:
        check_lengths(config, steps)


def check_lengths(config: Any, steps: int) -> None:
    """Refuses a program whose steps do not make up a run of so many.

    Raises:
      ConfigError: both numbers.
    """
    if steps % config.steps_per_call:
        raise ConfigError(f"steps_per_call ({config.steps_per_call}) must divide train_length ({steps} steps)")


def check_files(config: Any) -> None:
    """What is asked of files, known before any is read; see `check_pairs`."""
    check_pairs(config.data, "data")
