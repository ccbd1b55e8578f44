"""One training over two processes, in a study that knows nothing of it: units once, and the numbers of one process."""

import sys

import numpy as np
import pytest
from benchmark_modules import benchmark
from short_studies import starts, units

from hyperlab.train import distributed

SHORTER = {"report_seeds": 1, "arms": ("stochastic",), "train_length": "6 steps"}


def run(folder, processes, *words):
    given = [f"--config.{key}={value}" for key, value in {**benchmark("faults").SHORT["rescaling"], **SHORTER}.items()]
    command = [sys.executable, "-m", "experiments.rescaling", *given, *words, "--workdir", str(folder)]
    done = distributed.launch_local(command, processes, timeout=200)
    assert [one.returncode for one in done] == [0] * processes, [one.stderr[-2000:] for one in done]
    return units(folder)


@pytest.mark.slow
def test_a_training_that_spans_two_processes_gives_what_one_gives(tmp_path):
    alone = run(tmp_path / "alone", 1)
    spread = run(tmp_path / "spread", 2, "--config.distributed=True", "--config.devices.across=True")
    assert spread.keys() == alone.keys()
    for name in alone:
        for key in alone[name]:
            if alone[name][key].dtype.kind == "f":
                # sums over a batch are those of two halves: the same to rounding, and Adam turns rounding into steps
                np.testing.assert_allclose(spread[name][key], alone[name][key], rtol=2e-2, atol=2e-2, err_msg=key)
            else:
                np.testing.assert_array_equal(spread[name][key], alone[name][key], err_msg=key)
        if "curve/loss" in alone[name]:
            np.testing.assert_allclose(spread[name]["curve/loss"][:2], alone[name]["curve/loss"][:2], rtol=1e-5)
    assert (tmp_path / "spread" / "report.html").exists()
    (only,) = starts(tmp_path / "spread")
    assert only["exit_reason"] == "finished"
