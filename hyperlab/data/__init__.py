"""Data: readers, splits and batches; the batch is a function of seed and step."""

from hyperlab.data.augmentation import Augmentation, augment, augment_batch
from hyperlab.data.datasets import load
from hyperlab.data.loaders import batch_indices, evaluation_batches
from hyperlab.data.splits import Split, Splits

__all__ = [
    "Augmentation",
    "Split",
    "Splits",
    "augment",
    "augment_batch",
    "batch_indices",
    "evaluation_batches",
    "load",
]
