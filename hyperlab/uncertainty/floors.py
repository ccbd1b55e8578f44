"""What needs no network: a threshold, and a logistic regression of pixels that knows how sure it is.

Both are floors under every network. The regression returns probabilities, so it takes part in calibration too.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped

from hyperlab.data.splits import permutation
from hyperlab.data.threshold import otsu_threshold
from hyperlab.errors import ConfigError, DataError

SCALES = (1.0, 2.0, 4.0, 8.0)


def otsu(images: Float[np.ndarray, "n *spatial channel"], bright: bool = True) -> Bool[np.ndarray, " n *spatial"]:
    """Each image's pixels above its own threshold of Otsu, or the others: bool `[n, *spatial]`.

    Args:
      images: `[n, *spatial, channel]` in 0..1; channels are averaged.
      bright: whether objects are the bright side; see `objects_are_bright`.

    >>> images = np.array([0.1, 0.2, 0.8, 0.9]).reshape(1, 2, 2, 1)
    >>> otsu(images).tolist()
    [[[False, False], [True, True]]]

    (Otsu, 1979, "A threshold selection method from gray-level histograms".)
    """
    grey = np.asarray(images).mean(-1)
    above = np.stack([image > otsu_threshold(image) for image in grey])
    return above if bright else ~above


def objects_are_bright(
    images: Float[np.ndarray, "n *spatial channel"], labels: Shaped[np.ndarray, " n *spatial"]
) -> bool:
    """Whether the bright side of Otsu's threshold fits the objects of training images better, by its mean Dice.

    Args:
      images: `[n, *spatial, channel]` in 0..1.
      labels: int `[n, *spatial]`; all above 0 are objects.
    """
    truth, above = np.asarray(labels) > 0, otsu(images)
    axes = tuple(range(1, truth.ndim))

    def dice(masks: np.ndarray) -> np.ndarray:
        return (2 * (masks & truth).sum(axes) / np.maximum(masks.sum(axes) + truth.sum(axes), 1)).mean()

    return bool(dice(above) >= dice(~above))


class PixelClassifier(NamedTuple):
    """A logistic regression on the features of one pixel.

    Attributes:
      centre: `[features]`, subtracted from the features.
      width: `[features]`, what they are divided by then.
      weights: `[features, classes]`.
      bias: `[classes]`.
      scales: of the features, in pixels.
    """

    centre: Float[np.ndarray, " features"]
    width: Float[np.ndarray, " features"]
    weights: Float[np.ndarray, "features classes"]
    bias: Float[np.ndarray, " classes"]
    scales: tuple[float, ...]

    def logits(self, images: Float[np.ndarray, "n *spatial channel"]) -> Float[np.ndarray, "n *spatial classes"]:
        """float32 `[n, *spatial, classes]` of images `[n, *spatial, channel]`."""
        scaled = (features(images, self.scales) - self.centre) / self.width
        return (scaled @ self.weights + self.bias).astype(np.float32)

    def probabilities(self, images: Float[np.ndarray, "n *spatial channel"]) -> Float[np.ndarray, "n *spatial classes"]:
        """float32 `[n, *spatial, classes]` of images `[n, *spatial, channel]`; they sum to 1."""
        from scipy.special import softmax

        return softmax(self.logits(images), axis=-1)


def fit_pixels(
    images: Float[np.ndarray, "n *spatial channel"],
    labels: Integer[np.ndarray, " n *spatial"],
    classes: int = 2,
    *,
    scales: Sequence[float] = SCALES,
    pixels: int = 20_000,
    seed: int = 0,
) -> PixelClassifier:
    """Fits a logistic regression of the class of a pixel on grey values, edges and blobs at several scales.

    The pixels are drawn from all images alike, without balancing the classes, which would spoil the probabilities.

    Args:
      images: `[n, *spatial, channel]` of the training split.
      labels: int `[n, *spatial]`.
      classes: how many there are; a class without a pixel among those drawn gets the probability 0.
      scales: standard deviations of the smoothing, in pixels.
      pixels: how many are drawn, or all where there are fewer.
      seed: of the draw.

    Raises:
      DataError: shapes that do not fit, a label outside the classes, or one class alone.
      ConfigError: no scale, one that is not above 0, or no pixel.

    >>> images = np.zeros((1, 8, 8, 1)); images[:, :, 4:] = 1
    >>> labels = images[..., 0].astype(int)
    >>> fit_pixels(images, labels, scales=(1,)).probabilities(images).argmax(-1)[0, 0].tolist()
    [0, 0, 0, 0, 1, 1, 1, 1]
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    images, labels = np.asarray(images), np.asarray(labels)
    if images.shape[:-1] != labels.shape:
        raise DataError(f"images are {images.shape}, labels {labels.shape}; expected a label for every pixel")
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise DataError(f"labels span {labels.min()} to {labels.max()}, expected 0 to {classes - 1}")
    if not scales or min(scales) <= 0 or pixels < 1:
        raise ConfigError(f"scales {tuple(scales)} and {pixels} pixels; expected scales above 0, and a pixel or more")
    drawn = np.sort(permutation(labels.size, seed)[:pixels])
    truth = labels.ravel()[drawn]
    present = np.unique(truth)
    if len(present) < 2:
        raise DataError(f"the {len(drawn)} pixels are all of class {present[0]}; expected two classes or more")
    rows = _drawn_features(images, tuple(scales), drawn)
    scaler = StandardScaler().fit(rows)
    fitted = LogisticRegression(max_iter=1000).fit(scaler.transform(rows), truth)
    two = len(present) == 2  # one row of weights then: the log-odds of the second class
    coefficients = np.concatenate([0 * fitted.coef_, fitted.coef_]) if two else fitted.coef_
    intercepts = np.concatenate([0 * fitted.intercept_, fitted.intercept_]) if two else fitted.intercept_
    weights, bias = np.zeros((rows.shape[1], classes)), np.full(classes, -1e4)
    weights[:, present], bias[present] = coefficients.T, intercepts
    return PixelClassifier(scaler.mean_, scaler.scale_, weights, bias, tuple(scales))


def features(
    images: Float[np.ndarray, "n *spatial channel"], scales: Sequence[float] = SCALES
) -> Float[np.ndarray, "n *spatial features"]:
    """What is known of each pixel: its values, and at each scale the smoothed value, its slope and its Laplacian.

    Slope and Laplacian are multiplied by the scale and its square, so that scales compare.

    Args:
      images: `[n, *spatial, channel]`.
      scales: standard deviations of the smoothing, in pixels.

    Returns:
      float32 `[n, *spatial, channel * (1 + 3 * scales)]`.
    """
    from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude, gaussian_laplace

    images = np.asarray(images, np.float32)
    axes, found = tuple(range(1, images.ndim - 1)), [images]
    for scale in scales:
        found.append(gaussian_filter(images, scale, axes=axes, mode="nearest"))
        for operator, power in ((gaussian_gradient_magnitude, 1), (gaussian_laplace, 2)):
            planes = [
                [operator(image[..., channel], scale, mode="nearest") for channel in range(images.shape[-1])]
                for image in images
            ]
            found.append(np.moveaxis(np.array(planes), 1, -1) * np.float32(scale**power))
    return np.concatenate(found, -1)


def _drawn_features(images: np.ndarray, scales: tuple[float, ...], drawn: np.ndarray) -> np.ndarray:
    """The features of some pixels, image by image: those of all pixels of a training set would not fit the memory."""
    size = int(np.prod(images.shape[1:-1]))
    rows = []
    for place in np.unique(drawn // size):
        inside = drawn[drawn // size == place] % size
        made = features(images[place : place + 1], scales)
        rows.append(made.reshape(size, -1)[inside])
    return np.concatenate(rows)
