"""Two published sets with one folder a subject: neurite-OASIS (brain MRI) and CAMUS (echocardiography)."""

import re
from pathlib import Path

from hyperlab.data.readers.cases import Case, Layout, Problem, visible
from hyperlab.errors import DataError

_OASIS = re.compile(r"OASIS_(OAS1_\d{4})_MR\d$")
_CAMUS = re.compile(r"(patient\d{4})$")
OASIS_TISSUES = {
    0: "background",
    1: "cortex",
    2: "subcortical grey matter",
    3: "white matter",
    4: "cerebrospinal fluid",
}
CAMUS_STRUCTURES = {0: "background", 1: "left ventricle", 2: "myocardium", 3: "left atrium"}


def is_oasis(root: Path) -> bool:
    """Whether the folder holds a subject of neurite-OASIS."""
    return any(_OASIS.match(entry.name) for entry in visible(root))


def is_camus(root: Path) -> bool:
    """Whether the folder holds a patient of CAMUS."""
    return any(_CAMUS.match(entry.name) and entry.is_dir() for entry in visible(root))


def list_oasis(root: str | Path, dims: int = 2, labels: int = 4) -> Layout:
    """The subjects of neurite-OASIS v1.0.

    A subject is a folder `OASIS_OAS1_xxxx_MR1` with `slice_norm.nii.gz`, `slice_seg4.nii.gz` and
    `slice_seg24.nii.gz` in two dimensions, `aligned_norm.nii.gz`, `aligned_seg4.nii.gz` and
    `aligned_seg35.nii.gz` in three. Hoopes et al. 2021, arXiv 2101.01035.

    Args:
      root: the folder of the subjects.
      dims: 2 or 3.
      labels: which segmentation: 4 tissues, or 24 (35 in three dimensions) structures.

    Raises:
      DataError: no subject's folder is there, or no such segmentation exists.
    """
    root = Path(root)
    offered = {2: (4, 24), 3: (4, 35)}
    if labels not in offered.get(dims, ()):
        raise DataError(f"neurite-OASIS has no {labels} labels in {dims} dimensions; expected {offered}")
    stem = "slice" if dims == 2 else "aligned"
    names = (f"{stem}_norm.nii.gz", f"{stem}_seg{labels}.nii.gz")
    problems: list[Problem] = []
    cases: list[Case] = []
    for folder in visible(root):
        match = _OASIS.match(folder.name)
        if match and _complete(folder, names, problems):
            cases.append(Case(folder.name, (folder / names[0],), folder / names[1], match[1]))
    if not cases and not problems:
        raise DataError(f"{root} holds no folder OASIS_OAS1_xxxx_MR1; expected the folder of neurite-OASIS")
    tissues = OASIS_TISSUES if labels == 4 else {0: "background"} | {i: f"structure {i}" for i in range(1, labels + 1)}
    return Layout("oasis", root, tuple(cases), tissues, tuple(problems))


def list_camus(root: str | Path, views: tuple[str, ...] = ("2CH", "4CH"), instants: tuple[str, ...] = ("ED", "ES")):
    """The images of CAMUS.

    A patient is a folder `patientXXXX` with `patientXXXX_2CH_ED.nii.gz` and its mask
    `patientXXXX_2CH_ED_gt.nii.gz`, for two views and two instants. Leclerc et al. 2019.

    Args:
      root: the folder of the patients.
      views: of `"2CH"` and `"4CH"`.
      instants: of `"ED"` (end of diastole) and `"ES"` (end of systole).

    Raises:
      DataError: no patient's folder is there.
    """
    root = Path(root)
    problems: list[Problem] = []
    cases: list[Case] = []
    for folder in visible(root):
        match = _CAMUS.match(folder.name)
        if not match or not folder.is_dir():
            continue
        if not visible(folder):
            _complete(folder, (), problems)
            continue
        for view in views:
            for instant in instants:
                name = f"{folder.name}_{view}_{instant}"
                files = (f"{name}.nii.gz", f"{name}_gt.nii.gz")
                if _complete(folder, files, problems):
                    cases.append(Case(name, (folder / files[0],), folder / files[1], match[1]))
    if not cases and not problems:
        raise DataError(f"{root} holds no folder patientXXXX; expected the folder of CAMUS")
    return Layout("camus", root, tuple(cases), CAMUS_STRUCTURES, tuple(problems))


def _complete(folder: Path, names: tuple[str, ...], problems: list[Problem]) -> bool:
    """Whether a subject's folder holds its files; what is absent becomes a problem."""
    if not visible(folder):
        problems.append(Problem(folder.name, f"{folder} is an empty case folder", "bring its files, or remove it"))
        return False
    absent = [name for name in names if not (folder / name).is_file()]
    for name in absent:
        problems.append(Problem(folder.name, f"{folder / name} does not exist", "bring it, or remove the case"))
    return not absent
