"""From a folder of scans to a store: a first reading that measures, a second one that writes; a kill loses one case.

What the first reading finds is kept in `<store>/.work` a file a case, so that it is not repeated either. A store that
is overwritten stays whole until the new one is (`beginning`).
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hyperlab.data.in_context.building import run_jobs
from hyperlab.data.layouts import case_problems, depth_problems, detect, read_case, refuse
from hyperlab.data.prepared import fingerprint as measuring
from hyperlab.data.prepared import store as stored
from hyperlab.data.prepared.beginning import (
    Decided,
    begin,
    check_folder,
    clear_others,
    folder_of,
    is_finished,
    note,
)
from hyperlab.data.prepared.deciding import Wishes, decide
from hyperlab.data.prepared.fingerprint import CaseFingerprint
from hyperlab.data.prepared.places import counts, sample_classes
from hyperlab.data.prepared.preprocessing import Preprocessing, forward, forward_labels
from hyperlab.data.prepared.store import Store, StoredCase
from hyperlab.data.prepared.writing import finish, write_case
from hyperlab.data.problems import colour_problems, scale_problems
from hyperlab.data.readers.cases import Case, Layout, Problem
from hyperlab.data.readers.scan import Scan
from hyperlab.data.similarity import joined, near_copies
from hyperlab.data.splits import fingerprint
from hyperlab.errors import DataError
from hyperlab.files import clear_partial, locked

Report = Callable[[str, int, int], None]


def prepare(
    folder: str | Path,
    store: str | Path,
    *,
    spacing: str | float | Sequence[float] = "median",
    channels: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    foreground: bool = False,
    masks: str | None = None,
    mask_suffix: str | None = None,
    subjects: str | None = None,
    workers: int = 0,
    overwrite: bool = False,
    report: Report | None = None,
) -> Store:
    """Prepares a set for training on patches; the same call goes on after a kill, and returns at once when all is done.

    Args:
      folder: of any layout that is read (`hyperlab.data.layouts.detect`).
      store: a new folder, or one that the same call began.
      spacing: `"median"` of the training cases along each axis, `"keep"` that of each scan, or mm: one number, or one
        an axis.
      channels: names of the channels, which choose their normalisation; by default those of `dataset.json`, else
        `rgb_to_0_1` for pictures of 8 bits and z-scores for all other files.
      classes: names of the label values in ascending order; by default those of `dataset.json`, or the values.
      foreground: take all labels above 0 as one class, as of maps of instances.
      masks, mask_suffix, subjects: see `hyperlab.data.layouts.detect`.
      workers: processes; 0 is this one alone. Each has one case in memory.
      overwrite: begin anew where the store was begun or finished with other settings or files. What was finished can
        be read until the new store is, and takes its place.
      report: called with what is done, how many cases, of how many.

    Returns:
      The finished store.

    Raises:
      DataError: the folder has no case with a mask, or problems (the first five are named); the store was made with
        other settings, from other files, or by another version; an option does not fit.
      InUseError: another call writes to the store.
      WorkdirError: the store cannot be written; finished cases are kept.
      MissingExtraError: the files are NIfTI and nibabel is not installed.

    >>> import tempfile
    >>> from PIL import Image
    >>> root = Path(tempfile.mkdtemp())
    >>> for kind in ("images", "labels"):
    ...     (root / "set" / kind).mkdir(parents=True)
    ...     for case in range(3):
    ...         picture = np.pad(np.full((8, 6 + case), 1 if kind == "labels" else 51, np.uint8), 2)
    ...         Image.fromarray(picture).save(root / "set" / kind / f"{case}.png")
    >>> store = prepare(root / "set", root / "store")
    >>> [case.size for case in store.cases], store.preprocessing.channels[0].scheme
    ([(8, 6), (8, 7), (8, 8)], 'rgb_to_0_1')
    >>> image, labels = store.read("1", [(0, 8), (5, 9)])
    >>> image[0, :, 0].tolist(), labels[0].tolist()
    ([0.20000000298023224, 0.20000000298023224, 0.0, 0.0], [1, 1, 0, 0])
    """
    path = Path(store).expanduser()
    layout = detect(folder, masks, mask_suffix, subjects)
    refuse(layout.root, [*layout.problems, *depth_problems(layout)])
    cases = [case for case in layout.cases if case.label is not None]
    if not any(case.part == "train" for case in cases):
        raise DataError(
            f"{layout.root} holds no training case with a mask; bring the masks, or say which files they are"
        )
    wishes = Wishes.of(layout, spacing, channels, classes, foreground)
    plan = {**wishes.to_json(), "subjects": subjects, "masks": masks, "mask_suffix": mask_suffix}
    files = [_digest(layout.root, case) for case in cases]
    everything = {"version": stored.VERSION, "plan": plan, "files": fingerprint(np.array(files))}
    check_folder(path)
    if not is_finished(path, everything, len(cases)):
        with locked(path):
            begun = begin(path, everything, overwrite)
            whole = begun or _decided(path, layout, cases, files, wishes, workers, report)
            if begun is None:
                note(path, everything, whole)
            folder = path / folder_of(everything)
            for place in (path, folder):
                clear_partial(place)
            jobs = [(folder, layout.root, cases[number], number, whole.groups[number], whole.preprocessing, foreground)
                    for number in range(len(cases)) if not stored.case_folder(folder, number).is_dir()]  # fmt: skip
            run_jobs(_prepare_case, jobs, workers, len(cases), "preparing", report)
            finish(folder, whole.preprocessing, whole.seen, len(cases), {**everything, "groups": whole.groups},
                   layout.root.resolve())  # fmt: skip
            clear_others(path, folder)
    return stored.open_store(path)


def _decided(
    path: Path, layout: Layout, cases: list[Case], files: list[str], wishes: Wishes, workers: int, report: Report | None
) -> Decided:
    """Reads every case once and decides.

    Raises:
      DataError: all fatal problems of the cases, as one error.
    """
    kind, most = "foreground" if wishes.foreground else "classes", measuring.samples_of(len(cases))
    parts = [path / stored.WORK / "fingerprints" / f"{digest}-{kind}-{most}.npz" for digest in files]
    jobs = [
        (part, case, number, layout.classes, wishes.foreground, most)
        for number, (part, case) in enumerate(zip(parts, cases, strict=True)) if not _sound(part)
    ]  # fmt: skip
    run_jobs(_fingerprint_case, jobs, workers, len(cases), "reading", report)
    found, problems = zip(*map(measuring.read_case, parts), strict=True)
    for part, one in zip(parts, found, strict=True):
        if one is None:
            part.unlink()  # to be read again once it is mended
    every = [problem for some in problems for problem in some]
    sound: list[CaseFingerprint] = [one for one in found if one is not None]
    if layout.classes is None and not wishes.foreground:
        every += scale_problems([(case, one.counts) for case, one in zip(cases, found, strict=True) if one])
    every += colour_problems([(case, one.colours) for case, one in zip(cases, found, strict=True) if one])
    refuse(layout.root, every)
    preprocessing, seen = decide(layout, cases, sound, wishes)
    pairs = near_copies(np.stack([one.thumbnail for one in sound])) if len(sound) > 1 else []
    groups = joined(np.array([case.subject for case in cases]), pairs=[pair[:2] for pair in pairs])
    return Decided(preprocessing, seen, groups.tolist())


def _sound(part: Path) -> bool:
    try:
        measuring.read_case(part)
    except Exception:  # not there, or anything that a damaged archive raises
        return False
    return True


def _fingerprint_case(part: Path, case: Case, number: int, classes, foreground: bool, most: int) -> None:
    """The first reading of a case, kept in a file with what is wrong with it."""
    problems, image, mask = case_problems(case, None if foreground else classes)
    fatal = any(problem.fatal for problem in problems)
    if not fatal and (wrong := _unlike(case, image, mask)) is not None:
        problems, fatal = [*problems, wrong], True
    one = None
    if not fatal and image is not None and mask is not None:
        one = measuring.fingerprint_case(image, _merged(mask, foreground), number, most)
    measuring.write_case(part, one, problems)


def _unlike(case: Case, image: Scan | None, mask: Scan | None) -> Problem | None:
    if image is None or mask is None or image.values.shape[:-1] == mask.values.shape:
        return None
    what = f"{case.label} is {mask.values.shape}, its image {image.values.shape[:-1]}"
    return Problem(case.name, what, "find the mask that belongs to the image")


def _prepare_case(
    folder: Path, root: Path, case: Case, number: int, group: int, preprocessing: Preprocessing, foreground: bool
) -> None:
    """The second reading of a case, and its folder among those of the store."""
    assert case.label is not None  # only such cases are prepared
    scan, mask = read_case(case)
    assert mask is not None
    drawn = _smallest(_merged(mask, foreground).values)
    del mask
    try:
        image, placement = forward(scan, preprocessing)
        affine = None if scan.affine is None else tuple(map(tuple, scan.affine.tolist()))
        del scan  # what follows needs its memory
        labels = forward_labels(drawn, placement, preprocessing)
    except DataError as error:
        raise DataError(f"case {case.name}: {error}") from error
    voxels = counts(labels)
    known = StoredCase(
        number, case.name, case.subject, group, case.part, placement,
        affine,
        tuple(voxels.get(label, 0) for label in range(len(preprocessing.classes))),
        tuple(_place(root, file) for file in case.images), _place(root, case.label), {},
    )  # fmt: skip
    del drawn
    write_case(folder, known, image, labels, sample_classes(labels, number))


def _merged(mask: Scan, foreground: bool) -> Scan:
    return replace(mask, values=(mask.values > 0).astype(np.int32), colours=None) if foreground else mask


def _smallest(labels: np.ndarray) -> np.ndarray:
    """Labels as the smallest type that holds them."""
    low, high = int(labels.min()), int(labels.max())
    return labels.astype(np.result_type(np.min_scalar_type(low), np.min_scalar_type(high)), copy=False)


def _digest(root: Path, case: Case) -> str:
    """Of a case: its name, and its files as they are now."""
    files = [file for file in (*case.images, case.label, *case.more_labels, *case.spacing_files) if file is not None]
    rows = [(_place(root, file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return fingerprint(np.array(repr((case.name, case.part, case.subject, case.index, rows))))


def _place(root: Path, file: Path) -> str:
    return Path(os.path.relpath(file, root if root.is_dir() else root.parent)).as_posix()
