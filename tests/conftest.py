"""Strict in tests, quiet in production: four CPU devices, rank promotion raises, warnings are errors."""

import atexit
import gc
import os
import shutil
import tempfile

# Compiling is most of what the tests take, and they run their programs a few times only. So XLA optimises little, and
# the workers and the processes that tests start share what was compiled. Whoever sets the first of them decides.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="compiled-for-tests-")
    os.environ |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("HYPERLAB_CACHE", "")  # tests leave no compiled programs in a user's home

import jax
import pytest

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
