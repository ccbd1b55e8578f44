"""Models: Flax Linen networks, channel-last, returning logits."""

from hyperlab.models.classifiers import MLP, ConvNet
from hyperlab.models.film import FilmUNet
from hyperlab.models.unet import UNet, published_size

__all__ = ["MLP", "ConvNet", "FilmUNet", "UNet", "published_size"]
