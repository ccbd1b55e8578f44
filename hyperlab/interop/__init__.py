"""Checkpoints of other libraries in, frozen models out."""
