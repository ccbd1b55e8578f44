"""Image and mask pairs in plain folders."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from hyperlab.data.readers import images as pictures
from hyperlab.data.readers import mask_words as words
from hyperlab.data.readers import masks as choice
from hyperlab.data.readers.cases import Case, Layout, Problem, subject_of, visible
from hyperlab.data.readers.scan import is_readable, stem_of, suffix_of
from hyperlab.data.readers.subjects import with_subjects
from hyperlab.errors import DataError, nearest

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "imagesTr")
MASK_FOLDERS = ("labels", "label", "masks", "mask", "annotations", "labelsTr", "gt", "segmentations")
_PARTS = {"": "train", "train": "train", "training": "train", "val": "train", "valid": "train",
          "validation": "train", "test": "test", "testing": "test"}  # fmt: skip
_IMAGE_NAMES, _MASK_NAMES = ({name.lower() for name in names} for names in (IMAGE_FOLDERS, MASK_FOLDERS))
_UNREAD = (".gif", ".ppm", ".pgm", ".pbm")  # of masks as they are published; they have to be converted


class _Listing:
    """What is found folder by folder."""

    def __init__(self, mask_suffix: str | None):
        self.mask_suffix = mask_suffix
        self.cases: list[Case] = []
        self.problems: list[Problem] = []
        self.aside: list[Path] = []
        self.tails: set[str] = set()

    def one_of_each_name(self, files: Iterable[Path]) -> list[Path]:
        """The files without those whose name another one has; these are two cases of one name, a problem."""
        by_stem: dict[str, list[Path]] = {}
        for path in files:
            by_stem.setdefault(stem_of(path), []).append(path)
        for name, (first, *others) in by_stem.items():
            for other in others:
                self.problems.append(
                    Problem(name, f"{first} and {other} are two files of one name",
                            "keep one of them, or give the other a name of its own")
                )  # fmt: skip
                self.aside.append(other)
        return [same[0] for same in by_stem.values()]

    def take(self, pairs: choice.Pairs, part: str) -> None:
        """Adds the cases of images that have a mask, and asks for the masks of those that have several."""
        for image, (label, *more) in pairs.masks.items():
            name = stem_of(image)
            self.cases.append(Case(name, (image,), label, subject_of(name), part, more_labels=tuple(more)))
        for image, masks in pairs.open.items():
            self.cases.append(Case(stem_of(image), (image,), None, subject_of(stem_of(image)), part))
            self.aside += [image, *masks.values()]
        if pairs.open:
            self.problems.append(choice.which_suffix(pairs.open))
        self.aside += pairs.aside


def list_folder(
    root: str | Path, masks: str | None = None, mask_suffix: str | None = None, subjects: str | None = None
) -> Layout:
    """The pairs of image and mask files under a folder.

    Either an image folder beside a mask folder (`images` and `labels`, `image` and `mask`, ...), in the root
    or in `train`, `val` and `test`, or both kinds of files in one folder. A mask has its image's name, or
    that name with a tail (`_mask`, `_gt`, `_1stHO`), or both have words for what they are (`img01` and `label01`,
    `a_image` and `a_mask`). In one folder, of two files of one name the PNG file is the mask.

    Nothing is chosen by the order of names: where the files of several folders pair with the images, or an image has
    several masks, the layout has a problem that asks for `masks` or `mask_suffix`. Masks with a number after the tail
    of another one (`_mask_1` beside `_mask`, as in BUSI) are parts of one mask.

    Args:
      root: the folder.
      masks: the name of the mask folder, for instance `"manual1"`.
      mask_suffix: the tail of the masks that are meant, for instance `"_1stHO"`.
      subjects: see `hyperlab.data.readers.subjects.with_subjects`.

    Raises:
      DataError: the folder holds no image files in any of these forms; no folder is called `masks`, or no mask ends
        with `mask_suffix`; `subjects` does not fit.
    """
    root = Path(root)
    found = _Listing(mask_suffix)
    inside = {name: root / name if name else root for name in _PARTS if not name or (root / name).is_dir()}
    paired: dict[str, list[Path]] = {}
    for name, folder in inside.items():
        image_folder = _image_folder(folder, found)
        mask_folders = paired[name] = _mask_folders(image_folder, masks) if image_folder else []
        if image_folder and mask_folders:
            _pair_folders(image_folder, mask_folders, _PARTS[name], found)
        elif name:
            _pair_in_one_folder(folder, _PARTS[name], found)
    if masks is not None and not any(paired.values()):
        beside = [entry.name for folder in inside.values() for entry in visible(folder) if entry.is_dir()]
        names = [name for name in beside if name not in (*IMAGE_FOLDERS, *_PARTS)]
        raise DataError(
            f"{root} holds no folder {masks!r} beside a folder of images, as masks={masks!r} says; "
            + (nearest(masks, names) if names else f"images lie in one of {', '.join(IMAGE_FOLDERS)}")
        )
    if not found.cases and not found.problems:
        _pair_in_one_folder(root, "train", found)
    if not found.cases and not found.problems:
        _pair_in_subfolders(root, found)
    if mask_suffix is not None and not any(case.label for case in found.cases) and found.tails:
        raise DataError(
            f"{root} holds no mask with mask_suffix={mask_suffix!r} after its image's name; "
            f"{nearest(mask_suffix, found.tails)}"
        )
    if not found.cases and not found.problems:
        raise DataError(
            f"{root} holds no pairs of image and mask; expected one of the folders {', '.join(IMAGE_FOLDERS[:4])} "
            f"beside one of {', '.join(MASK_FOLDERS[:5])}, or files such as a.jpg with a_mask.png"
        )
    cases = sorted(_told_apart(found.cases), key=lambda case: (case.part != "train", case.name))
    found.problems += _shared_masks(cases)
    layout = Layout("folder", root, tuple(cases), None, tuple(found.problems), tuple(found.aside))
    return with_subjects(layout, subjects)


def _shared_masks(cases: list[Case]) -> list[Problem]:
    """A row where one mask is that of several images: channels of a case, each of which counts as an image."""
    images: dict[Path, list[str]] = {}
    for case in cases:
        if case.label is not None:
            images.setdefault(case.label, []).append(case.images[0].name)
    fix = "where these are channels of one case, a dataset.json makes them nnU-Net's; else see whether that is meant"
    return [
        Problem(names[0].partition(".")[0], f"{label} is the mask of {len(names)} images: {', '.join(names[:4])}", fix,
                fatal=False)
        for label, names in images.items() if len(names) > 1
    ]  # fmt: skip


def _image_folder(folder: Path, found: _Listing) -> Path | None:
    """The folder of images; of several that hold some, none is the better one."""
    there = [entry for entry in visible(folder) if entry.is_dir() and entry.name.lower() in _IMAGE_NAMES]
    filled = [one for one in there if any(is_readable(path) for path in visible(one))]
    if len(filled) > 1:
        names = " and ".join(one.name for one in filled)
        found.problems.append(Problem("", f"{folder} holds several folders of images: {names}", "keep one of them"))
    return next(iter(filled or there), None)


def _mask_folders(image_folder: Path, masks: str | None) -> list[Path]:
    """The folders beside the images that may hold their masks: that which is named, or those whose files pair."""
    folder = image_folder.parent
    if masks is not None:
        return [folder / masks] if (folder / masks).is_dir() and folder / masks != image_folder else []
    others = [
        entry for entry in visible(folder)
        if entry.is_dir() and entry.name.lower() not in _IMAGE_NAMES and not (entry.name in _PARTS and entry.name)
    ]  # fmt: skip
    known = [entry for entry in others if entry.name.lower() in _MASK_NAMES]
    images = [path for path in visible(image_folder) if is_readable(path)]
    partners = {entry: choice.pair(images, _mask_files(entry)) for entry in others}
    found = [entry for entry, pairs in partners.items() if pairs.masks or pairs.open]
    if len(found) > 1 or not set(found) <= set(known):
        found = [entry for entry in found if entry in known or choice.may_be_mask(_first(partners[entry]))]
    return found or known[:1]


def _mask_files(folder: Path) -> list[Path]:
    """The files of a folder that could be masks, in formats that are not read too."""
    files = [path for path in visible(folder) if path.is_file()]
    return [path for path in files if (is_readable(path) and not choice.is_pickle(path)) or suffix_of(path) in _UNREAD]


def _first(pairs: choice.Pairs) -> Path:
    return next(iter(pairs.masks.values()))[0] if pairs.masks else next(iter(next(iter(pairs.open.values())).values()))


def _pair_folders(image_folder: Path, mask_folders: Sequence[Path], part: str, found: _Listing) -> None:
    files = [path for path in visible(image_folder) if is_readable(path)]
    found.aside += [path for path in files if choice.is_pickle(path)]
    images = found.one_of_each_name(path for path in files if path not in found.aside)
    if not images:
        inside = [entry.name for entry in visible(image_folder) if entry.is_dir()]
        what, fix = "is empty", "put the images there"
        if inside:
            what = f"holds folders ({', '.join(inside[:3])}) and no images"
            fix = "put train/images beside train/masks, and test likewise"
        found.problems.append(Problem("", f"{image_folder} {what}", fix))
    if len(mask_folders) > 1:
        found.problems.append(choice.which_folder(image_folder, list(mask_folders)))
        pairs = [choice.pair(images, _mask_files(folder)) for folder in mask_folders]
        known = sorted({image for one in pairs for image in (*one.masks, *one.open)})
        found.aside += known
        found.cases += [Case(stem_of(one), (one,), None, subject_of(stem_of(one)), part) for one in known]
        return
    (mask_folder,) = mask_folders
    files = _mask_files(mask_folder)
    unread = sorted({suffix_of(path) for path in files if not is_readable(path)})
    if unread:
        found.problems.append(
            Problem("", f"{mask_folder} holds {', '.join(unread)} files, which are not read", "save them as PNG")
        )
    masks = found.one_of_each_name(filter(is_readable, files))
    beside = _masks_among(images, masks)
    images = [path for path in images if path not in beside]
    paired = choice.pair(images, [*masks, *beside], found.mask_suffix)
    found.tails |= {owner.tail for owner in choice.owned(images, [*masks, *beside])}
    found.take(paired, part)
    to_be_saved = choice.pair(images, files).masks if unread else {}
    for image in (image for image in paired.without if image not in to_be_saved):
        name = stem_of(image)
        found.problems.append(Problem(name, f"{image} has no mask in {mask_folder}",
                                      f"bring {name}.png (or another lossless file), or remove the image"))  # fmt: skip
    for mask in paired.over:
        found.problems.append(Problem(stem_of(mask), f"{mask} has no image in {image_folder}",
                                      "bring the image, or remove the mask"))  # fmt: skip


def _masks_among(images: list[Path], masks: list[Path]) -> list[Path]:
    """The files of an image folder that say that they are masks of others there, and have no mask themselves."""
    own = {stem_of(mask) for mask in masks}
    stems = {stem_of(image) for image in images}
    return [
        path for path in images
        if stem_of(path) not in own and any(map(words.says_mask, _tails(stem_of(path), stems)))
    ]  # fmt: skip


def _pair_in_one_folder(folder: Path, part: str, found: _Listing) -> None:
    """Pairs the files of a folder that holds images and masks; an image without mask is no case, and no problem."""
    files = [path for path in visible(folder) if path.is_file() and is_readable(path)]
    objects = [path for path in files if choice.is_pickle(path)]
    by_stem: dict[str, list[Path]] = {}
    for path in files:
        if path not in objects:
            by_stem.setdefault(stem_of(path), []).append(path)
    apart = _masks_of_other_names(by_stem, found)
    images, owners = _images_and_masks(by_stem, found)
    images, owners = [*images, *{owner.image: None for owner in apart}], [*owners, *apart]
    pairs = choice.chosen(images, [owner.mask for owner in owners], owners, found.mask_suffix)
    found.tails |= {owner.tail for owner in owners}
    found.take(pairs, part)
    found.aside += objects
    for path, image, _ in choice.owned(images, objects):
        if image in pairs.without:
            found.aside.append(image)
            found.problems.append(
                Problem(stem_of(image), f"{path} holds Python objects, as Cellpose keeps them, which are not read",
                        f"save the masks as {stem_of(image)}_masks.png (or .tif)")
            )  # fmt: skip


def _masks_of_other_names(by_stem: dict[str, list[Path]], found: _Listing) -> list[choice.Owned]:
    """Takes out of `by_stem` the masks whose name is not their image's with a tail.

    `a_image` beside `a_label` is a pair, and so are `volume-0` and `segmentation-0`; several images of one mask are a
    problem.
    """
    owners = []
    for mask, alike in words.kin(by_stem).items():
        masks, images = by_stem[mask], [by_stem[stem][0] for stem in alike if stem in by_stem]
        if len(alike) > 1:
            found.problems.append(choice.which_image(masks[0], images))
            found.aside += [*masks, *images]
        elif words.says_image(alike[0]):
            tail = mask[len(words.before_mask(mask)) :]
            owners += [choice.Owned(path, images[0], tail) for path in found.one_of_each_name(masks)]
        else:
            continue
        del by_stem[mask]
        taken = alike if len(alike) > 1 else ()
        for stem in taken:
            by_stem.pop(stem, None)
    for mask, image in words.by_first_word(by_stem).items():
        owners += [choice.Owned(path, by_stem[image][0], "") for path in found.one_of_each_name(by_stem.pop(mask))]
    for owner in owners:
        by_stem.pop(stem_of(owner.image), None)
    return owners


def _images_and_masks(by_stem: dict[str, list[Path]], found: _Listing):
    """Which files of one folder are images, and whose masks the others are."""
    pairs_of_one_name = any(len(same) > 1 for same in by_stem.values())
    with_masks = {stem[: -len(tail)] for stem in by_stem for tail in _tails(stem, by_stem) if words.says_mask(tail)}
    images: dict[str, Path] = {}
    owners: list[choice.Owned] = []
    for stem, same in sorted(by_stem.items(), key=lambda item: (len(item[0]), item[0])):
        tail = next(iter(_tails(stem, images)), "")
        plain = not pairs_of_one_name and found.mask_suffix is None and stem not in with_masks  # any word is a tail
        if tail and (plain or words.says_mask(tail) or tail == found.mask_suffix):
            owner = images[stem[: -len(tail)]]
            owners += [choice.Owned(path, owner, tail) for path in found.one_of_each_name(same)]
            continue
        # of two files of one name the lossless one that is no photograph is the mask
        ranked = sorted(same, key=_mask_rank)
        photograph = _mask_rank(ranked[0]) == 0
        if len(same) == 2 and _mask_rank(ranked[0]) < _mask_rank(ranked[1]) and (photograph or not found.mask_suffix):
            owners.append(choice.Owned(ranked[1], ranked[0], ""))
            same = ranked[:1]
        (images[stem],) = found.one_of_each_name(same)
    return list(images.values()), owners


def _tails(stem: str, stems: Iterable[str]) -> list[str]:
    """The tails of a name after those names that it begins with, the shortest tail first."""
    ends = range(len(stem) - 1, 0, -1)
    return [stem[end:] for end in ends if stem[:end] in stems and words.is_tail(stem[end:])]


def _pair_in_subfolders(root: Path, found: _Listing) -> None:
    """The pairs in each folder inside, for instance of `Dataset 1` and `Dataset 2`; names may recur between them."""
    held: dict[str, list[Case]] = {}
    for folder in visible(root):
        if folder.is_dir():
            before = len(found.cases)
            _pair_in_one_folder(folder, "train", found)
            if len(found.cases) > before:
                held[folder.name] = found.cases[before:]
    if len(held) > 1:
        found.cases = [
            replace(case, name=f"{name}/{case.name}", subject=f"{name}/{case.subject}")
            for name, cases in held.items() for case in cases
        ]  # fmt: skip


def _told_apart(cases: list[Case]) -> list[Case]:
    """Cases of `train` and `val` are one part; where names recur between them, the folder's comes before."""
    count = Counter((case.part, case.name) for case in cases)
    return [
        replace(case, name=f"{case.images[0].parent.parent.name}/{case.name}")
        if count[case.part, case.name] > 1 else case
        for case in cases
    ]  # fmt: skip


def _mask_rank(path: Path) -> int:
    suffix = suffix_of(path)
    return (suffix not in pictures.LOSSY) + 2 * (suffix == ".png")
