"""Strict in tests, quiet in production: four CPU devices, rank promotion raises, warnings are errors."""

import atexit
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Compiling is most of what the tests take, and they run their programs a few times only. So XLA optimises little, and
# the workers and the processes that tests start share what was compiled. Whoever sets the first of them decides.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="compiled-for-tests-")
    os.environ |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("HYPERLAB_CACHE", "")  # tests leave no compiled programs in a user's home

import jax
import psutil
import pytest


def known(flags):
    """Whether the installed XLA has these flags: one that it does not have ends the process."""
    parse = "from jaxlib import xla_client; xla_client.CompileOptions().executable_build_options.debug_options"
    environment = {**os.environ, "XLA_FLAGS": flags}
    return subprocess.run([sys.executable, "-c", parse], env=environment, capture_output=True).returncode == 0


# The newer emitters of fusions take most of a compilation on a CPU: without them a training step of a U-Net compiles in
# a quarter of the time, a single operation in half of it.
FLAGS = os.environ.get("XLA_FLAGS", "")
if "xla_cpu_use_fusion_emitters" not in FLAGS and known(flags := f"{FLAGS} --xla_cpu_use_fusion_emitters=false"):
    os.environ["XLA_FLAGS"] = flags
# Tracing makes objects by the hundred thousand, few of them in circles, and each collection asks XLA as well.
gc.set_threshold(50_000)

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_platforms", "cpu")


def pytest_configure(config):
    """Workers take files in the order of collection, not those with the most tests first; what is slow is not fast."""
    config.option.loadscopereorder = False
    if config.option.markexpr == "fast":  # a mark of a whole file, in which one test may be slow
        config.option.markexpr = "fast and not slow"


def pytest_collection_modifyitems(items):
    """Files with long tests go first, so that all workers end together."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="module", autouse=True)
def programs_go_when_there_are_many():
    """Modules share the small programs, but they take memory, and mappings, of which Linux grants a process 65,530."""
    yield
    gc.collect()
    if psutil.Process().memory_info().rss > 2.5 * 2**30 or mappings() > 30_000:
        jax.clear_caches()


def mappings():
    known = Path("/proc/self/maps")
    return known.read_bytes().count(b"\n") if known.exists() else 0
