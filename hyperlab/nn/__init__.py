"""Layers: Flax Linen modules and functions on channel-last arrays."""

from hyperlab.nn.buckets import Bucket, bucket_of, overhead, plan, plan_for
from hyperlab.nn.conv import Conv
from hyperlab.nn.cross_conv import conv_set, cross_conv, map_set, split_kernel
from hyperlab.nn.dense import Dense
from hyperlab.nn.dropout import Dropout
from hyperlab.nn.pool import max_pool
from hyperlab.nn.precision import computing_in
from hyperlab.nn.pyramid import Pyramid
from hyperlab.nn.resize import check_sizes, level_sizes, mask_canvas, resize_canvas, size_table, valid_region
from hyperlab.nn.set_mean import mean_over_set
from hyperlab.nn.spatial_transformer import (
    compose,
    folding,
    integrate,
    jacobian_determinant,
    resize_field,
    warp,
    warp_labels,
)
from hyperlab.nn.upsample import upsample_aligned

__all__ = [
    "Bucket",
    "Conv",
    "Dense",
    "Dropout",
    "Pyramid",
    "bucket_of",
    "check_sizes",
    "compose",
    "computing_in",
    "conv_set",
    "cross_conv",
    "folding",
    "integrate",
    "jacobian_determinant",
    "level_sizes",
    "map_set",
    "mask_canvas",
    "max_pool",
    "mean_over_set",
    "overhead",
    "plan",
    "plan_for",
    "resize_canvas",
    "resize_field",
    "size_table",
    "split_kernel",
    "upsample_aligned",
    "valid_region",
    "warp",
    "warp_labels",
]
