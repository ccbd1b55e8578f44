"""A folder of scans, prepared for training on patches and read by windows: larger than memory, and back to the scan."""

from hyperlab.data.prepared.geometry import Placement
from hyperlab.data.prepared.normalisation import Channel
from hyperlab.data.prepared.patches import Patches
from hyperlab.data.prepared.preparing import prepare
from hyperlab.data.prepared.preprocessing import Preprocessing, backward, forward, forward_labels
from hyperlab.data.prepared.store import Store, StoredCase, open_store
from hyperlab.data.prepared.windowed import Windowed

__all__ = [
    "Channel",
    "Patches",
    "Placement",
    "Preprocessing",
    "Store",
    "StoredCase",
    "Windowed",
    "backward",
    "forward",
    "forward_labels",
    "open_store",
    "prepare",
]
