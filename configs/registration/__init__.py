"""Configs of the registration study."""
