"""Image and mask pairs in plain folders, and archives of arrays."""

import re
from dataclasses import replace
from pathlib import Path

from hyperlab.data.readers import images as pictures
from hyperlab.data.readers.cases import Case, Layout, Problem, subject_of, visible
from hyperlab.data.readers.scan import (
    IMAGE_KEYS,
    LABEL_KEYS,
    SUBJECT_KEYS,
    archive_array,
    is_readable,
    stem_of,
    suffix_of,
)
from hyperlab.errors import DataError

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "imagesTr")
MASK_FOLDERS = ("labels", "label", "masks", "mask", "annotations", "labelsTr", "gt", "segmentations")
_PARTS = {"": "train", "train": "train", "training": "train", "val": "train", "valid": "train",
          "validation": "train", "test": "test", "testing": "test"}  # fmt: skip
# what stands between an image's name and the ending of its mask: _mask, _gt, -seg, _1stHO, .labels and so on
_MASK_TAIL = re.compile(r"[-_. ]?(?:\d?(?:st|nd|rd)?)[A-Za-z]+\d?$")


def list_folder(root: str | Path) -> Layout:
    """The pairs of image and mask files under a folder.

    Either an image folder beside a mask folder (`images` and `labels`, `image` and `mask`, ...), in the root
    or in `train`, `val` and `test`, or both kinds of files in one folder. A mask has its image's name, or
    that name with a tail (`_mask`, `_gt`, `_1stHO`); of several masks of one image the first by name is
    taken. In one folder, of two files of one name the PNG file is the mask.

    Raises:
      DataError: the folder holds no image files in any of these forms.
    """
    root = Path(root)
    cases: list[Case] = []
    problems: list[Problem] = []
    for inside, part in _PARTS.items():
        folder = root / inside if inside else root
        if not folder.is_dir():
            continue
        image_folder = next((folder / name for name in IMAGE_FOLDERS if (folder / name).is_dir()), None)
        mask_folder = next((folder / name for name in MASK_FOLDERS if (folder / name).is_dir()), None)
        if image_folder and mask_folder:
            _pair_folders(image_folder, mask_folder, part, cases, problems)
        elif inside:
            cases += _pairs_in_one_folder(folder, part)
    if not cases and not problems:
        cases = _pairs_in_one_folder(root, "train") or _pairs_in_subfolders(root)
    if not cases and not problems:
        raise DataError(
            f"{root} holds no pairs of image and mask; expected one of the folders {', '.join(IMAGE_FOLDERS[:4])} "
            f"beside one of {', '.join(MASK_FOLDERS[:5])}, or files such as a.jpg with a_mask.png"
        )
    return Layout("folder", root, tuple(sorted(cases, key=lambda case: (case.part != "train", case.name))), None,
                  tuple(problems))  # fmt: skip


def list_npz(root: str | Path) -> Layout:
    """The cases of an archive with arrays `image` (`[n, *spatial]` or `[n, *spatial, channel]`) and `label`.

    An array `subject` `[n]` says which cases belong together.

    Args:
      root: the `.npz` file, or a folder that holds one.

    Raises:
      DataError: there is not one archive, it cannot be read, or its arrays do not fit together.
    """
    root = Path(root)
    path = root
    if root.is_dir():
        archives = [entry for entry in visible(root) if suffix_of(entry) == ".npz"]
        if len(archives) != 1:
            raise DataError(f"{root} holds {len(archives)} .npz archives, expected one; name the file itself")
        path = archives[0]
    images, labels = archive_array(path, IMAGE_KEYS), archive_array(path, LABEL_KEYS)
    if images is None or labels is None:
        raise DataError(f"{path} needs an array {' or '.join(IMAGE_KEYS)} and one {' or '.join(LABEL_KEYS[:4])}")
    if len(images) != len(labels) or images.ndim - labels.ndim not in (0, 1):
        raise DataError(
            f"{path}: images are {images.shape}, labels {labels.shape}; expected as many labels as images and one "
            "label for every pixel"
        )
    if not len(images):
        raise DataError(f"{path} holds no case")
    subjects = archive_array(path, SUBJECT_KEYS)
    if subjects is not None and len(subjects) != len(images):
        raise DataError(f"{path}: {len(subjects)} subjects for {len(images)} images")
    width = len(str(len(images) - 1))
    names = [f"{path.stem}[{index:0{width}d}]" for index in range(len(images))]
    cases = [
        Case(name, (path,), path, name if subjects is None else str(subjects[index]), index=index)
        for index, name in enumerate(names)
    ]
    return Layout("npz", root, tuple(cases))


def _pair_folders(image_folder: Path, mask_folder: Path, part: str, cases: list[Case], problems: list[Problem]):
    images = [path for path in visible(image_folder) if is_readable(path)]
    masks = [path for path in visible(mask_folder) if is_readable(path)]
    if not images:
        problems.append(Problem("", f"{image_folder} is empty", "put the images there"))
    mask_of = _masks(images, masks)
    for image in images:
        name = stem_of(image)
        if image not in mask_of:
            problems.append(Problem(name, f"{image} has no mask in {mask_folder}",
                                    f"bring {name}.png (or another lossless file), or remove the image"))  # fmt: skip
            continue
        cases.append(Case(name, (image,), mask_of[image][0], subject_of(name), part))
    used = {mask for found in mask_of.values() for mask in found}
    for mask in masks:
        if mask not in used:
            problems.append(Problem(stem_of(mask), f"{mask} has no image in {image_folder}",
                                    "bring the image, or remove the mask"))  # fmt: skip


def _pairs_in_one_folder(folder: Path, part: str) -> list[Case]:
    files = [path for path in visible(folder) if path.is_file() and is_readable(path)]
    stems: dict[str, list[Path]] = {}
    for path in files:
        stems.setdefault(stem_of(path), []).append(path)
    # two files of one name: the lossless one that is no photograph is the mask
    masks = {same[-1] for same in (sorted(paths, key=_mask_rank) for paths in stems.values()) if len(same) == 2}
    images = [path for path in files if path not in masks]
    tails = {
        path for path in images
        if any(_is_tail(stem_of(path), stem_of(other)) for other in images if other is not path)
    } if not masks else set()  # fmt: skip
    images, masks = [path for path in images if path not in tails], masks | tails
    mask_of = _masks(images, sorted(masks))
    return [
        Case(stem_of(path), (path,), mask_of[path][0], subject_of(stem_of(path)), part)
        for path in images if path in mask_of
    ]  # fmt: skip


def _pairs_in_subfolders(root: Path) -> list[Case]:
    """The pairs in each folder inside, for instance of `Dataset 1` and `Dataset 2`; names may recur between them."""
    found = {folder: _pairs_in_one_folder(folder, "train") for folder in visible(root) if folder.is_dir()}
    found = {folder: cases for folder, cases in found.items() if cases}
    if len(found) < 2:
        return [case for cases in found.values() for case in cases]
    return [
        replace(case, name=f"{folder.name}/{case.name}", subject=f"{folder.name}/{case.subject}")
        for folder, cases in found.items() for case in cases
    ]  # fmt: skip


def _masks(images: list[Path], masks: list[Path]) -> dict[Path, list[Path]]:
    """The masks of each image: of its own name, or else of its name with a tail."""
    by_stem: dict[str, list[Path]] = {}
    for mask in masks:
        by_stem.setdefault(stem_of(mask), []).append(mask)
        shorter = _MASK_TAIL.sub("", stem_of(mask))
        if shorter != stem_of(mask):
            by_stem.setdefault(shorter, []).append(mask)
    found = {}
    for image in images:
        name = stem_of(image)
        candidates = by_stem.get(name) or by_stem.get(re.sub(r"_\d{4}$", "", name))
        if candidates:
            found[image] = sorted(candidates, key=lambda mask: (stem_of(mask) != name, mask.name))
    return found


def _is_tail(longer: str, shorter: str) -> bool:
    return longer != shorter and _MASK_TAIL.sub("", longer) == shorter


def _mask_rank(path: Path) -> int:
    suffix = suffix_of(path)
    return (suffix not in pictures.LOSSY) + 2 * (suffix == ".png")
