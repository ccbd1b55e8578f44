"""Models: Flax Linen networks, channel-last, returning logits."""

from hyperlab.models.classifiers import MLP, ConvNet
from hyperlab.models.film import FilmUNet
from hyperlab.models.unet import UNet, published_size
from hyperlab.models.voxelmorph import Registration, VoxelMorph

__all__ = ["MLP", "ConvNet", "FilmUNet", "Registration", "UNet", "VoxelMorph", "published_size"]
