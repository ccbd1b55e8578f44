"""Fields that several studies have, so that one setting means the same, and may be the same, in all of them."""

from collections.abc import Collection, Mapping
from typing import Any

from hyperlab import seeds
from hyperlab.errors import ConfigError, nearest
from hyperlab.metrics.statistics import MOST_CONTRASTS
from hyperlab.train.fields import Choice, Contrast, Field, Flag, Number, Several, Text, Whole
from hyperlab.train.phases import FIRST_REPORT_SEED
from hyperlab.train.schema import under

_STREAMS_APART = 10_000  # what studies add to the seeds of a copy of an arm, which has draws of its own (A/A test)
SEED = Whole("of everything that is drawn; another seed gives another run", low=0, high=seeds.LARGEST)
WORKERS = Whole("trainings at the same time; 0: one for each of at most four cores on CPU, else 1", low=0)
AUGMENT = Flag("whether training images are changed at random")
KEEP_NETWORKS = Whole("trained parameters are kept for so many of the first report seeds", low=0)
CURVE_POINTS = Whole("evaluations along a training, for its learning curve", low=1)
_LARGEST_BATCH = 2**20  # examples; their indices are drawn for many steps at once
EVALUATION_BATCH = Whole("examples that are evaluated at once", low=1, high=_LARGEST_BATCH)
OPTIMIZER = Choice("of all networks", ("sgd", "adam", "adamw", "lean_adam"), "optimizer")
CONVS_PER_BLOCK = Whole("convolutions on each level", low=1)
AUGMENTATION = Choice("or faithful, to the published code's quirks too", ("documented", "faithful"), "augmentation")


def recipe(name: bool = True) -> dict[str, Field]:
    """The group `optimizer` of a study whose arms all train by one recipe, see `train.optimizers.recipe`.

    Args:
      name: whether the optimizer's name is among its settings.
    """
    fields = {
        "schedule": Choice("of the rate: to zero along a cosine, or empty: constant", ("", "cosine"), "schedule"),
        "warmup": Number("share of the steps in which the rate rises, of a cosine", low=0, below=1),
        "clip": Number("largest norm of the gradient; 0: any", low=0),
    }
    return under("optimizer", {"name": OPTIMIZER, **fields} if name else fields)


def check_recipe(optimizer: Any) -> None:
    """Refuses a recipe whose settings contradict each other.

    Raises:
      ConfigError: a warm-up of a rate that is constant.
    """
    if optimizer.get("warmup") and not optimizer.get("schedule"):
        raise ConfigError(
            f"optimizer.warmup is {optimizer['warmup']:g} and optimizer.schedule is empty: a constant rate has no "
            "warm-up; give optimizer.schedule='cosine' or optimizer.warmup=0"
        )


def run(study: str) -> dict[str, Field]:
    """Which study it is, and the seed of its run."""
    return {"study": Choice("which study this is a config of", (study,), "study"), "seed": SEED}


def compared(arms: Collection[str], meaning: str, metrics: Collection[str] = ()) -> dict[str, Field]:
    """The arms of a study and the contrasts between them.

    Args:
      arms: all that the study knows.
      meaning: of the contrasts: what is measured.
      metrics: where a contrast names one.
    """
    return {
        "arms": Several("what is compared", Choice("", arms, "arm")),
        "contrasts": contrasts(f"comparisons that are named before the study runs: {meaning}", metrics),
    }


def contrasts(meaning: str, metrics: Collection[str] = ()) -> Several:
    """Comparisons, `first - second`, as many as can be corrected for."""
    return Several(meaning, Contrast("", tuple(metrics)), least=0, most=MOST_CONTRASTS)


def check_contrasts(key: str, named: Collection[str], arms: Collection[str]) -> None:
    """Refuses contrasts of arms that are not run.

    Args:
      key: of the contrasts, for the message.
      named: `first - second`; a metric and a colon may come before.
      arms: that are run.

    Raises:
      ConfigError: the contrast, the name, and the nearest arm that is run.

    >>> check_contrasts("contrasts", ("mip - default",), ("mip", "plain"))
    Traceback (most recent call last):
    hyperlab.errors.ConfigError: contrasts: 'mip - default' names 'default', which is not run; valid: 'mip', 'plain'
    """
    for contrast in named:
        for name in contrast.rpartition(": ")[2].split(" - "):
            if name not in arms:
                raise ConfigError(f"{key}: {contrast!r} names {name!r}, which is not run; {nearest(name, arms)}")


def rates(meaning: str = "learning rates that each arm is tried with") -> Several:
    """A grid of learning rates."""
    return Several(meaning, Number("", above=0))


def batch(meaning: str) -> Whole:
    """How many examples there are in a step."""
    return Whole(meaning, low=1, high=_LARGEST_BATCH)


def widths(meaning: str, least: int = 1) -> Several:
    """Numbers of channels or units, layer by layer."""
    return Several(meaning, Whole("", low=1), least=least, different=False)


def size(meaning: str, *, empty: bool = False, dims: tuple[int, int] = (2, 2)) -> Several:
    """Sides of an image in pixels.

    Args:
      meaning: of which images.
      empty: the empty tuple stands for the images' own size.
      dims: the fewest axes, and the most.
    """
    return Several(meaning, Whole("", low=1), least=dims[0], most=dims[1], different=False, empty=empty)


def trials(*, widened: bool = True) -> dict[str, Field]:
    """How choices are made, and from how many seeds is reported."""
    # Tuning seeds count from 0 up to where report seeds begin; these end where the copies of an A/A test begin.
    tuned = Whole("seeds that choices are made on, on the validation split", low=1, high=FIRST_REPORT_SEED)
    reported = Whole("fresh seeds that are reported, on the test split", low=1, high=_STREAMS_APART - FIRST_REPORT_SEED)
    widening = {"widenings": Whole("how often a grid grows whose best rate is at its edge", low=0)} if widened else {}
    return {"tuning_seeds": tuned, **widening, "report_seeds": reported}


_LIMIT = Whole("the most examples of each split; 0: all", low=0)


def source(limit: Field = _LIMIT) -> dict[str, Field]:
    """The group `data` of a set of images: its name, files, partition and size."""
    return under("data", _files(limit))


def _files(limit: Field) -> dict[str, Field]:
    return {
        "name": Text("of the data set, see hyperlab.data.load"),
        "root": Text("folder of its files; empty for sets that are embedded or drawn"),
        "split_seed": Whole("of the partition into splits", low=0, high=seeds.LARGEST),
        "limit": limit,
    }


def segmented(group: str) -> dict[str, Field]:
    """Images with a class for every pixel, as `data.labelled_pixels` reads them."""
    return under(
        group,
        {
            **_files(_LIMIT),
            "size": size("of the images; (): their own", empty=True, dims=(2, 3)),
            "count": Whole("images of the procedural shapes", low=1),
            "difficulty": Number("of the procedural shapes, 0 easy to 1 hard", low=0, high=1),
        },
    )


def hypernet(activations: Mapping[str, object] | None = None, group: str = "hypernet") -> dict[str, Field]:
    """The network that generates parameters.

    Args:
      activations: that it may have; None for a group without this key.
      group: what the config calls it.
    """
    fields: dict[str, Field] = {"hidden": widths("widths of the hypernetwork's hidden layers", least=0)}
    if activations is not None:
        fields["activation"] = Choice("of the hypernetwork's hidden layers", tuple(activations), "activation")
    return under(group, fields)
