"""Models: Flax Linen networks, channel-last, returning logits."""

from hyperlab.models.classifiers import MLP, ConvNet
from hyperlab.models.film import FilmUNet
from hyperlab.models.tyche import Tyche
from hyperlab.models.unet import UNet, published_size
from hyperlab.models.universeg import UniverSeg
from hyperlab.models.voxelmorph import Registration, VoxelMorph

__all__ = ["MLP", "ConvNet", "FilmUNet", "Registration", "Tyche", "UNet", "UniverSeg", "VoxelMorph", "published_size"]
