"""Models: Flax Linen networks, channel-last, returning logits."""

from hyperlab.models.cifar_resnet import CifarResNet
from hyperlab.models.classifiers import MLP, ConvNet
from hyperlab.models.dropout_unet import DropoutUNet
from hyperlab.models.film import FilmUNet
from hyperlab.models.lenet import LeNet300100, MnistNet
from hyperlab.models.receptive import receptive_field
from hyperlab.models.resnet import ResNet
from hyperlab.models.tyche import Tyche
from hyperlab.models.unet import UNet, published_size
from hyperlab.models.universeg import UniverSeg
from hyperlab.models.vgg import CifarVGG
from hyperlab.models.voxelmorph import Registration, VoxelMorph

__all__ = [
    "MLP",
    "CifarResNet",
    "CifarVGG",
    "ConvNet",
    "DropoutUNet",
    "FilmUNet",
    "LeNet300100",
    "MnistNet",
    "Registration",
    "ResNet",
    "Tyche",
    "UNet",
    "UniverSeg",
    "VoxelMorph",
    "published_size",
    "receptive_field",
]
