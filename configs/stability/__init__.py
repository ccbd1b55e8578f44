"""Configs of the stability study."""
