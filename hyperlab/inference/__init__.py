"""A function of small images applied to large ones: sliding windows, and sizes that a network can take."""

from hyperlab.inference.tiles import multiple_of, starts, tiled, window_weights

__all__ = ["multiple_of", "starts", "tiled", "window_weights"]
