"""Configs of the local SGD study."""
