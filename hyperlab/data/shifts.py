"""Graded shifts away from the domain of training: what changes, and by how much at each severity.

A network's uncertainty ought to rise with the severity. The severities are fixed here, so that no study can choose
those that suit it. The generator of `hyperlab.data.parasites` draws shifted scenes; `shifted` changes images that
exist.
"""

import numpy as np

from hyperlab.data.resample import resample_image, resample_labels
from hyperlab.data.splits import philox
from hyperlab.errors import DataError, nearest

SEVERITIES = 5
SHIFTS: dict[str, tuple[float, ...]] = {
    # the factor on every length of a body
    "size": (1.25, 1.5, 1.8, 2.2, 2.7),
    # standard deviation of a further blur, in pixels of a 64-pixel image
    "blur": (0.5, 0.8, 1.1, 1.5, 2.0),
    # the factor on the light: what arrives, before noise
    "intensity": (0.85, 0.7, 0.55, 0.45, 0.35),
    # the factor on the number of bodies
    "density": (1.5, 2.25, 3.0, 4.0, 5.0),
    # standard deviation of further noise, of the range 0..1
    "noise": (0.03, 0.06, 0.09, 0.13, 0.18),
}
_STREAM = 41  # of the random words, apart from those of other purposes


def quantity(shift: str | None, severity: int) -> float | None:
    """What `SHIFTS` holds for a severity; None in the domain (no shift, or severity 0).

    Raises:
      DataError: an unknown shift, or a severity that is no whole number of 0 to 5.

    >>> quantity("blur", 2), quantity("blur", 0)
    (0.8, None)
    """
    if severity not in range(SEVERITIES + 1):
        raise DataError(f"severity is {severity}, expected a whole number from 0 (in the domain) to {SEVERITIES}")
    if shift is None:
        if severity:
            raise DataError(f"severity is {severity} of no shift; name one of {', '.join(SHIFTS)}")
        return None
    if shift not in SHIFTS:
        raise DataError(f"unknown shift {shift!r}; {nearest(shift, SHIFTS)}")
    return SHIFTS[shift][severity - 1] if severity else None


def shifted(
    images: np.ndarray, shift: str | None, severity: int, seed: int = 0, labels: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Images that exist, shifted: blur, intensity and noise leave the truth as it is, size magnifies the centre.

    The noise of an image is a function of the seed and of its place in `images`; severities share it up to its
    amplitude. Unlike the generator's, blur and intensity act on the noise that an image has already. The density of the
    bodies in an image cannot be changed.

    Args:
      images: `[n, height, width, channel]` in 0..1.
      shift: `"size"`, `"blur"`, `"intensity"` or `"noise"`; None with severity 0.
      severity: 0 (the images as they are) to 5; the quantities are those of `SHIFTS`.
      seed: of the noise.
      labels: int `[n, height, width]`, the truth.

    Returns:
      Images float32 in 0..1, and the labels (None where none were given), in the shapes that came.

    Raises:
      DataError: an unknown shift or severity, the shift `"density"`, or values outside 0..1.

    >>> images = np.full((1, 8, 8, 1), 0.5, np.float32)
    >>> darker, _ = shifted(images, "intensity", 2)
    >>> round(float(darker.max()), 3)
    0.35
    """
    from scipy.ndimage import gaussian_filter
    from scipy.special import ndtri

    amount = quantity(shift, severity)
    images = np.asarray(images, np.float32)
    if images.ndim != 4:
        raise DataError(f"images have the shape {images.shape}, expected [n, height, width, channel]")
    if images.size and not (images.min() >= 0 and images.max() <= 1):
        raise DataError(f"images span {images.min():g} to {images.max():g}, expected values in 0..1")
    if shift == "density":
        raise DataError("the density of bodies in existing images cannot be changed; it is a shift of the generator")
    if amount is None:
        return images, labels
    size = images.shape[1:3]
    if shift == "size":
        window = [max(1, round(n / amount)) for n in size]
        (y, x), (height, width) = ([(n - w) // 2 for n, w in zip(size, window, strict=True)], window)
        images = images[:, y : y + height, x : x + width]
        images = np.stack([np.clip(resample_image(image, size), 0, 1) for image in images])
        if labels is not None:
            labels = labels[:, y : y + height, x : x + width]
            labels = np.stack([resample_labels(label, size) for label in labels])
    elif shift == "blur":
        deviation = amount * min(size) / 64
        images = gaussian_filter(images, (0, deviation, deviation, 0), mode="nearest")
    elif shift == "intensity":
        images = images * np.float32(amount)
    else:
        noise = [ndtri(uniform(philox(seed, place, _STREAM), images[0].size)) for place in range(len(images))]
        images = images + amount * np.reshape(noise, images.shape)
    return np.clip(images, 0, 1).astype(np.float32), labels


def uniform(bits: np.random.Philox, count: int) -> np.ndarray:
    """Uniform numbers of the open interval (0, 1) from the words themselves: a generator's methods may change."""
    return ((bits.random_raw(count) >> np.uint64(12)).astype(np.float64) + 0.5) / 2.0**52
