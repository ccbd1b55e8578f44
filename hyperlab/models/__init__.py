"""Models: Flax Linen networks, channel-last, returning logits."""

from hyperlab.models.classifiers import MLP, ConvNet

__all__ = ["MLP", "ConvNet"]
