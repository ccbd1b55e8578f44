"""Configs of the rescaling study."""
