"""Hypernetworks: from a conditioning input to the parameters of another network."""
