"""What has to hold where there is an accelerator: `pytest -m gpu`. Studies run on it in processes of their own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmark_modules import benchmark
from short_studies import units

PLATFORM = os.environ.get("HYPERLAB_TEST_PLATFORM", "cuda")  # `cpu` tries the tests themselves
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(PLATFORM == "cuda" and shutil.which("nvidia-smi") is None, reason="no GPU here"),
]
STUDIES = ("stability", "rescaling", "registration", "in_context", "stochastic", "pruning", "local_sgd", "uncertainty")
ROOT = Path(__file__).parents[2]


def run(study, folder, *words, platform=PLATFORM):
    given = [f"--config.{key}={value}" for key, value in benchmark("faults").SHORT[study].items()]
    command = [sys.executable, "-m", f"experiments.{study}", *given, *words, "--workdir", str(folder)]
    environment = {**os.environ, "JAX_PLATFORMS": platform, "JAX_DISABLE_MOST_OPTIMIZATIONS": "false"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return units(folder)


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_runs_to_its_page_and_says_where(study, tmp_path):
    run(study, tmp_path / "run")
    notes = json.loads((tmp_path / "run" / "run.json").read_text())
    assert PLATFORM in json.dumps(notes).lower()
    assert (tmp_path / "run" / "report.html").exists()
    assert len(pd.read_csv(tmp_path / "run" / "results.csv")) > 0


def test_losses_are_those_of_the_processor(tmp_path):
    accelerated, plain = run("rescaling", tmp_path / "one"), run("rescaling", tmp_path / "other", platform="cpu")
    assert accelerated.keys() == plain.keys()
    for name, found in plain.items():
        if "curve/loss" in found:
            np.testing.assert_allclose(accelerated[name]["curve/loss"][:5], found["curve/loss"][:5], rtol=2e-3)


def test_bfloat16_trains_to_about_the_same_losses(tmp_path):
    narrow = run("rescaling", tmp_path / "narrow", "--config.precision=bfloat16")
    wide = run("rescaling", tmp_path / "wide")
    for name, found in wide.items():
        if "curve/loss" in found:
            np.testing.assert_allclose(narrow[name]["curve/loss"], found["curve/loss"], atol=0.1)
