"""Layers: Flax Linen modules and functions on channel-last arrays."""

from hyperlab.nn.buckets import Bucket, bucket_of, overhead, plan
from hyperlab.nn.conv import Conv
from hyperlab.nn.pool import max_pool
from hyperlab.nn.resize import check_sizes, level_sizes, mask_canvas, resize_canvas, valid_region

__all__ = [
    "Bucket",
    "Conv",
    "bucket_of",
    "check_sizes",
    "level_sizes",
    "mask_canvas",
    "max_pool",
    "overhead",
    "plan",
    "resize_canvas",
    "valid_region",
]
