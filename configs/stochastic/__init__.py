"""Configs of the stochastic study."""
