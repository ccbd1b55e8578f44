"""Public segmentation sets by name, each with the traps that its copies are known to hold."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hyperlab.data.microscopy import OWN_RANGE, PERCENTILES
from hyperlab.data.normalisation import BY_PERCENTILES, Normalisation
from hyperlab.data.preprocessing import Preprocessing
from hyperlab.data.readers.cases import subject_of
from hyperlab.data.readers.images import read_image, read_mask
from hyperlab.data.readers.nifti import read_nifti
from hyperlab.data.readers.scan import read_labels, read_npz
from hyperlab.data.resample import as_size, pad_or_crop, resample_image, resample_labels, scale_of, unit_range
from hyperlab.data.similarity import copy_groups, joined, near_copies, thumbnail
from hyperlab.data.source import Source
from hyperlab.data.splits import Split
from hyperlab.errors import DataError, nearest

Size = int | Sequence[int]
_BYTES = Normalisation("divide", by=255.0)
_TISSUES = ("background", "cerebrospinal fluid", "grey matter", "white matter", "deep grey matter")
_SAME_CHILD = 0.82  # correlation of the brain slices' fine structure, in the middle of an empty range


def wbc(root: str | Path, size: Size = (64, 64), subset: int = 1) -> Source:
    """White blood cells: 300 colour images of one cell each, background, cytoplasm and nucleus.

    Images (120x120 and a little less) are resampled to `size` and divided by 255. The masks' grey values
    are taken to the nearest of 0, 128 and 255. Some cells were photographed or cut twice; near-copies
    share a group. Zheng et al. 2018, https://github.com/zxaoyou/segmentation_WBC.

    Args:
      root: the folder that holds `Dataset 1`, or that folder itself.
      size: `(height, width)` of the images that are returned.
      subset: 1, or 2 for the 100 images of 300x300 of the second set.
    """
    size = as_size(size, 2)
    root = _folder(root)
    folder = root / f"Dataset {subset}" if (root / f"Dataset {subset}").is_dir() else root
    paths = sorted(folder.glob("*.bmp"))
    if not paths:
        raise DataError(f"{folder} holds no *.bmp image; expected the folder that holds 'Dataset {subset}'")
    images, masks = [], []
    for path in paths:
        image, mask = read_image(path), read_mask(path.with_suffix(".png"))
        _same_shape(path, image, path.with_suffix(".png"), mask)
        images.append(image)
        # a few masks hold stray grey values between the three levels
        masks.append(np.digitize(mask, (64, 192)).astype(np.int32))
    return Source(
        _examples(images, masks, size, copy_groups(images), [path.stem for path in paths], white=255),
        ("background", "cytoplasm", "nucleus"),
        notes=(f"Images were resampled to {size[0]}x{size[1]}; near-copies of a cell share a split.",),
        scale=scale_of([mask.shape for mask in masks], size),
        preprocessing=Preprocessing(
            size, 3, ("background", "cytoplasm", "nucleus"), (0, 128, 255), _BYTES, matches="nearest"
        ),
    )


def dsb2018_nuclei(root: str | Path, size: Size = (128, 128), kind: str | None = None) -> Source:
    """Nuclei of the 2018 Data Science Bowl: fluorescence and stained tissue, nuclei against background.

    The instance maps become one foreground. Images are resampled to `size` (stained ones are a little wider
    than high and are squeezed) and stretched so that each one's darkest and brightest value are 0 and 1.
    `Splits.kinds` tells fluorescence (dark background) from stain, and the splits keep both in proportion;
    mean intensity alone tells them apart too. Caicedo et al. 2019; the split of all 670 is not published.

    Args:
      root: the folder of `images`, `labels` and `index.csv`.
      size: `(height, width)` of the images that are returned.
      kind: `"fluo"` or `"colour"` for one kind alone.
    """
    import pandas as pd

    size = as_size(size, 2)
    root = _folder(root)
    if not (root / "index.csv").is_file():
        raise DataError(f"{root / 'index.csv'} does not exist; expected a table with the columns id and kind")
    table = pd.read_csv(root / "index.csv").sort_values("id")
    kinds = tuple(sorted(table["kind"].unique(), reverse=True))
    if kind is not None:
        if kind not in kinds:
            raise DataError(f"unknown kind {kind!r}; {nearest(kind, kinds)}")
        table, kinds = table[table["kind"] == kind], (kind,)
    images, masks = [], []
    for name in table["id"]:
        image_path, mask_path = root / "images" / f"{name}.png", root / "labels" / f"{name}.png"
        image, mask = read_image(image_path), read_mask(mask_path)
        _same_shape(image_path, image, mask_path, mask)
        images.append(unit_range(image, joint=True))
        masks.append(mask > 0)
    kind_of = np.array([kinds.index(one) for one in table["kind"]], np.int32)
    return Source(
        _examples(images, masks, size, copy_groups(images), list(table["id"]), kinds=kind_of),
        ("background", "nucleus"),
        kinds=kinds,
        notes=(f"Images were resampled to {size[0]}x{size[1]}, each stretched to its own range.",),
        scale=scale_of([mask.shape for mask in masks], size),
        normalisation=OWN_RANGE,
        preprocessing=Preprocessing(
            size,
            images[0].shape[-1],
            ("background", "nucleus"),
            (0, 1),
            Normalisation("range", joint=True),
            matches="above zero",
        ),
    )


def isbi2012_membrane(root: str | Path, size: Size | None = None, tiles: int = 4) -> Source:
    """Membranes of neurons in 30 consecutive sections of electron microscopy, 512x512.

    Neighbouring sections resemble each other, so the stack is cut into contiguous blocks and the section
    between two blocks is left out. A section is cut into `tiles` x `tiles` equal tiles; values are divided
    by 255. The membrane is the foreground. Arganda-Carreras et al. 2015.

    Args:
      root: the folder of `train/image` and `train/label`.
      size: `(height, width)` to which a tile is resampled; by default it stays as it is (128x128).
      tiles: tiles along each axis; 1 keeps whole sections.
    """
    root = _folder(root)
    paths = sorted((root / "train" / "image").glob("*.png"), key=lambda path: int(path.stem))
    if not paths:
        raise DataError(f"{root / 'train' / 'image'} holds no *.png section")
    images, masks, names, sections = [], [], [], []
    for path in paths:
        mask_path = root / "train" / "label" / path.name
        image, mask = read_image(path), read_mask(mask_path)
        _same_shape(path, image, mask_path, mask)
        if tiles < 1 or any(n % tiles for n in mask.shape):
            raise DataError(f"sections of {mask.shape} pixels do not divide into {tiles} x {tiles} tiles")
        height, width = (n // tiles for n in mask.shape)
        dark = 2 * mask.astype(int) < max(int(mask.max()), 1)  # membrane is black, cells are white: 255, or 1 of 1 bit
        for row in range(tiles):
            for column in range(tiles):
                part = np.s_[row * height : (row + 1) * height, column * width : (column + 1) * width]
                images.append(image[part])
                masks.append(dark[part])
                names.append(f"{path.stem}[{row},{column}]")
                sections.append(int(path.stem))
    size = masks[0].shape if size is None else as_size(size, 2)
    blocks = np.array(sections)
    return Source(
        _examples(images, masks, size, blocks, names, white=255),
        ("cell", "membrane"),
        sections=blocks,
        scale=scale_of([mask.shape for mask in masks], size),
        preprocessing=Preprocessing(
            tuple(size),
            1,
            ("cell", "membrane"),
            (255, 0),
            _BYTES,
            fit="tiles",
            scale=scale_of([mask.shape for mask in masks], size),
            matches="nearest",
        ),
    )


def children_of(scans: np.ndarray) -> np.ndarray:
    """Which scans of the brain set show one child: int `[scans]`, the first scan of the child.

    The fine structure of the slices of repeated scans correlates at .84 to .97, that of other children at .80 at most.

    Args:
      scans: uint8 `[scans, slices, height, width]`.
    """
    fine = np.concatenate(
        [[thumbnail(one[..., None]) for one in scans[:, place]] for place in range(scans.shape[1])], 1
    )
    fine /= np.maximum(np.linalg.norm(fine, axis=1, keepdims=True), 1e-12)
    repeated = near_copies(fine, _SAME_CHILD)
    return joined(np.arange(len(scans)), pairs=[pair[:2] for pair in repeated])


def brain_t1_ptbp(root: str | Path, size: Size = (112, 96), slices: Sequence[int] = (0, 1, 2, 3)) -> Source:
    """Brain tissue in T1-weighted MRI: axial slices of 60 scans in four classes, aligned to one template.

    Slices of 217x182 mm at 1 mm are resampled to `size`; the bytes are divided by 255. Some children were
    scanned two or three times: the fine structure of their slices correlates at .84 to .97, that of other
    children at .80 at most. All slices of all scans of a child share a group. The labels are automatic.
    Avants et al. 2015.

    Args:
      root: the folder of `slices.npz`.
      size: `(height, width)` of the slices that are returned.
      slices: which of the four slices of each scan.
    """
    size = as_size(size, 2)
    path = _folder(root) / "slices.npz"
    arrays = read_npz(path)
    for key in ("image", "label", "subject", "slab_slice"):
        if key not in arrays:
            raise DataError(f"{path} has no array {key!r}; {nearest(key, arrays)}")
    image, label = arrays["image"], arrays["label"]
    if image.ndim != 4 or image.shape != label.shape or len(arrays["subject"]) != len(image):
        raise DataError(
            f"{path}: image {image.shape} and label {label.shape}, expected [subject, slice, height, width]"
        )
    if not slices or not set(slices) <= set(range(image.shape[1])):
        raise DataError(f"slices are {tuple(slices)}, expected some of 0 to {image.shape[1] - 1}")
    chosen = [(subject, one) for subject in range(len(image)) for one in slices]
    names = [f"{arrays['subject'][subject]}/slice{arrays['slab_slice'][one]}" for subject, one in chosen]
    children = children_of(image)
    groups = np.array([children[subject] for subject, _ in chosen])
    images = [image[subject, one][..., None] for subject, one in chosen]
    masks = [label[subject, one] for subject, one in chosen]
    return Source(
        _examples(images, masks, size, groups, names, white=255, spacing=(1.0, 1.0)),
        _TISSUES,
        notes=(
            f"Slices were resampled to {size[0]}x{size[1]}; the {len(image)} scans are taken to show "
            f"{len(np.unique(children))} children, whose slices share a split.",
        ),
        scale=scale_of([mask.shape for mask in masks], size),
        preprocessing=Preprocessing(size, 1, _TISSUES, tuple(range(len(_TISSUES))), _BYTES),
    )


def chasedb1(root: str | Path, size: Size = (256, 256), annotator: int = 1) -> Source:
    """Vessels of the retina in 28 colour photographs, both eyes of 14 children, marked by two annotators.

    Images of 999x960 are resampled to `size` and divided by 255. The published test split (the last 8
    images, 4 children) stays whole; both eyes of a child share a group. Fraz et al. 2012.

    Args:
      root: the folder that holds `CHASEDB1`, or that folder itself.
      size: `(height, width)` of the images that are returned.
      annotator: 1 or 2.
    """
    size = as_size(size, 2)
    folder = _folder(root)
    folder = folder / "CHASEDB1" if (folder / "CHASEDB1").is_dir() else folder
    paths = sorted(folder.glob("Image_*.jpg"))
    if not paths:
        raise DataError(f"{folder} holds no Image_*.jpg; expected the folder that holds 'CHASEDB1'")
    if annotator not in (1, 2):
        raise DataError(f"annotator is {annotator}, expected 1 or 2")
    images, masks = [], []
    for path in paths:
        mask_path = folder / f"{path.stem}_{('1stHO', '2ndHO')[annotator - 1]}.png"
        image, mask = read_image(path), read_mask(mask_path)
        _same_shape(path, image, mask_path, mask)
        images.append(image)
        masks.append(mask > 0)
    children = np.array([int(subject_of(path.stem).rpartition("_")[2]) for path in paths], np.int32)
    return Source(
        _examples(images, masks, size, children, [path.stem for path in paths], white=255),
        ("background", "vessel"),
        official_test=children > 10,
        notes=(f"Images were resampled to {size[0]}x{size[1]}; both eyes of a child share a split.",),
        scale=scale_of([mask.shape for mask in masks], size),
        preprocessing=Preprocessing(size, 3, ("background", "vessel"), (0, 1), _BYTES, matches="above zero"),
    )


def msd_hippocampus(root: str | Path, size: Size = (64, 64)) -> Source:
    """Hippocampus head and body in one slice of each of 260 MRI volumes (Medical Segmentation Decathlon, task 4).

    Of each volume the slice across the last axis with the most labelled voxels, about 35x50 at 1 mm, is
    centred in `size` (filled with 0, or cut). The volume's percentiles .5 and 99.5 become 0 and 1. Volumes
    2k-1 and 2k are the two sides of one scan and share a group. Simpson et al. 2019, arXiv 1902.09063.

    Args:
      root: the folder of `images` and `labels` (or `imagesTr` and `labelsTr`).
      size: `(height, width)` of the slices that are returned.
    """
    return _hippocampus(root, as_size(size, 2))


def msd_hippocampus_3d(root: str | Path, size: Size = (48, 64, 48)) -> Source:
    """The volumes of `msd_hippocampus`, each centred in `size` voxels of 1 mm."""
    return _hippocampus(root, as_size(size, 3))


def _hippocampus(root: str | Path, size: tuple[int, ...]) -> Source:
    root = _folder(root)
    tail = "Tr" if (root / "imagesTr").is_dir() else ""
    paths = sorted((root / f"images{tail}").glob("hippocampus_*.nii*"))
    if not paths:
        raise DataError(f"{root / f'images{tail}'} holds no hippocampus_*.nii.gz")
    images, masks, spacing = [], [], []
    for path in paths:
        mask_path = root / f"labels{tail}" / path.name
        scan, mask = read_nifti(path), read_labels(mask_path).values
        image = scan.values[..., None]
        _same_shape(path, image, mask_path, mask)
        if not np.isfinite(image).all():
            raise DataError(f"{path} holds non-finite voxels; hyperlab data check {root} lists all such files")
        image = unit_range(image, 0.5, 99.5)
        if len(size) == 2:
            slice_ = largest_slice(mask, axis=2)
            image, mask = image[:, :, slice_], mask[:, :, slice_]
        images.append(pad_or_crop(image, size))
        masks.append(pad_or_crop(mask, size))
        assert scan.spacing is not None  # as of every NIfTI file
        spacing.append(scan.spacing[: len(size)])
    names = [path.name.split(".")[0] for path in paths]
    scans = np.array([(int(name.rpartition("_")[2]) + 1) // 2 for name in names])
    examples = _examples(images, masks, size, joined(scans, copy_groups(images)), names, spacing=spacing)
    return Source(
        examples,
        ("background", "anterior", "posterior"),
        notes=("Each image was centred in " + "x".join(map(str, size)) + "; both sides of a scan share a split.",),
        normalisation=PERCENTILES,
        preprocessing=Preprocessing(
            size,
            1,
            ("background", "anterior", "posterior"),
            (0, 1, 2),
            BY_PERCENTILES,
            fit="centre",
            slice_axis=2 if len(size) == 2 else None,
        ),
    )


def largest_slice(mask: np.ndarray, axis: int) -> int:
    """The slice across an axis of a volume's mask with the most labelled voxels; the first of equals."""
    others = tuple(other for other in range(mask.ndim) if other != axis)
    return int(np.argmax((mask > 0).sum(others)))


def _folder(root: str | Path) -> Path:
    root = Path(root).expanduser()  # a shell leaves the ~ of --config.data.root=~/data alone
    if not root.is_dir():
        raise DataError(f"{root} is not a folder")
    return root


def _same_shape(image_path: Path, image: np.ndarray, mask_path: Path, mask: np.ndarray) -> None:
    if image.shape[:-1] != mask.shape:
        raise DataError(
            f"{mask_path} is {mask.shape}, its image {image_path} is {image.shape[:-1]}; "
            "resample the mask (nearest) onto the image's grid, or find the mask that belongs to it"
        )


def _examples(images, masks, size, groups, names, white=1.0, kinds=None, spacing=None) -> Split:
    """Images divided by their white and brought to one size, with their masks and the new spacing."""
    pixels = np.stack([resample_image(image, size) for image in images]) / np.float32(white)
    labels = np.stack([resample_labels(mask, size) for mask in masks]).astype(np.int32)
    if spacing is not None:
        shapes = np.array([mask.shape for mask in masks])
        spacing = (np.broadcast_to(spacing, shapes.shape) * shapes / np.array(size)).astype(np.float32)
    index = np.arange(len(labels), dtype=np.int32)
    # sums of weights may round above 1
    return Split(np.clip(pixels, 0, 1), labels, np.asarray(groups, np.int32), index, spacing, np.array(names), kinds)
