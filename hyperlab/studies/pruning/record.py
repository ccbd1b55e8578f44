"""What a pruning study records, as the rules of the checklist read it; what is left at its default was not recorded."""

from collections.abc import Callable
from typing import NamedTuple

# Small grey digits and drawn shapes; comparing the names without punctuation.
TOYS = ("digits", "mnist", "fashionmnist", "kmnist", "emnist", "usps", "shapes", "synthetic", "moons", "blobs")
# The two kinds of unpruned network, and the five pruned controls; arms of a study have these names.
UNPRUNED_CONTROLS = ("unpruned", "unpruned_fine_tuned")
PRUNED_CONTROLS = (
    "random", "random_own_fractions", "global_magnitude", "layer_magnitude", "magnitude_own_fractions",
)  # fmt: skip
SAMPLE_SD = "sample standard deviation"


class DataSet(NamedTuple):
    """A data set of a study; `version` says which files (a hash), `split` how they were divided; `classes` 0: none."""

    name: str
    version: str = ""
    split: str = ""
    classes: int = 0


class PrunedCurve(NamedTuple):
    """One method on one network.

    Attributes:
      dataset: name of a `DataSet`.
      architecture: its name.
      method: as the report calls it.
      track: `trained` (a trained parent is pruned and fine-tuned) or `initialisation` (pruned, then trained).
      shapes: hash of the parameters' paths and shapes.
      parents: one content hash of the parent a seed, in the order of `seeds`.
      recipe: hash of data pipeline, optimiser, schedule and budget of what follows the pruning.
      compressions: operating points, without the unpruned network.
      seeds: of the runs.
    """

    dataset: str
    architecture: str
    method: str
    track: str
    shapes: str
    parents: tuple[str, ...]
    recipe: str
    compressions: tuple[float, ...]
    seeds: tuple[int, ...]


class StudyRecord(NamedTuple):
    """What a pruning study recorded; defaults stand for "not recorded".

    Attributes:
      datasets: of the study.
      curves: every method on every network, controls included.
      metrics_version: of the definitions of the metrics.
      top: which top-k accuracies are reported.
      columns: of the table of results.
      panels: the x axes that are drawn, of `compression` and `speedup`.
      mac_convention: for instance "multiply-add = 1".
      macs_counted: multiply-adds were counted by the library from the network, none typed in.
      controls: which of `UNPRUNED_CONTROLS` and `PRUNED_CONTROLS` were run.
      spread: what the bars are; `SAMPLE_SD` has the divisor n - 1.
      parent_scores: networks ("data set / architecture") whose parent's own score is recorded.
      older_work: sources of published results that are drawn beside.
      labelled_theoretical: speedups that are counted are called theoretical.
      latency_device: where latency was measured; empty where it was not.
      parents_overridden: comparisons across parents were asked for.
    """

    datasets: tuple[DataSet, ...]
    curves: tuple[PrunedCurve, ...]
    metrics_version: str = ""
    top: tuple[int, ...] = (1,)
    columns: tuple[str, ...] = ()
    panels: tuple[str, ...] = ()
    mac_convention: str = ""
    macs_counted: bool = False
    controls: tuple[str, ...] = ()
    spread: str = ""
    parent_scores: tuple[str, ...] = ()
    older_work: tuple[str, ...] = ()
    labelled_theoretical: bool = False
    latency_device: str = ""
    parents_overridden: bool = False


def is_toy(dataset: str) -> bool:
    """Whether a data set is too easy to tell methods apart: MNIST and its kin, digits, drawn shapes.

    >>> is_toy("MNIST"), is_toy("Fashion-MNIST"), is_toy("digits_8x8"), is_toy("cifar10_subset")
    (True, True, True, False)
    """
    plain = "".join(character for character in dataset.lower() if character.isalnum())
    return plain.startswith(TOYS)


def network(curve: PrunedCurve) -> str:
    """Data set and architecture of a curve."""
    return f"{curve.dataset} / {curve.architecture}"


def track(curve: PrunedCurve) -> str:
    """Network and track of a curve: within these, methods are compared."""
    return f"{network(curve)} ({curve.track})"


def networks(record: StudyRecord) -> list[str]:
    """The networks of a study."""
    return list(dict.fromkeys(map(network, record.curves)))


def serious_networks(record: StudyRecord) -> list[str]:
    """Those on data that are no toys."""
    return list(dict.fromkeys(network(curve) for curve in record.curves if not is_toy(curve.dataset)))


def grouped(record: StudyRecord, name: Callable[[PrunedCurve], str]) -> dict[str, list[PrunedCurve]]:
    """The curves of a study by what they share."""
    groups: dict[str, list[PrunedCurve]] = {}
    for curve in record.curves:
        groups.setdefault(name(curve), []).append(curve)
    return groups
