"""A set in files and its augmentation, in a module of its own: worker processes have to import it by name."""

import os

import numpy as np


class Files:
    """Stands for a set in files: example `i` holds its own number."""

    def __init__(self, n=10, broken=None, dies=None):
        self.n, self.broken, self.dies = n, broken, dies

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if i == self.broken:
            raise OSError(f"cannot read image {i}")
        if i == self.dies:
            os._exit(7)
        return {"images": np.full((2, 2), i, np.float32), "index": np.int32(i)}


def augment(example, generator):
    return example | {"drawn": generator.integers(0, 2**40, 2)}
