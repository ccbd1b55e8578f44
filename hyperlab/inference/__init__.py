"""Networks used on files: sliding windows, and what lies between a scan and a network, there and back."""

from hyperlab.inference.tiles import multiple_of, starts, tiled, tiled_rows, window_weights

__all__ = ["multiple_of", "starts", "tiled", "tiled_rows", "window_weights"]
