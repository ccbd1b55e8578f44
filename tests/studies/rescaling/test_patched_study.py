"""The rescaling study on patches of a prepared set: from scans to a network whose predictions are what was measured."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from segmentation_files import blob, nifti, write_json
from short_studies import StopAfter

import hyperlab as hl
from hyperlab import launch
from hyperlab.cli import predict
from hyperlab.data.prepared import prepare
from hyperlab.errors import ConfigError, DataError
from hyperlab.studies.rescaling.study import Rescaling
from hyperlab.train.phases import REPORT

SHAPE = (16, 9, 14)
SHORT = {"arms": "('fixed', 'stochastic')", "contrasts": "('stochastic - fixed',)", "factors": "(0.5,)",
         "front": "(0.5,)", "outside": "()", "rates": "(0.01,)", "tuning_seeds": "1", "report_seeds": "1",
         "widenings": "0", "train_length": "8 steps", "batch_size": "4", "primary.widths": "(3, 4)", "programs": "1",
         "evaluation_batch": "3", "rescale_input": "False", "workers": "1"}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A set of ten volumes, some of another spacing than most, and its store."""
    folder = tmp_path_factory.mktemp("patched_study")
    for case in range(10):
        image, mask = blob(case, SHAPE)
        affine = np.diag([1.0, 2.0, 1.5 if case % 3 == 0 else 1.0, 1.0])
        nifti(folder / "set" / "imagesTr" / f"c{case}_0000.nii.gz", image.astype(np.float32) + 1, affine)
        nifti(folder / "set" / "labelsTr" / f"c{case}.nii.gz", mask, affine)
    labels = {"background": 0, "left": 1, "right": 2}
    write_json(folder / "set" / "dataset.json", {"channel_names": {"0": "T1"}, "labels": labels, "numTraining": 10,
                                                 "file_ending": ".nii.gz"})  # fmt: skip
    prepare(folder / "set", folder / "store")
    return folder


def config(root, size, **more):
    given = {**SHORT, "data.name": "store", "data.root": root / "store", "data.size": size, **more}
    return launch.parse("rescaling", [f"--config.{key}={value}" for key, value in given.items()])[1]


def on_scans(run, seed):
    """Dice on the scans of the stochastic network, as the study measured it: `{case: [classes]}`."""
    table = pd.read_csv(run / "per_case.csv")
    rows = table[(table.metric == "dice_on_scan") & table.run.str.startswith("stochastic/")]
    return {case: part.value.to_numpy() for case, part in rows.groupby("case", sort=False)}


@pytest.mark.slow
@pytest.mark.parametrize("size", [(8, 8), (8, 6, 8)], ids=["planes", "volumes"])
def test_what_is_measured_is_what_predict_delivers(root, size, tmp_path, capsys):
    run = hl.run(config(root, str(size)), tmp_path / "run")
    assert json.loads((run / "preprocessing.json").read_text())["size"] == list(size)
    measured = on_scans(run, 100)
    assert len(measured) == 2  # test cases
    said = ["--images", root / "set" / "imagesTr", "--labels", root / "set" / "labelsTr", "--out", tmp_path / "out"]
    words = [str(run), "--arm", "stochastic", "--phi", "0.5", *map(str, said), "--probabilities"]
    assert predict.main(words) == 0
    delivered = pd.read_csv(tmp_path / "out" / "per_case.csv")
    for case, dice in measured.items():
        rows = delivered[delivered.case == case].value.to_numpy()
        np.testing.assert_allclose(rows, dice, atol=2e-3, err_msg=case)  # a voxel or two may be ties of rounding
        probabilities = np.load(tmp_path / "out" / "probabilities" / f"{case}.npy")
        assert probabilities.shape == (*SHAPE, 3)
        np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    network = hl.load_network(run, arm="stochastic", phi=0.5)
    assert network.card.test_dice["subjects"] == 2
    assert "measured on 2 test subjects" in (run / "report.html").read_text()


def test_a_training_on_patches_is_the_same_however_it_is_cut(root, tmp_path):
    """Saved in the middle, and read by processes in place of threads: bitwise the same network."""
    found = []
    for name, stop, more in (
        ("straight", None, {}),
        ("cut", 7, {"data.reader_processes": 1}),
    ):
        given = config(root, "(8, 8)", arms="('stochastic',)", contrasts="()", **more)
        (tmp_path / name).mkdir()
        folder = SimpleNamespace(path=tmp_path / name, checkpoints=tmp_path / name / "saves", mark=lambda _: None)
        for looks in (stop, 10**9) if stop else (10**9,):
            study = Rescaling(given, Rescaling.load(given, tmp_path), folder, StopAfter(looks))
            measured = study.train(study.cells()[0], 0.01, 100, REPORT)
        assert np.isfinite(measured["curve/loss"]).all()
        found.append(measured)
    assert study.trained_steps < 8  # it went on from where it was
    for key, values in found[0].items():
        np.testing.assert_array_equal(values, found[1][key], err_msg=key)


def test_settings_that_cannot_be_are_refused_before_anything_is_read(root, tmp_path):
    for key, value, said in (
        ("augmentation.flips", "(2,)", r"augmentation.flips is \(2,\), expected axes from 0 to 1"),
        ("augmentation.rotation", "-1.0", "rotation is -1.0, expected 0 to 180"),
        ("data.foreground", "1.5", "data.foreground is 1.5, expected a share from 0 to 1"),
    ):
        with pytest.raises(ConfigError, match=said):
            hl.run(config(root, "(8, 8)", **{key: value}), tmp_path / key)
    with pytest.raises(DataError, match="data.root is empty; name the folder that hyperlab prepare wrote"):
        hl.run(config(root, "(8, 8)", **{"data.root": ""}), tmp_path / "none")
    with pytest.raises(ConfigError, match=r"unknown config key 'augmentation.rotations'.*did you mean"):
        config(root, "(8, 8)", **{"augmentation.rotations": "3"})


@pytest.mark.slow
def test_a_damaged_case_is_named_and_the_run_goes_on_when_it_is_mended(root, tmp_path):
    shutil.copytree(root / "store", tmp_path / "store")
    given = config(root, "(8, 8)", arms="('stochastic',)", contrasts="()", **{"data.root": tmp_path / "store"})
    chunk = max((tmp_path / "store").glob("cases-*/000000/image/**/*"), key=lambda path: path.stat().st_size)
    content = chunk.read_bytes()
    chunk.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="case c0 is damaged"):
        hl.run(given, tmp_path / "run")
    chunk.write_bytes(content)
    run = hl.run(given, tmp_path / "run")
    assert (run / "report.html").exists()
