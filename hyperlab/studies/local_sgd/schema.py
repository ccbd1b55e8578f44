"""What the settings of the local SGD study mean and may be, and what they ask of each other."""

from pathlib import Path
from typing import Any

from hyperlab import local_sgd
from hyperlab.data.partitions import KINDS
from hyperlab.errors import ConfigError, DataError
from hyperlab.studies import search
from hyperlab.studies.local_sgd import schedules
from hyperlab.studies.local_sgd.arms import ARMS, find
from hyperlab.tasks import TASKS
from hyperlab.tasks.schema import check_files as check_files_of_task
from hyperlab.tasks.schema import check_task, network, optimizer, tasks
from hyperlab.train import settings
from hyperlab.train.fields import Choice, Duration, Flag, Number, Several, Whole
from hyperlab.train.schema import Schema, under

_RECIPE = {"name": settings.OPTIMIZER, "schedule": Choice("of the rate", schedules.NAMES, "schedule")}

SCHEMA: Schema = {
    "the question": {
        **settings.run("local_sgd"),
        "task": Choice("what is learnt", tuple(TASKS), "task"),
        **settings.compared(ARMS, "test score at the largest H and number of replicas"),
        "parts": settings.contrasts("the gap of local SGD to synchronous training, split in two"),
        "periods": Several("H, local steps between synchronisations", Whole("", low=1)),
        "replicas": Several("how many train side by side", Whole("", low=1)),
        "target": Number("of the validation score: how long until it is reached?", low=0, high=1),
    },
    "data": {
        **settings.source(),
        **under(
            "data.partition",
            {
                "kind": Choice("replicas draw alike, or have shares of their own", KINDS, "kind"),
                "shards": Whole("of each replica, of kind 'shards': about as many classes", low=1),
                "alpha": Number("of Dir(alpha), from which kind 'dirichlet' draws class shares", above=0),
            },
        ),
        **under(
            "folder",
            {
                "size": Whole("side of an image of the task 'image_folder', in pixels", low=1),
                "validation": Number("share of its folder 'train' that is the validation split", above=0, below=1),
                "threads": Whole("that read its files; 0: all cores", low=0),
            },
        ),
    },
    "networks": network(),
    "training": {
        **optimizer(under("optimizer", _RECIPE)),
        "warmup": Number("share of the updates in which the rate rises", low=0, below=1),
        "decay_at": Several(
            "shares of the updates, of schedule 'steps'", Number("", above=0, below=1), least=0, rising=True
        ),
        "augment": settings.AUGMENT,
        "rates": Several("between which inner rates are drawn", Number("", above=0), least=2, most=2, different=False),
        "trials": Whole("rates of every arm at every H that are tried", low=1),
        **settings.trials(widened=False),
        "length": Duration("of all replicas together; rounded up to whole rounds"),
        "batch_size": settings.batch("examples of a step of one replica"),
        "in_turn": Flag("local steps of one replica after another: for convolutions on a CPU"),
    },
    **tasks(),
    "measuring": {
        "curve_points": settings.CURVE_POINTS,
        "drift_points": Whole("the most round ends at which replicas are compared", low=1),
        "evaluation_batch": settings.EVALUATION_BATCH,
    },
    "predicted seconds": under(
        "cost",
        {
            "compute_seconds": Number("of a step of one replica; 0: measured", low=0),
            "links": Several("published classes of links", Choice("", tuple(local_sgd.ARCHETYPES), "link"), least=0),
            "gigabits": Number("a second, of a link of one's own; 0: none", low=0),
            "latency": Number("seconds, of that link", low=0),
        },
    ),
    "one training over several processes, in place of the study": {
        "distributed": Flag("None: only where a cluster is detected", undecided=True),
        **under(
            "single",
            {
                "wanted": Flag("also in one process"),
                "arm": Choice("trained at the largest H with the most replicas", tuple(ARMS), "arm"),
                "rate": Number("inner learning rate", above=0),
                "base_batch": Whole("examples that the rate is of, which grows with the batch; 0: as it is", low=0),
                "outer_rate": Number("outer learning rate", above=0),
                "beta": Number("outer momentum", low=0, below=1),
                "seed": settings.SEED,
                "save_rounds": Whole("rounds between checkpoints", low=1),
                "patience": Number("seconds to wait for another process", above=0),
            },
        ),
    },
    "the machine": {"workers": settings.WORKERS},
}


def check(config: Any) -> None:
    """What keys ask of each other, known before anything is read.

    Raises:
      ConfigError: contrasts of arms that are not run; a range of rates or a schedule that is none; an arm that cannot
        be run at the largest H; no link to predict seconds for; settings that the task cannot use.
    """
    settings.check_contrasts("contrasts", config.contrasts, config.arms)
    settings.check_contrasts("parts", config.parts, config.arms)
    rates: tuple[float, float] = config.rates
    search.draw({"rate": search.Axis(*rates, log=True)}, config.trials, config.seed)
    schedules.of(config).factor(1)
    period, replicas = max(config.periods), max(config.replicas)
    for name in config.arms:
        arm = find(name)
        if (arm.kind != "synchronous" or arm.accumulate) and not arm.takes(period, replicas):
            raise ConfigError(
                f"arm {name!r} cannot be run at H = {period} with {replicas} replicas ({arm.definition()}); "
                "give other periods or replicas, or leave it out"
            )
    if not (config.cost.links or config.cost.gigabits > 0):
        raise ConfigError("cost names no links and no gigabits: one of them is needed for a prediction")
    check_task(config)


def check_files(config: Any) -> None:
    """What is asked of data sets, folders and stores, known before any is read.

    Raises:
      ConfigError: a set of another kind; no folder where images are read from one.
      DataError: an unknown set; a folder or a store that is missing, or that the task does not read.
    """
    if config.task != "image_folder":
        check_files_of_task(config)
        return
    if not config.data.root:
        raise ConfigError("the task 'image_folder' needs data.root, a folder with `train` and `val`")
    for part in ("train", "val"):
        if not (folder := Path(config.data.root).expanduser() / part).is_dir():
            raise DataError(f"{folder} is no folder; data.root names the one with `train` and `val`")
