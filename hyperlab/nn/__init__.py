"""Layers: Flax Linen modules and functions on channel-last arrays."""

from hyperlab.nn.buckets import Bucket, bucket_of, overhead, plan
from hyperlab.nn.conv import Conv
from hyperlab.nn.pool import max_pool
from hyperlab.nn.resize import check_sizes, level_sizes, mask_canvas, resize_canvas, valid_region
from hyperlab.nn.spatial_transformer import (
    compose,
    folding,
    integrate,
    jacobian_determinant,
    resize_field,
    warp,
    warp_labels,
)

__all__ = [
    "Bucket",
    "Conv",
    "bucket_of",
    "check_sizes",
    "compose",
    "folding",
    "integrate",
    "jacobian_determinant",
    "level_sizes",
    "mask_canvas",
    "max_pool",
    "overhead",
    "plan",
    "resize_canvas",
    "resize_field",
    "valid_region",
    "warp",
    "warp_labels",
]
