"""Metrics and statistics: pure functions, sums and counts until the end."""

from hyperlab.metrics.metric import Metric

__all__ = ["Metric"]
