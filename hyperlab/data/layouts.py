"""Which layout a folder has, and what its cases hold once they are read."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hyperlab.data.readers.cases import Case, Layout, Problem, visible
from hyperlab.data.readers.cohorts import is_camus, is_oasis, list_camus, list_oasis
from hyperlab.data.readers.folders import list_folder, list_npz
from hyperlab.data.readers.images import LOSSY, SUFFIXES, depth_of, mixture
from hyperlab.data.readers.nnunet import is_decathlon, list_decathlon, list_nnunet
from hyperlab.data.readers.scan import Scan, read_labels, read_scan, suffix_of
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
_TOLERANCE_MM = 1e-2  # float32 headers and rounding in converters move an affine by less


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


def detect(root: str | Path) -> Layout:
    """Lists a folder by the layout that its files show.

    Raises:
      DataError: the folder does not exist or is of no layout that is known.
    """
    root, name = Path(root).expanduser(), recognise(root)
    if name == "oasis":
        flat = any((folder / "slice_norm.nii.gz").exists() for folder in visible(root))
        return list_oasis(root, dims=2 if flat else 3)
    return LAYOUTS[name](root)


def read_case(case: Case) -> tuple[Scan, Scan | None]:
    """The image of a case `[*spatial, channel]`, its channels stacked, and its mask int32 `[*spatial]`.

    Raises:
      DataError: a file cannot be read, or the channels differ in shape.
    """
    channels = [read_scan(path, case.index) for path in case.images]
    shapes = [scan.values.shape[:-1] for scan in channels]
    if len(set(shapes)) > 1:
        shown = ", ".join(f"{path} {shape}" for path, shape in zip(case.images, shapes, strict=True))
        raise DataError(f"the channels of {case.name} differ in shape: {shown}; bring them onto one grid")
    image = channels[0]
    if len(channels) > 1:
        image = Scan(np.concatenate([scan.values for scan in channels], -1), image.spacing, image.affine)
    return image, None if case.label is None else read_labels(case.label, case.index)


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
    if case.label is not None and suffix_of(case.label) in LOSSY:
        what = f"{case.label} is a JPEG mask, whose compression changes labels at every border"
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
    problems = []
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
    return problems, image, mask


def depth_problems(layout: Layout) -> list[Problem]:
    """Says which pictures of a folder differ from others in bit depth or number of channels: one scale fits only one.

    Files that are no pictures (NIfTI, arrays) do not count: they are brought to one range each.
    """
    files = [path for case in layout.cases for path in case.images if suffix_of(path) in SUFFIXES]
    depths = {}
    for path in files:
        with contextlib.suppress(DataError):  # a file that cannot be read is a problem of its own
            depths[path] = depth_of(path)
    found = mixture(depths)
    fix = "convert them to one depth and number of channels, or use a folder for each kind"
    return [Problem("", f"{layout.root} mixes {found}", fix)] if found else []


def refuse(root: Path, problems: list[Problem]) -> None:
    """Raises the fatal ones of some problems as one error.

    Raises:
      DataError: at least one problem is fatal; the message names the first five, with their fixes.
    """
    fatal = [problem for problem in problems if problem.fatal]
    if not fatal:
        return
    shown = [f"{problem.what}; {problem.fix}" for problem in fatal[:_MOST_SHOWN]]
    if len(fatal) > _MOST_SHOWN:
        shown.append(f"and {len(fatal) - _MOST_SHOWN} more: python -m hyperlab.data.check {root}")
    count = f"{len(fatal)} problem{'s' * (len(fatal) > 1)}"
    raise DataError(f"{root} has {count}:\n  " + "\n  ".join(shown))


def _geometry(case: Case, image: Scan, mask: Scan) -> list[Problem]:
    pair = f"{case.label} and {case.images[0]}"
    resample = "resample the mask (nearest) onto the image's grid, or find the mask that belongs to it"
    header = f"copy the image's header to the mask where both have one grid, else {resample}"
    if image.values.shape[:-1] != mask.values.shape:
        what = f"{pair} differ in shape: {mask.values.shape} and {image.values.shape[:-1]}"
        return [Problem(case.name, what, resample)]
    if image.spacing and mask.spacing and not np.allclose(image.spacing, mask.spacing, rtol=1e-3):
        shown = " and ".join(str(tuple(round(step, 4) for step in scan.spacing)) for scan in (mask, image))
        return [Problem(case.name, f"{pair} differ in spacing: {shown} mm", header)]
    if image.affine is not None and mask.affine is not None:
        # how far apart the two headers put the corners of the grid
        ends = [(0, n - 1) for n in (*mask.values.shape, 1, 1)[:3]]
        corners = np.stack([axis.ravel() for axis in np.meshgrid(*ends, [1], indexing="ij")])
        distance = float(np.linalg.norm((image.affine - mask.affine) @ corners, axis=0).max())
        if distance > _TOLERANCE_MM:
            what = f"{pair} differ in affine: their corners lie up to {distance:.3g} mm apart"
            return [Problem(case.name, what, header)]
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
