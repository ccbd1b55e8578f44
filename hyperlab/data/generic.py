"""A user's own segmentation set: nnU-Net, Decathlon, folders of pairs, archives, neurite-OASIS and CAMUS.

Every case is checked as it is read; what cannot be trained on is refused with the file and the fix.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hyperlab.data.layouts import LAYOUTS, case_problems, depth_problems, picture_white, refuse
from hyperlab.data.microscopy import full_range
from hyperlab.data.normalisation import microscopy_name, normalisation_of
from hyperlab.data.preprocessing import Preprocessing
from hyperlab.data.problems import MOST_LABELS, colour_problems, scale_problems
from hyperlab.data.readers.cases import Case, Layout, Problem
from hyperlab.data.readers.scan import Scan
from hyperlab.data.resample import as_size, pad_or_crop, resample_image, resample_labels, scale_of, unit_range
from hyperlab.data.segmentation import largest_slice
from hyperlab.data.similarity import copy_groups, joined
from hyperlab.data.source import Source
from hyperlab.data.splits import Split
from hyperlab.errors import DataError, nearest

Size = int | Sequence[int]
FITS = ("resample", "centre")
NORMALIZATIONS = ("auto", "percentiles", "min_max", "full_range", "none")


def nnunet(
    root: str | Path,
    size: Size | None = None,
    fit: str = "resample",
    normalize: str = "auto",
    slice_axis: int | None = None,
    subjects: str | None = None,
) -> Source:
    """The cases of an nnU-Net raw folder; `imagesTs` with `labelsTs` is the official test split.

    Args:
      root: the folder of `dataset.json`.
      size: the spatial size of all images; None where all cases have one. Two numbers for volumes take a slice of
        each.
      fit: `"resample"` to the size (images linearly, masks nearest), or `"centre"`: pad with 0 and crop.
      normalize: `"auto"`: 8-bit pictures are divided by 255, all else goes by `"percentiles"`: each channel's
        percentiles .5 and 99.5 become 0 and 1; `"min_max"`; `"full_range"`: divided by 255 or 65,535, whichever the
        pixels' type holds; or `"none"` where values lie in 0..1 already.
      slice_axis: of volumes take the slice across this axis with the most labelled voxels; where None and `size` has
        two numbers, across the axis along which the first volume's voxels are longest (the last one of equals).
      subjects: a regular expression whose first group, in a case's name, says whom it shows, for instance
        `r"(volume-\\d+)_"`; by default guessed from the names. Cases of one subject share a split.

    Raises:
      DataError: a file is missing or damaged; image and mask differ in geometry; a label is outside the map; a
        voxel is not finite; sizes differ and no size is given.
    """
    return _source(LAYOUTS["nnunet"](_folder(root), subjects), size, fit, normalize, slice_axis)


def decathlon(
    root: str | Path,
    size: Size | None = None,
    fit: str = "resample",
    normalize: str = "auto",
    slice_axis: int | None = None,
    subjects: str | None = None,
) -> Source:
    """The training cases of a Medical Segmentation Decathlon task; the arguments are those of `nnunet`."""
    return _source(LAYOUTS["decathlon"](_folder(root), subjects), size, fit, normalize, slice_axis)


def folder(
    root: str | Path,
    size: Size | None = None,
    fit: str = "resample",
    normalize: str = "auto",
    slice_axis: int | None = None,
    classes: Sequence[str] | None = None,
    masks: str | None = None,
    mask_suffix: str | None = None,
    subjects: str | None = None,
) -> Source:
    """Pairs of image and mask files; the grey values that occur in the masks are the classes, in their order.

    Args:
      root: see `hyperlab.data.readers.folders.list_folder`; images in `test` are the official test split.
      size: as for `nnunet`, like `fit`, `normalize` and `slice_axis`.
      classes: names of the classes; by default `background` and the grey values.
      masks: the folder of the masks, where several hold files that pair with the images, for instance `"manual1"`.
      mask_suffix: the tail of the masks that are meant, where an image has several, for instance `"_1stHO"`.
      subjects: as for `nnunet`.
    """
    return _source(
        LAYOUTS["folder"](_folder(root), masks, mask_suffix, subjects), size, fit, normalize, slice_axis, classes
    )


def npz(
    root: str | Path,
    size: Size | None = None,
    fit: str = "resample",
    normalize: str = "auto",
    slice_axis: int | None = None,
    classes: Sequence[str] | None = None,
) -> Source:
    """The cases of an archive with `image`, `label` and perhaps `subject`; the arguments are those of `folder`."""
    return _source(LAYOUTS["npz"](Path(root).expanduser()), size, fit, normalize, slice_axis, classes)


def oasis(root: str | Path, dims: int = 2, labels: int = 4, size: Size | None = None, fit: str = "resample") -> Source:
    """Brain MRI of neurite-OASIS v1.0: 160x192 slices or 160x192x224 volumes, each stretched to 0..1.

    Args:
      root: the folder of `OASIS_OAS1_xxxx_MR1`.
      dims: 2 for the slice, 3 for the volume.
      labels: 4 tissues, or 24 (three dimensions: 35) structures.
      size: as for `nnunet`, like `fit`.
    """
    return _source(LAYOUTS["oasis"](_folder(root), dims, labels), size, fit, "min_max")


def camus(
    root: str | Path,
    size: Size = (128, 128),
    views: Sequence[str] = ("2CH", "4CH"),
    instants: Sequence[str] = ("ED", "ES"),
) -> Source:
    """Echocardiograms of CAMUS, four images a patient, resampled to `size`; axes are in the order of the files.

    Each image's percentiles .5 and 99.5 become 0 and 1.

    Args:
      root: the folder of `patientXXXX`.
      size: of the images that are returned, in pixels.
      views: `"2CH"` and `"4CH"`, or one.
      instants: `"ED"` and `"ES"`, or one.
    """
    return _source(LAYOUTS["camus"](_folder(root), tuple(views), tuple(instants)), size)


def _folder(root: str | Path) -> Path:
    return Path(root).expanduser()  # a shell leaves the ~ of --config.data.root=~/data alone


def _source(
    layout: Layout,
    size: Size | None = None,
    fit: str = "resample",
    normalize: str = "auto",
    slice_axis: int | None = None,
    names: Sequence[str] | None = None,
) -> Source:
    for what, given, valid in (("fit", fit, FITS), ("normalize", normalize, NORMALIZATIONS)):
        if given not in valid:
            raise DataError(f"unknown {what} {given!r}; {nearest(given, valid)}")
    refuse(layout.root, [*layout.problems, *depth_problems(layout)])
    cases = [case for case in layout.cases if case.label is not None]
    problems: list[Problem] = []
    images, masks, spacings, whites = [], [], [], []
    values: list[tuple[Case, list[int]]] = []
    coloured = []
    for case in cases:
        found, image, mask = case_problems(case, layout.classes)
        problems += found
        if image is not None and mask is not None and not any(problem.fatal for problem in found):
            if slice_axis is None and _wants_planes(size, mask.values):
                slice_axis = _through(image)
            pixels, labels, spacing = _planes(_normalized(case.name, image, normalize), mask.values, image, slice_axis)
            images.append(pixels)
            masks.append(labels)
            spacings.append(spacing)
            whites.append(picture_white(image))
            values.append((case, np.unique(mask.values).tolist()))
            coloured.append((case, mask.colours))
    problems += scale_problems(values) if layout.classes is None else []
    refuse(layout.root, problems + colour_problems(coloured))
    if not cases:
        raise DataError(f"{layout.root} holds no case with a mask")
    kept, classes = _classes(layout, masks, names)
    size = _size(layout, images, size)
    shapes = [mask.shape for mask in masks]
    known = all(spacing is not None for spacing in spacings)
    copies = copy_groups(images)
    if fit == "resample":
        pixels = np.stack([np.clip(resample_image(image, size), 0, 1) for image in images])
        labels = np.stack([resample_labels(mask, size) for mask in masks])
        steps = np.array(shapes) / np.array(size)
    else:
        pixels = np.stack([pad_or_crop(image, size) for image in images])
        labels = np.stack([pad_or_crop(mask, size) for mask in masks])
        steps = np.ones((len(masks), len(size)))
    is_test = np.array([case.part == "test" for case in cases])
    examples = Split(
        pixels,
        np.searchsorted(kept, labels).astype(np.int32),
        joined(np.array([case.subject for case in cases]), copies),
        np.arange(len(cases), dtype=np.int32),
        (np.array(spacings) * steps).astype(np.float32) if known else None,
        np.array([case.name for case in cases]),
    )
    whose = f"{len({case.subject for case in cases})} subjects {layout.whose}"
    how = {"resample": "resampled to", "centre": "centred in"}[fit]
    notes: tuple[str, ...] = (
        f"Each image was {how} {'x'.join(map(str, size))}; cases of one subject, and near-copies, share a split "
        f"({whose}).",
    )
    normalisation = normalisation_of(normalize, whites)
    if slice_axis is not None:
        taken = f"Of every volume one slice was taken, across axis {slice_axis}: that with the most labelled voxels. "
        notes = (taken + "Three numbers in `size` take whole volumes.", *notes)
    return Source(
        examples,
        classes,
        official_test=is_test if is_test.any() else None,
        notes=notes,
        scale=scale_of(shapes, size) if fit == "resample" else 1.0,
        normalisation=microscopy_name(normalisation),
        preprocessing=Preprocessing(
            tuple(size), pixels.shape[-1], classes, tuple(kept.tolist()), normalisation, fit=fit, slice_axis=slice_axis
        ),
    )


def _normalized(name: str, image: Scan, normalize: str) -> np.ndarray:
    if normalize == "none":
        low, high = float(image.values.min()), float(image.values.max())
        if low < 0 or high > 1:
            raise DataError(
                f"case {name} spans {low:g} to {high:g}, and normalize is 'none'; expected values in 0..1, "
                "or another normalize: 'percentiles' or 'min_max'"
            )
        return np.asarray(image.values, np.float32)
    if normalize == "min_max":
        return unit_range(image.values)
    if normalize == "full_range":
        return image.values.astype(np.float32) / np.float32(full_range(image.values, f"case {name}", image.white))
    if normalize == "auto" and (white := picture_white(image)) is not None:
        return image.values.astype(np.float32) / np.float32(white)
    return unit_range(image.values, 0.5, 99.5)


def _wants_planes(size: Size | None, labels: np.ndarray) -> bool:
    """Whether two numbers are asked for and a volume came."""
    return isinstance(size, Sequence) and len(size) == 2 and labels.ndim == 3 and min(labels.shape) > 1


def _through(image: Scan) -> int:
    """The axis along which voxels are longest, the last one of equals: scans are sharpest in the planes across it."""
    spacing = np.ones(3) if image.spacing is None else np.round(image.spacing[:3], 3)
    return int(2 - np.argmax(spacing[::-1]))


def _planes(pixels: np.ndarray, labels: np.ndarray, image: Scan, slice_axis: int | None):
    """The slice with the most labelled voxels where one is asked for; axes of one voxel are dropped."""
    spacing = None if image.spacing is None else np.array(image.spacing[: labels.ndim])
    if slice_axis is not None:
        if labels.ndim != 3 or not 0 <= slice_axis < 3:
            raise DataError(f"slice_axis is {slice_axis} for images of {labels.shape}, expected 0 to 2 of volumes")
        one = largest_slice(labels, slice_axis)
        pixels, labels = pixels.take([one], slice_axis), labels.take([one], slice_axis)
    kept = tuple(axis for axis, n in enumerate(labels.shape) if n > 1)
    pixels = pixels.reshape(*(labels.shape[axis] for axis in kept), pixels.shape[-1])
    return pixels, labels.reshape(pixels.shape[:-1]), None if spacing is None else spacing[list(kept)]


def _size(layout: Layout, images: list[np.ndarray], size: Size | None) -> tuple[int, ...]:
    kinds = sorted({(image.ndim - 1, image.shape[-1]) for image in images})
    if len(kinds) > 1:
        raise DataError(
            f"{layout.root} mixes images of different (dimensions, channels): {kinds}; "
            "load each kind from a folder of its own"
        )
    if size is not None:
        return as_size(size, kinds[0][0])
    shapes = sorted({image.shape[:-1] for image in images})
    if len(shapes) > 1:
        raise DataError(
            f"{layout.root} holds images of {len(shapes)} sizes, from {shapes[0]} to {shapes[-1]}; give one size for "
            "all, for instance --config.data.size=64"
        )
    return shapes[0]


def _classes(layout: Layout, masks: list[np.ndarray], names: Sequence[str] | None):
    """The label values in order, and their names: label `i` of the set is the i-th value."""
    found = sorted({int(value) for mask in masks for value in np.unique(mask)})
    if layout.classes is not None:
        if "ignore" in layout.classes.values():
            raise DataError(
                f"{layout.root / 'dataset.json'} declares an ignore label, which would be trained as a class; "
                "set these voxels to a class and remove the label"
            )
        return np.array(list(layout.classes)), tuple(layout.classes.values())
    if len(found) > MOST_LABELS:
        raise DataError(
            f"{layout.root}: the masks hold {len(found)} values; are they maps of instances? "
            "save masks of classes, for instance foreground as 1"
        )
    if names is None:
        return np.array(found), tuple("background" if value == 0 else f"value {value}" for value in found)
    if len(names) != len(found):
        raise DataError(f"{len(names)} classes {tuple(names)} for the {len(found)} mask values {found}")
    return np.array(found), tuple(names)
