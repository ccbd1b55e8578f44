"""One image or mask with its geometry, from a file of any format that is read here."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from hyperlab.errors import DataError


@dataclass(frozen=True, eq=False)
class Scan:
    """The values of a file and where they lie.

    Attributes:
      values: `[*spatial]`, or `[*spatial, channel]`.
      spacing: mm between neighbours along each spatial axis; None where the format has none.
      affine: float64 `[4, 4]`, from voxel indices to mm; None where the format has none.
      white: the largest number that a pixel of a picture can have: 1, 3, 15, 255, 4095, 65535; None of scans, arrays,
        signed numbers and floating point.
      colours: of a mask with a palette of colours, the colour of each label that occurs; else None.
      warnings: what the file says of itself that does not agree, in sentences.
    """

    values: np.ndarray
    spacing: tuple[float, ...] | None = None
    affine: np.ndarray | None = None
    white: int | None = None
    colours: dict[int, tuple[int, int, int]] | None = None
    warnings: tuple[str, ...] = ()


def suffix_of(path: Path) -> str:
    """The ending that names the format, in lower case; `.nii.gz` counts as one.

    >>> suffix_of(Path("a.b.NII.gz")), suffix_of(Path("a.png"))
    ('.nii.gz', '.png')
    """
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def stem_of(path: Path) -> str:
    """The name of a file without the ending of `suffix_of`."""
    suffix = suffix_of(path)
    return path.name[: len(path.name) - len(suffix)] if suffix else path.name


def is_readable(path: Path) -> bool:
    """Whether the ending is one of an image format; hidden files (`._x.nii.gz` of a Mac) are not."""
    from hyperlab.data.readers import images, nifti

    return not path.name.startswith(".") and suffix_of(path) in images.SUFFIXES + nifti.SUFFIXES + (".npy",)


def read_scan(path: str | Path, index: int | None = None, stack: bool = False) -> Scan:
    """Reads an image with its channels last.

    Args:
      path: an image file, NIfTI, `.npy`, or an `.npz` archive with many cases.
      index: the case in an archive.
      stack: whether the planes of a TIFF file are an axis of a volume, the first one.

    Returns:
      Values `[*spatial, channel]`.

    Raises:
      DataError: the file cannot be read, is of no known format, or holds no real numbers.
    """
    path = Path(path)
    scan = _read(path, index, False, stack)
    _numbers(path, scan.values)
    if suffix_of(path) in (".nii", ".nii.gz", ".npy") and scan.values.ndim <= 3:
        return replace(scan, values=scan.values[..., None])
    return scan


def read_labels(path: str | Path, index: int | None = None, stack: bool = False) -> Scan:
    """Reads a mask; the arguments are those of `read_scan`.

    Returns:
      Values int32 `[*spatial]`.

    Raises:
      DataError: the file cannot be read, or holds values that are no whole numbers of 32 bits.
    """
    path = Path(path)
    scan = _read(path, index, True, stack)
    values = scan.values
    if values.ndim == 4 and values.shape[-1] == 1:
        values = values[..., 0]
    _numbers(path, values)
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        if not finite.all():
            raise DataError(f"{path} holds {int((~finite).sum())} labels that are not finite; set them to background")
        whole = np.round(values)
        if np.abs(values - whole).max(initial=0) > 1e-3:
            raise DataError(
                f"{path} holds labels that are no whole numbers, for instance "
                f"{float(values[np.abs(values - whole) > 1e-3].flat[0]):g}; it was resampled with interpolation: "
                "resample the original mask with the nearest neighbour"
            )
        values = whole
    limits = np.iinfo(np.int32)
    for extreme in (values.min(), values.max()):
        if not limits.min <= extreme <= limits.max:
            raise DataError(f"{path} holds the label {int(extreme)}, beyond 32 bits; renumber the labels from 0")
    return replace(scan, values=values.astype(np.int32))


def _numbers(path: Path, values: np.ndarray) -> None:
    """Refuses what is no array of real numbers, or an empty one."""
    if values.dtype.kind not in "biuf":
        raise DataError(f"{path} holds {values.dtype} values, expected real numbers; write them again as such")
    if not values.ndim or not values.size:
        raise DataError(f"{path} holds an array of the shape {values.shape}, which has no pixels; write it again")


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of an `.npz` archive, or the one of a `.npy` file under the name `image`.

    Raises:
      DataError: the file is missing, truncated, or holds Python objects.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return {"image": content}
            return {name: content[name] for name in content.files}
    except Exception as error:  # numpy passes on what zip, zlib and its own header parser raise
        raise DataError(
            f"{path} is truncated, damaged or holds Python objects ({type(error).__name__}: {error}); "
            "write it again with numpy.savez_compressed and plain arrays"
        ) from error


# the cases of one archive are asked for one after the other
_archive = lru_cache(maxsize=1)(lambda path, modified: read_npz(path))

IMAGE_KEYS = ("image", "images")
LABEL_KEYS = ("label", "labels", "mask", "masks", "segmentation")
SUBJECT_KEYS = ("subject", "subjects", "group", "groups")


def archive_array(path: Path, keys: tuple[str, ...]) -> np.ndarray | None:
    """The first array of an archive that has one of several names, or None."""
    arrays = _archive(path, path.stat().st_mtime_ns if path.is_file() else None)
    return next((arrays[key] for key in keys if key in arrays), None)


def archive_labels(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Labels `[n, *spatial]` of an archive, without the last axis of one entry that Keras keeps beside channels.

    >>> archive_labels(np.zeros((9, 8, 8, 3)), np.zeros((9, 8, 8, 1))).shape
    (9, 8, 8)
    """
    kept = labels.shape == (*images.shape[:-1], 1) and images.shape[-1] > 1
    return labels[..., 0] if kept else labels


def _read(path: Path, index: int | None, label: bool, stack: bool) -> Scan:
    from hyperlab.data.readers.images import SUFFIXES
    from hyperlab.data.readers.nifti import read_nifti

    suffix = suffix_of(path)
    if suffix in (".nii", ".nii.gz"):
        return read_nifti(path)
    if suffix in SUFFIXES:
        return _picture(path, label, stack)
    if suffix == ".npz":
        images, labels = (archive_array(path, keys) for keys in (IMAGE_KEYS, LABEL_KEYS))
        assert images is not None and labels is not None  # as of all archives that are taken for cases
        labels = archive_labels(images, labels)
        if label:
            return Scan(labels[index])
        values = images[index]
        return Scan(values if images.ndim > labels.ndim else values[..., None])
    if suffix == ".npy":
        return Scan(read_npz(path)["image"])
    raise DataError(f"{path} is of no known format; expected .nii, .nii.gz, .npz, .npy, {', '.join(SUFFIXES)}")


def _picture(path: Path, label: bool, stack: bool) -> Scan:
    from hyperlab.data.readers.images import image_of, labels_of, read_raster, refuse_lossy

    if label:
        refuse_lossy(path)
    raster = read_raster(path, stack)
    if raster.values.ndim == 4 and len(raster.values) == 1:  # one plane
        raster = raster._replace(
            values=raster.values[0], alpha=None if raster.alpha is None else raster.alpha[0]
        )  # fmt: skip
    if not label:
        return Scan(image_of(path, raster), white=raster.white)
    labels, colours = labels_of(path, raster), None
    if raster.palette is not None and not raster.grey_palette:
        colours = {int(label): tuple(raster.palette[label].tolist()) for label in np.unique(labels)}
    inverted = f"{path} shows 0 as white (PhotometricInterpretation 0); its labels are the numbers that are stored"
    return Scan(labels, colours=colours, warnings=(inverted,) if raster.white_is_zero else ())
