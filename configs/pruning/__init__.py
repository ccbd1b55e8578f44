"""Configs of the pruning study."""
