"""Strict in tests, quiet in production: four CPU devices, rank promotion raises, warnings are errors."""

import gc
import os

import jax
import pytest

os.environ.setdefault("HYPERLAB_CACHE", "")  # tests leave no compiled programs in a user's home
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_platforms", "cpu")


@pytest.fixture(scope="module", autouse=True)
def programs_go_with_their_module():
    """Every compiled program takes memory mappings, of which a process has 65,530 on Linux."""
    yield
    gc.collect()
    jax.clear_caches()
