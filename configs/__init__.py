"""Configs: one folder a study."""
