"""From raw data sets to a store of tasks: cases are standardised by several processes, and nothing finished is redone.

Each standardised case is a file under `<store>/.parts` until its data set is complete, so that a build that was killed
goes on with the next case; tasks are then written one by one.
"""

import itertools
import json
import os
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np

from hyperlab.data.in_context.sources import RawSource
from hyperlab.data.in_context.standardize import RawCase, Standardization, standardize
from hyperlab.data.in_context.store import is_finished, task_folder, write_task
from hyperlab.data.in_context.tasks import SPLITS, TaskData, TaskName
from hyperlab.data.similarity import joined, near_copies, thumbnail
from hyperlab.data.source import Source, cut
from hyperlab.data.splits import Split, fingerprint
from hyperlab.errors import DataError, HyperlabError
from hyperlab.files import writing

Report = Callable[[str, int, int], None]
DTYPES = ("uint8", "float32")


@dataclass(frozen=True)
class Options:
    """How a store is built, beside what is done to the images.

    Attributes:
      dtype: `"uint8"` keeps 1/255 of the range and a quarter of the space, `"float32"` all.
      validation, test: shares of the subjects; a published test split stays whole.
      split_seed: another seed gives another partition.
      workers: processes that standardise; 0 is this one.
      overwrite: replace tasks that were built with other settings.
    """

    dtype: str = "uint8"
    validation: float = 0.2
    test: float = 0.2
    split_seed: int = 0
    workers: int = 0
    overwrite: bool = False

    def __post_init__(self):
        if self.dtype not in DTYPES:
            raise DataError(f"unknown dtype {self.dtype!r}; valid: {', '.join(DTYPES)}")
        if self.workers < 0:
            raise DataError(f"workers is {self.workers}, expected at least 0")


def build(
    source: RawSource, out: str | Path, settings: Standardization, options: Options, report: Report | None = None
) -> list[Path]:
    """Adds all tasks of a data set to a store.

    Args:
      source: the raw data.
      out: the store; it is made if there is none, and other data sets in it stay.
      settings: the standardisation.
      options: see `Options`.
      report: called with what is done, how much of it, and out of how much.

    Returns:
      The folders of the tasks, finished before or now.

    Raises:
      DataError: a case cannot be read (named); the tasks are there, built with other settings.
    """
    out = Path(out).expanduser()
    recipe = {
        "cases": fingerprint(np.array(source.names)),
        "dtype": options.dtype,
        "splits": [options.validation, options.test, options.split_seed],
        "standardization": json.loads(json.dumps(asdict(settings))),
    }
    names = _names(source, settings)
    folders = [task_folder(out, size, name) for size in settings.sizes for name in names.values()]
    if options.overwrite:
        for folder in folders:
            (folder / "zarr.json").unlink(missing_ok=True)
    if all([is_finished(folder, recipe) for folder in folders]):  # a list: each is checked against the recipe
        return folders
    parts = (
        out
        / ".parts"
        / f"{source.name.replace('/', '_')}-{fingerprint(np.array(json.dumps(recipe, sort_keys=True)))[:12]}"
    )
    parts.mkdir(parents=True, exist_ok=True)
    files = [parts / f"{number:06d}.npz" for number in range(len(source.entries))]
    jobs = [
        (file, source.names[i], source.read, source.entries[i], tuple(source.labels), _kinds(source, i), settings,
         options.dtype, source.find_copies)
        for i, file in enumerate(files) if not file.is_file()
    ]  # fmt: skip
    run_jobs(_standardize_case, jobs, options.workers, len(files), f"{source.name}: cases", report)
    split_of, groups = _splits(source, files, options)
    written: list[Path] = []
    combinations = list(itertools.product(settings.sizes, _channels(source, settings)))
    for size, (modality, axis) in combinations:
        wanted = {label: names[modality, axis, label] for label in source.labels}
        folders = [task_folder(out, size, name) for name in wanted.values()]
        if not all([is_finished(folder, recipe) for folder in folders]):
            data = _gathered(source, files, size, modality, axis, wanted, split_of, groups, recipe)
            twin = None
            for one in data:
                folder = task_folder(out, size, one.name)
                if not is_finished(folder, recipe):
                    write_task(out, one, twin)
                twin = folder
        written += folders
        if report:
            report(f"{source.name}: tasks", len(written), len(combinations) * len(source.labels))
    shutil.rmtree(parts)
    if not any(parts.parent.iterdir()):
        parts.parent.rmdir()
    return written


def run_jobs(function, jobs: list[tuple], workers: int, total: int, what: str, report: Report | None) -> None:
    """Calls a function with each job, in this process or in several."""
    done = itertools.count(total - len(jobs) + 1)
    if report and jobs:
        report(what, total - len(jobs), total)

    def said(_) -> None:
        if report:
            report(what, next(done), total)

    if workers == 0:
        for job in jobs:
            said(function(*job))
        return
    # forking would copy the threads of jax, which hang
    with ProcessPoolExecutor(
        min(workers, len(jobs) or 1), mp_context=get_context("spawn"), initializer=_end_with_parent
    ) as pool:
        futures = [pool.submit(function, *job) for job in jobs]
        try:
            for future in as_completed(futures):
                said(future.result())
        except BrokenProcessPool as error:
            raise DataError(
                "a worker process died, perhaps for want of memory; use fewer --workers, and run the "
                "command again: finished cases are kept"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Ends a worker whose parent was killed; it would wait for work for good."""

    def wait() -> None:
        if (parent := parent_process()) is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _standardize_case(file: Path, name, read, entry, labels, kinds, settings, dtype, find_copies) -> None:
    """One case to one file: for each size, channel and axis its planes of all labels."""
    try:
        case: RawCase = read(entry)
        made = standardize(case, labels, kinds, settings)
    except HyperlabError as error:
        raise DataError(f"case {name}: {error}") from error
    arrays: dict[str, Any] = {"thumbnail": thumbnail(case.image) if find_copies else np.zeros(0, np.float32)}
    for size, planes in made.items():
        members = defaultdict(list)
        for plane in planes:
            members[f"{size}/{plane.modality}/{_axis(plane.axis)}"].append(plane)
        for key, some in members.items():
            arrays[f"{key}/images"] = stored(np.stack([plane.image for plane in some]), dtype)
            arrays[f"{key}/masks"] = stored(np.stack([plane.mask for plane in some]), dtype)
            arrays[f"{key}/which"] = np.array([(plane.label, plane.number) for plane in some])
    with writing(file) as partial:
        np.savez(partial, **arrays)


def _gathered(source, files, size, modality, axis, wanted, split_of, groups, recipe) -> Iterable[TaskData]:
    """The tasks of one channel and axis, each in the order of the cases."""
    found: dict[Any, dict[Any, list]] = defaultdict(lambda: defaultdict(list))
    for number, file in enumerate(files):
        if split_of[number] is None:
            continue
        key = f"{size}/{0 if source.modality_of else modality}/{axis}"
        if source.modality_of and source.modality_of[number] != modality:
            continue
        with file.open("rb") as opened, np.load(opened) as arrays:
            if f"{key}/which" not in arrays.files:
                continue
            images, masks, which = (arrays[f"{key}/{what}"] for what in ("images", "masks", "which"))
        for image, mask, (label, place) in zip(images, masks, which.tolist(), strict=True):
            case = f"{source.names[number]}/{place}" if which[:, 1].any() else source.names[number]
            for what, value in (("images", image), ("masks", mask), ("number", number), ("case", case)):
                found[label][what].append(value)
    for label, name in wanted.items():
        rows = found[label]
        if not rows["images"]:
            raise DataError(f"task {name} is empty: no case holds this axis; choose other --planes")
        yield TaskData(
            name, np.stack(rows["images"]), np.stack(rows["masks"]), groups[rows["number"]],
            tuple(split_of[number] for number in rows["number"]), tuple(rows["case"]),
            recipe["standardization"]["labels"] == "binary", recipe,
        )  # fmt: skip


def _splits(source: RawSource, files: list[Path], options: Options) -> tuple[list[str | None], np.ndarray]:
    """The split of each case (None: left out) and its group: subjects, joined where images are near-copies."""
    subjects = np.array(source.subjects)
    groups = joined(subjects)
    if source.find_copies:
        thumbnails = []
        for file in files:
            with file.open("rb") as opened, np.load(opened) as arrays:
                thumbnails.append(arrays["thumbnail"])
        if len({len(one) for one in thumbnails}) > 1:
            raise DataError(f"{source.name} mixes images and volumes; build each kind from a folder of its own")
        groups = joined(subjects, pairs=[pair[:2] for pair in near_copies(np.stack(thumbnails))])
    return cut_cases(source.name, groups, options, source), groups


def cut_cases(name: str, groups: np.ndarray, options: Options, source: RawSource | None = None) -> list[str | None]:
    """The split of each case, groups never cut; None where it is between sections or a copy of a test case."""
    n = len(groups)
    # the cut looks at groups and order alone, so each case stands for itself as one pixel
    examples = Split(
        ((np.arange(n, dtype=np.float32) + 1) / n).reshape(n, 1, 1, 1), np.zeros((n, 1, 1), np.int32),
        np.asarray(groups, np.int32), np.arange(n, dtype=np.int32),
        kinds=None if source is None or source.modality_of is None else np.array(source.modality_of, np.int32),
    )  # fmt: skip
    official = None if source is None or source.official_test is None else np.array(source.official_test)
    sections = None if source is None or source.sections is None else np.array(source.sections)
    parts = cut(
        name, Source(examples, ("background",), official_test=official, sections=sections), options.validation,
        options.test, options.split_seed,
    ).parts()  # fmt: skip
    split_of: list[str | None] = [None] * n
    for split in SPLITS:
        for index in parts[split].index.tolist():
            split_of[index] = split
    return split_of


def _kinds(source: RawSource, case: int) -> tuple[str, ...]:
    return source.kinds if source.modality_of is None else (source.kinds[source.modality_of[case]],)


def _channels(source: RawSource, settings: Standardization) -> list[tuple[int, str]]:
    """Modality and axis of the tasks; the first case shows whether there are volumes."""
    first = source.read(source.entries[0])
    volumes = first.labels.ndim == 4 and not first.stack
    axes = [_axis(axis) for axis in settings.planes] if volumes else [_axis(None)]
    return list(itertools.product(range(len(source.modalities)), axes))


def _names(source: RawSource, settings: Standardization) -> dict[tuple[int, str, int], TaskName]:
    if not source.entries:
        raise DataError(f"{source.name} holds no case")
    names = {
        (modality, axis, label): TaskName.of(source.name, source.modalities[modality], axis, text)
        for modality, axis in _channels(source, settings)
        for label, text in source.labels.items()
    }
    if not names:
        raise DataError(f"{source.name} has no labels, expected one or more")
    given: dict[TaskName, tuple[str, str]] = {}
    for (modality, _, label), name in names.items():
        texts = source.modalities[modality], source.labels[label]
        if name in given:
            one, other = (f"{text!r} of {channel!r}" for channel, text in (given[name], texts))
            raise DataError(
                f"{source.name} has the labels {list(source.labels.values())}, expected different names: {one} and "
                f"{other} would be one task, {name}"
            )
        given[name] = texts
    return names


def _axis(axis: int | None) -> str:
    return "2d" if axis is None else f"axis{axis}"


def stored(values: np.ndarray, dtype: str) -> np.ndarray:
    """Values in 0..1 as they are stored."""
    return np.round(255 * values).astype(np.uint8) if dtype == "uint8" else values.astype(np.float32)
