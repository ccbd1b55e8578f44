"""Configs of the in-context study."""
