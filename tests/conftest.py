"""Strict in tests, quiet in production: four CPU devices, rank promotion raises, warnings are errors."""

import jax

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_platforms", "cpu")
