"""Which layout a folder has, and what its cases hold once they are read."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from hyperlab.data.geometry import grid_difference, has_geometry
from hyperlab.data.problems import grouped
from hyperlab.data.readers.archives import list_npz
from hyperlab.data.readers.cases import Case, Layout, Problem, printable, visible
from hyperlab.data.readers.cohorts import is_camus, is_oasis, list_camus, list_oasis
from hyperlab.data.readers.decathlon import is_decathlon, list_decathlon
from hyperlab.data.readers.folders import list_folder
from hyperlab.data.readers.images import LOSSY, SUFFIXES, depth_of, mixture
from hyperlab.data.readers.nnunet import list_nnunet
from hyperlab.data.readers.scan import Scan, read_labels, read_scan, suffix_of
from hyperlab.data.readers.spacings import read_spacing, spaces_volumes
from hyperlab.data.readers.subjects import with_subjects
from hyperlab.errors import DataError

LAYOUTS: dict[str, Callable[..., Layout]] = {
    "nnunet": list_nnunet,
    "decathlon": list_decathlon,
    "oasis": list_oasis,
    "camus": list_camus,
    "npz": list_npz,
    "folder": list_folder,
}
_MOST_SHOWN = 5


def recognise(root: str | Path) -> str:
    """The name of the layout that a folder's files show, one of `LAYOUTS`; folders of no other layout are `folder`.

    Raises:
      DataError: the folder does not exist, or is a file that is no archive.
    """
    root = Path(root).expanduser()
    if not root.exists():
        raise DataError(f"{root} does not exist")
    if suffix_of(root) == ".npz":
        return "npz"
    if not root.is_dir():
        raise DataError(f"{root} is a file; expected a folder, or an .npz archive")
    if (root / "dataset.json").is_file():
        return "decathlon" if is_decathlon(root) else "nnunet"
    if is_oasis(root):
        return "oasis"
    if is_camus(root):
        return "camus"
    return "npz" if any(suffix_of(entry) == ".npz" for entry in visible(root)) else "folder"


def detect(
    root: str | Path, masks: str | None = None, mask_suffix: str | None = None, subjects: str | None = None
) -> Layout:
    """Lists a folder by the layout that its files show.

    Args:
      root: the folder, or an `.npz` file.
      masks, mask_suffix: which folder, or which of several files of an image, is the mask; see `list_folder`.
      subjects: whom a case shows; see `hyperlab.data.readers.subjects.with_subjects`.

    Raises:
      DataError: the folder does not exist or is of no layout that is known; an option does not fit it.
    """
    layout = _detected(Path(root).expanduser(), masks, mask_suffix, subjects)
    if layout.kind != "folder":
        for option, value in (("masks", masks), ("mask_suffix", mask_suffix)):
            if value is not None:
                raise DataError(
                    f"{option}={value!r} is for plain folders of images and masks; {root} is of the layout "
                    f"{layout.kind}, which says itself which files are masks"
                )
    return layout


def _detected(root: Path, masks: str | None, mask_suffix: str | None, subjects: str | None) -> Layout:
    kind = recognise(root)
    if kind == "folder":
        return list_folder(root, masks, mask_suffix, subjects)
    if kind in ("nnunet", "decathlon"):
        return LAYOUTS[kind](root, subjects)
    if kind == "oasis":
        flat = any((folder / "slice_norm.nii.gz").exists() for folder in visible(root))
        layout = list_oasis(root, dims=2 if flat else 3)
    else:
        layout = LAYOUTS[kind](root)
    return with_subjects(layout, subjects) if subjects else layout


def read_case(case: Case) -> tuple[Scan, Scan | None]:
    """The image of a case `[*spatial, channel]`, its channels stacked, and its mask int32 `[*spatial]`.

    Raises:
      DataError: a file cannot be read, or the channels lie on different grids.
    """
    image_spacing, _ = case.spacing_files
    stack = spaces_volumes(image_spacing)  # a TIFF stack is a volume where three spacings are told
    mask = read_label(case)
    channels = [read_scan(path, case.index, stack) for path in case.images]
    if mask is not None and all(path and suffix_of(path) == ".npy" for path in (*case.images, case.label)):
        channels, mask = [_channels_last(scan, mask) for scan in channels], _plane(mask, channels[0])
    axes = channels[0].values.ndim - 1
    for path, scan in zip(case.images[1:], channels[1:], strict=True):
        if difference := grid_difference(channels[0], scan, axes):
            raise DataError(
                f"the channels of {case.name} differ in {difference} ({case.images[0]} and {path}); "
                "resample them onto one grid, or find the file that belongs to the case"
            )
    image = channels[0]
    if len(channels) > 1:
        warnings = tuple(dict.fromkeys(text for scan in channels for text in scan.warnings))
        values = np.concatenate([scan.values for scan in channels], -1)
        image = replace(image, values=values, warnings=warnings)
    if image_spacing is not None:
        image = replace(image, spacing=read_spacing(image_spacing, axes))
    return image, mask


def _channels_last(image: Scan, mask: Scan) -> Scan:
    """An array `[height, width, channel]` in a `.npy` file, which its mask alone tells from a volume."""
    *spatial, last = image.values.shape
    colours = last == 1 and mask.values.shape in (tuple(spatial[:2]), (*spatial[:2], 1)) and len(spatial) == 3
    return replace(image, values=image.values[..., 0]) if colours and spatial[2] > 1 else image


def _plane(mask: Scan, image: Scan) -> Scan:
    """A mask `[height, width, 1]` beside an image `[height, width, channel]` (here with an axis more) as a plane."""
    beside = image.values.ndim == 4 and image.values.shape[2] > 1 and mask.values.shape == (*image.values.shape[:2], 1)
    return replace(mask, values=mask.values[..., 0]) if beside else mask


def read_label(case: Case) -> Scan | None:
    """The mask of a case int32 `[*spatial]`, further masks united with it, or None.

    Raises:
      DataError: a file cannot be read; masks differ in shape, or give one pixel two labels.
    """
    if case.label is None:
        return None
    stack = any(map(spaces_volumes, case.spacing_files))
    mask = read_labels(case.label, case.index, stack)
    values = mask.values
    for path in case.more_labels:
        more = read_labels(path, stack=stack).values
        if more.shape != values.shape:
            raise DataError(f"{path} and {case.label} differ in shape: {more.shape} and {values.shape}; both are masks "
                            f"of {case.name} and have to be united")  # fmt: skip
        if np.any((more != values) & (more > 0) & (values > 0)):
            raise DataError(
                f"{path} and {case.label} give one pixel two labels, and both are masks of {case.name}; "
                "choose one of them with mask_suffix, or unite them in one file"
            )
        values = np.maximum(values, more)
    spacing = mask.spacing if case.spacing_files[1] is None else read_spacing(case.spacing_files[1], values.ndim)
    return replace(mask, values=values, spacing=spacing)


def case_problems(
    case: Case, classes: dict[int, str] | None
) -> tuple[list[Problem], Scan | None, Scan | None]:  # fmt: skip
    """Reads a case and says what is wrong with it.

    Args:
      case: which files.
      classes: the declared label values, or None where any whole number is one.

    Returns:
      `(problems, image, mask)`; image and mask are None where they cannot be read.

    Raises:
      MissingExtraError: nibabel is needed and is not installed.
    """
    for label in (case.label, *case.more_labels):
        if label is not None and suffix_of(label) in LOSSY:
            what = f"{label} is a JPEG mask, whose compression changes labels at every border"
            fix = "export the mask as PNG from its source"
            return [Problem(case.name, what, fix)], None, None
    try:
        image, mask = read_case(case)
    except DataError as error:
        what, _, fix = str(error).rpartition("; ")
        return (
            [Problem(case.name, what or str(error), fix if what else "mend the file, or remove the case")],
            None,
            None,
        )
    where = case.images[0]
    problems = _channels(case, image)
    wrong = int((~np.isfinite(image.values)).sum()) if image.values.dtype.kind == "f" else 0
    if wrong:
        problems.append(
            Problem(case.name, f"{where} holds {wrong} non-finite voxels (NaN or infinite)",
                    "find the step that made them; else set them to the background's value and write the file again")
        )  # fmt: skip
    elif image.values.min() == image.values.max():
        problems.append(Problem(case.name, f"{where} is constant", "remove the case", fatal=False))
    if mask is not None:
        problems += _geometry(case, image, mask)
        problems += _values(case, mask, classes)
    problems += [
        Problem(case.name, text, "see whether that is meant, and mend the header", fatal=False)
        for scan in (image, mask) if scan is not None for text in scan.warnings
    ]  # fmt: skip
    return problems, image, mask


def depth_problems(layout: Layout) -> list[Problem]:
    """Says which pictures of a folder differ from others in bit depth or number of channels: one scale fits only one.

    Files that are no pictures (NIfTI, arrays) do not count: they are brought to one range each. Of cases with several
    files, the first are compared with the first, and so on.
    """
    problems = []
    for place in range(max((len(case.images) for case in layout.cases), default=0)):
        depths = {}
        for path in (case.images[place] for case in layout.cases if place < len(case.images)):
            if suffix_of(path) in SUFFIXES:
                with contextlib.suppress(DataError):  # a file that cannot be read is a problem of its own
                    depths[path] = depth_of(path)
        if found := mixture(depths):
            fix = "convert them to one depth and number of channels, or use a folder for each kind"
            problems.append(Problem("", f"{layout.root} mixes {found}", fix))
    return problems


def picture_white(image: Scan) -> int | None:
    """What an image of up to 8 bits that is no scan is divided by: 255, or 1, 3, 15 of packed greys; else None.

    >>> pixels = np.zeros((4, 4, 1), np.uint8)
    >>> scan = Scan(pixels, affine=np.eye(4))
    >>> picture_white(Scan(pixels, white=15)), picture_white(Scan(pixels)), picture_white(scan)
    (15, 255, None)
    """
    if image.white is not None:
        return image.white if image.white <= 255 else None
    return 255 if image.values.dtype == np.uint8 and image.affine is None else None


def refuse(root: Path, problems: list[Problem]) -> None:
    """Raises the fatal ones of some problems as one error.

    Raises:
      DataError: at least one problem is fatal; the message names the first five, with their fixes; what many cases
        share is named once.
    """
    fatal = [problem for problem in problems if problem.fatal]
    if not fatal:
        return
    rows = grouped(fatal)
    shown = [
        f"{f'{who}: ' if who != printable(problem.case) else ''}{problem.what}; {problem.fix}"
        for who, problem in rows[:_MOST_SHOWN]
    ]
    if len(rows) > _MOST_SHOWN:
        shown.append(f"and {len(rows) - _MOST_SHOWN} more: hyperlab data check {printable(str(root))}")
    count = f"{len(fatal)} problem{'s' * (len(fatal) > 1)}"
    raise DataError(f"{printable(str(root))} has {count}:\n  " + "\n  ".join(shown))


def _channels(case: Case, image: Scan) -> list[Problem]:
    held = image.values.shape[-1]
    if case.channels is None or held == case.channels:
        return []
    what = f"{held} channels are in {', '.join(map(str, case.images))}, channel_names names {case.channels}"
    fix = "name each channel in dataset.json, or save the image with those that it names"
    vector = image.affine is not None and case.channels == len(case.images) == 1  # one name for all its components
    return [Problem(case.name, what, fix, fatal=not vector)]


def _geometry(case: Case, image: Scan, mask: Scan) -> list[Problem]:
    pair = f"{case.label} and {case.images[0]}"
    resample = "resample the mask (nearest) onto the image's grid, or find the mask that belongs to it"
    header = f"copy the image's header to the mask where both have one grid, else {resample}"
    axes = max(mask.values.ndim, image.values.ndim - 1)
    difference = grid_difference(mask, replace(image, values=image.values[..., 0]), axes)
    if difference:
        return [Problem(case.name, f"{pair} differ in {difference}", resample if "shape" in difference else header)]
    if has_geometry(image) != has_geometry(mask):
        files = (case.label, case.images[0])
        with_one, without = files if has_geometry(mask) else files[::-1]
        what = f"{without} has no geometry, {with_one} has one: nothing says that their axes and voxels are the same"
        return [Problem(case.name, what, "save image and mask in one format", fatal=False)]
    return []


def _values(case: Case, mask: Scan, classes: dict[int, str] | None) -> list[Problem]:
    found = np.unique(mask.values)
    allowed = found[found >= 0] if classes is None else np.array(sorted(classes))
    outside = found[~np.isin(found, allowed)]
    if not len(outside):
        return []
    count = int(np.isin(mask.values, outside).sum())
    shown = ", ".join(map(str, outside[:6])) + (", ..." if len(outside) > 6 else "")
    declared = f"declared are {', '.join(map(str, allowed))}" if classes else "expected whole numbers from 0"
    what = f"{case.label} holds labels outside the map: {shown} ({count} voxels; {declared})"
    return [Problem(case.name, what, "declare the value in dataset.json, or correct the mask" if classes else
                    "correct the mask")]  # fmt: skip
