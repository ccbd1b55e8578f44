"""What the settings of the stability study mean and may be, and what they ask of each other."""

from typing import Any

from hyperlab.errors import ConfigError, nearest
from hyperlab.hypernet.network import ACTIVATIONS
from hyperlab.registration.settings import DATA, LOSS, NETWORK
from hyperlab.studies.stability import tasks
from hyperlab.studies.stability.arms import ARMS
from hyperlab.studies.stability.laws import LAWS
from hyperlab.studies.stability.tasks.classification import PRIMARIES, PRIORS
from hyperlab.train import durations, settings
from hyperlab.train.fields import Choice, Duration, Flag, Number, Several, Whole
from hyperlab.train.schema import Schema, under

_OPTIMIZERS = ("sgd", "adam")

SCHEMA: Schema = {
    "the question": {
        **settings.run("stability"),
        "task": Choice("what is learnt; each has data and a network of its own", tasks.TASKS, "task"),
        **settings.compared(ARMS, "steps to the target and score"),
        "target_score": Number("how many steps until the score is reached?", low=0, high=1),
        "samples": Whole("gammas that networks are scored at", low=1),
        "curve_examples": Whole("held-out examples that learning curves are measured on, at most", low=1),
    },
    "gamma, what parameters are generated from": under(
        "gamma",
        {
            "dim": Whole("size of a gamma", low=1),
            "prior": Choice("it is drawn from", PRIORS, "prior"),
            "low": Number("of a uniform or log-uniform gamma"),
            "high": Number("of a uniform or log-uniform gamma"),
        },
    ),
    "the map: arms over rates, laws of gamma and primaries, where nothing is tuned": under(
        "map",
        {
            "laws": Several("of gamma; empty: arms are tuned and compared", Choice("", tuple(LAWS), "law"), least=0),
            "primaries": Several("each with widths of its own", Choice("", tuple(PRIMARIES), "primary")),
        },
    ),
    "transfer: arms over rates on perceptrons of several widths and depths, where nothing is tuned": under(
        "transfer",
        {
            "widths": Several(
                "of all hidden layers; empty: no study of transfer", Whole("", low=1), least=0, rising=True
            ),
            "depths": Several("numbers of hidden layers; the first has every width", Whole("", low=1), rising=True),
        },
    ),
    "networks": {
        **settings.hypernet(ACTIVATIONS),
        "hypernet.scale_by_dimension": Flag("gamma is divided by the root of its dimension"),
        "primary.kind": Choice("of the task 'classification'", tuple(PRIMARIES), "primary"),
        "primary.widths": settings.widths("of its layers"),
    },
    "data of the task 'classification'": settings.source(),
    "training": {
        "optimizers": Several("each arm is trained with each", Choice("", _OPTIMIZERS, "optimizer")),
        **settings.recipe(name=False),
        **under("rates", {name: settings.rates(f"learning rates of {name}") for name in _OPTIMIZERS}),
        **settings.trials(),
        "train_length": Duration("of a run"),
        "batch_size": settings.batch("examples of a step"),
        "evaluate_every": Whole("steps between points of a learning curve", low=1),
        "steps_per_call": Whole("of the compiled program; a stop waits for their end", low=1),
    },
    "the task 'rescaling'": {
        **settings.segmented("rescaling.data"),
        "rescaling.widths": settings.widths("of the U-Net's levels"),
        "rescaling.convs_per_block": settings.CONVS_PER_BLOCK,
    },
    "the task 'registration'": {
        **under("registration.data", DATA),
        **under("registration.network", NETWORK),
        **under("registration.loss", LOSS),
    },
    "the machine": {
        "workers": settings.WORKERS,
        "runs_per_program": Whole("side by side; 0: 1 on CPU, 16 on accelerators", low=0),
    },
}


def check(config: Any) -> None:
    """What keys ask of each other, known before anything is read.

    Raises:
      ConfigError: contrasts of arms that are not run; optimizers without rates; a range, lengths or arms that the task
        cannot have.
    """
    settings.check_contrasts("contrasts", config.contrasts, config.arms)
    settings.check_recipe(config.optimizer)
    for name in config.optimizers:
        if name not in config.rates:
            raise ConfigError(f"optimizers: no rates for {name!r}; {nearest(name, config.rates)}")
    if not config.gamma.low < config.gamma.high:
        raise ConfigError(f"gamma.low ({config.gamma.low}) must be below gamma.high ({config.gamma.high})")
    tasks.check(config)
    steps = durations.known(config.train_length, config.batch_size)
    if steps is not None:
        check_lengths(config, steps)


def check_lengths(config: Any, steps: int) -> None:
    """Refuses programs and evaluations that do not make up a run of so many steps.

    Raises:
      ConfigError: all of the numbers.
    """
    call = config.steps_per_call
    if steps % call or call % config.evaluate_every:
        raise ConfigError(
            f"evaluate_every ({config.evaluate_every}) must divide steps_per_call ({call}), which must divide "
            f"train_length ({steps} steps)"
        )


def check_files(config: Any) -> None:
    """What is asked of data sets and folders, known before any is read."""
    tasks.check_files(config)
