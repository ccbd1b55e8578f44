"""A network that a run of the in-context study kept, to be used with a user's own examples."""

from pathlib import Path

import jax
import ml_collections
import numpy as np

from hyperlab import pareto
from hyperlab.data.splits import fingerprint
from hyperlab.errors import CheckpointError, ConfigError, DataError, nearest
from hyperlab.in_context.networks import network
from hyperlab.in_context.shown import Examples, ShownNetwork
from hyperlab.inference.network import Card
from hyperlab.metrics.defined import mean_defined
from hyperlab.report.finished import Finished
from hyperlab.studies.in_context.arms import ARMS, Cell
from hyperlab.train.checkpoints import load_variables
from hyperlab.train.phases import REPORT, report_seeds


def load_network(
    run: Path, *, arm: str | None = None, seed: int | None = None, support: str | Path | None = None
) -> ShownNetwork:
    """A network that was trained across tasks, with the examples that it is shown.

    The run keeps no examples: what it was measured on are tasks of its store, and a user's task is another one.

    Args:
      run: the folder of a finished run.
      arm: by default the only one that was kept.
      seed: by default the first that was kept.
      support: a folder of images with masks.

    Raises:
      ConfigError: no support; an arm or seed that was not kept.
      DataError: the run kept no network; examples that cannot be read.
      WorkdirError: the run is not finished.
    """
    finished = Finished(run)
    config = ml_collections.ConfigDict({key: value for key, value in finished.config.items() if key != "devices"})
    kept = [
        (one, each)
        for one in config.arms
        for each in report_seeds(config)
        if (run / Cell(one).network_file(each)).is_file()
    ]
    if not kept:
        raise DataError(f"{run} holds no network: no arm is trained across tasks, or keep_networks was 0")
    arms, seeds = list(dict.fromkeys(one for one, _ in kept)), [each for one, each in kept if arm in (None, one)]
    if arm is not None and arm not in arms:
        raise ConfigError(f"the run kept no network of {arm!r}; {nearest(arm, arms)}")
    if arm is None and len(arms) > 1:
        raise ConfigError(f"the run kept networks of several arms; say which: {', '.join(arms)}")
    arm, seed = arm or arms[0], seeds[0] if seed is None else seed
    if seed not in seeds:
        raise ConfigError(f"the run kept no network of seed {seed}; it kept {', '.join(map(str, seeds))}")
    if support is None:
        raise ConfigError("a network of this study is shown examples: give support, a folder of images with masks")
    examples = Examples.read(support, tuple(config.data.size))
    try:
        params = load_variables(run / Cell(arm).network_file(seed))["params"]
    except CheckpointError as error:
        raise DataError(f"{run} cannot be used: {error}") from error
    measured = finished.unit(Cell(arm).unit_name(REPORT, finished.choices[arm]["learning_rate"], seed))
    largest = f"/{max(config.support_sizes)}"
    tasks = [mean_defined(v, None) for key, v in measured.items() if key.startswith("dice/") and key.endswith(largest)]
    digest = fingerprint(*map(np.asarray, jax.tree.leaves(params)))
    card = Card(
        "in_context",
        arm,
        seed,
        examples.classes,
        pareto.told_of_cases(tasks),
        examples.record(),
        digest=digest,
        over="held-out tasks",
    )
    return ShownNetwork(network(ARMS[arm].network, config.network), params, examples, card)
