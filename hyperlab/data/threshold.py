"""The threshold of Otsu: the simplest segmentation of bright objects, the floor under every network."""

import numpy as np


def otsu_threshold(image: np.ndarray, bins: int = 256) -> float:
    """The grey value that splits the histogram into two parts with the largest variance between their means.

    Of a constant image it is the middle of the range. (Otsu, 1979, "A threshold selection method from gray-level
    histograms", doi 10.1109/TSMC.1979.4310076.)

    Args:
      image: values in 0..1, of any shape; values outside do not count.
      bins: of the histogram.

    >>> 0.2 < otsu_threshold(np.array([0.1, 0.2, 0.8, 0.9])) < 0.8
    True
    """
    counts, edges = np.histogram(image, bins=bins, range=(0.0, 1.0))
    centres, below = (edges[:-1] + edges[1:]) / 2, np.cumsum(counts)
    above, total = below[-1] - below, np.cumsum(counts * centres)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (total / below - (total[-1] - total) / above) ** 2
    between[(below == 0) | (above == 0)] = -1
    # Of equally good edges the one in the middle: between two clusters they all are.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12)) if between.max() > 0 else np.array([bins // 2])
    return float(edges[1:][best[len(best) // 2]])
