"""Metrics and statistics: pure functions, sums and counts until the end."""
