"""A training on image files: the whole way from a folder to a checkpoint, and the same numbers however it is cut."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

import hyperlab as hl
from hyperlab import launch
from hyperlab.data.readers.image_folder import centre_view, crop_box, list_images, random_view
from hyperlab.errors import ConfigError, DataError
from hyperlab.studies.local_sgd import Cell, schedules
from hyperlab.studies.local_sgd.study import LocalSGD
from hyperlab.tasks import image_folder, load
from hyperlab.train.phases import REPORT

CLASSES = ("ant", "bee", "cat")
SMALL = {
    "network.kind": "cifar_resnet",
    "network.depth": 8,
    "network.width": 0.25,
    "folder.size": 16,
    "folder.validation": 0.25,
    "folder.threads": 2,
    "replicas": (2,),
    "periods": (2,),
    "batch_size": 4,
    "length": "12 steps",
    "curve_points": 1,
    "evaluation_batch": 4,
    "single.save_rounds": 1,
}


def paint(folder, split, count, classes=CLASSES):
    """JPEG files of one colour a class, with noise, of several sizes."""
    random = np.random.default_rng(len(split))
    for label, name in enumerate(classes):
        (folder / split / name).mkdir(parents=True)
        for index in range(count):
            pixels = random.integers(0, 60, (30 + index, 40, 3), np.uint8)
            pixels[..., label] += 180
            Image.fromarray(pixels).save(folder / split / name / f"{index:02}.JPEG", quality=95)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("images")
    paint(path, "train", 8)
    paint(path, "val", 3)
    Image.new("L", (40, 40)).save(path / "val" / "ant" / "grey.png")
    return path


def small(folder, **changes):
    config = launch.config_module("configs/local_sgd/imagenet_resnet50.py").get_config()
    for key, value in {**SMALL, "data.root": folder, **changes}.items():
        launch.override(config, key, str(value))
    return config


@pytest.mark.slow
def test_the_config_trains_on_files_and_checkpoints(folder, tmp_path, capsys):
    run = hl.run(small(folder), tmp_path / "run")
    said = capsys.readouterr().out
    assert re.search(r"expected: .* s a step of 2 replicas with reading .* 6 steps left: 0.00 h", said)
    assert {"2", "4", "6"} <= {path.name for path in (run / "checkpoints-2").iterdir()}
    start = json.loads((run / "run.json").read_text())["starts"][-1]
    assert 0 <= start["test_accuracy"] <= 1 and start["segments"] == [[0, 2]]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(row["loss"]) for row in rows if "loss" in row)


def test_the_study_trains_on_files_too(folder, tmp_path):
    config = small(folder, **{"network.kind": "lenet_300_100", "network.width": 0.05, "length": "2 steps", "trials": 1})
    run = SimpleNamespace(path=tmp_path, checkpoints=tmp_path / "checkpoints", mark=lambda _: None)
    study = LocalSGD(config, load(config, tmp_path), run, SimpleNamespace(requested=False))
    found = study.train(Cell("local", 2, 2), 0, 100, REPORT)
    assert found["test/accuracy"].shape == (10,) and found["validation/accuracy"].shape == (6,) and found["finite"]
    config.data.partition.kind = "shards"
    with pytest.raises(ConfigError, match="holds no examples with classes"):
        LocalSGD.load(config, tmp_path)


@pytest.mark.parametrize("processes", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_file_that_is_damaged_is_named_in_the_middle_and_the_run_goes_on_when_it_is_mended(processes, tmp_path):
    root = tmp_path / "images"
    paint(root, "train", 8)
    paint(root, "val", 3)
    changes = {"network.kind": "lenet_300_100", "network.width": 0.05, "trials": 1, "data.reader_processes": processes}

    def study(name):
        config = small(root, **changes)
        (tmp_path / name).mkdir(exist_ok=True)
        run = SimpleNamespace(path=tmp_path / name, checkpoints=tmp_path / name / "checkpoints", mark=lambda _: None)
        return LocalSGD(config, load(config, tmp_path), run, SimpleNamespace(requested=False))

    def train(study):
        return study.train(Cell("local", 2, 2), 0, 100, REPORT)

    straight, damaged = train(study("straight")), study("damaged")
    seen = [set(rows.ravel().tolist()) for rows in damaged.indices(2, 100)["rows"]]
    needed = {row: min(at for at, rows in enumerate(seen) if row in rows) for row in set().union(*seen)}
    row, step = max(needed.items(), key=lambda item: item[1])
    assert step > 0
    path = Path(damaged.task.parts["train"].paths[row])
    content = path.read_bytes()
    path.write_bytes(content[:150])
    with pytest.raises(DataError, match=rf"{path.parent.name}/{path.name} is truncated or damaged"):
        train(damaged)
    assert not list((tmp_path / "damaged" / "units").glob("local*"))
    path.write_bytes(content)
    mended = study("damaged")
    for key, values in train(mended).items():
        np.testing.assert_array_equal(values, straight[key], err_msg=key)
    assert mended.trained_steps == len(seen) - step  # what came before was saved


def test_what_a_step_sees_is_a_function_of_seed_and_step(folder):
    task = load(small(folder), folder)
    assert task.sizes == {"train": 18, "validation": 6, "test": 10} and task.architecture == "cifar_resnet-8 x0.25"
    indices = task.indices(0, 3)
    images, labels = task.read(indices)
    assert images.shape == (4, 16, 16, 3) and images.dtype == np.uint8
    # colours say the class, so images and labels belong together
    np.testing.assert_array_equal(images.mean((1, 2)).argmax(-1), labels)
    again = load(small(folder), folder).read(task.indices(0, 3))
    np.testing.assert_array_equal(images, again[0])
    other = task.read({**indices, "draws": task.indices(1, 3)["draws"]})
    assert (other[0] != images).any() and (other[1] == labels).all()
    # a leading axis of replicas is no more than several batches
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), indices, task.indices(0, 4))
    both, _ = task.read(stacked)
    np.testing.assert_array_equal(both[0], images)
    still = load(small(folder, augment=False), folder)
    assert (still.read(indices)[0] == still.read(task.indices(0, 3))[0]).all()


def test_the_validation_split_is_a_share_of_each_class_and_the_fingerprint_one_of_names(folder, tmp_path):
    task = load(small(folder), folder)
    assert np.bincount(task.parts["validation"].labels).tolist() == [2, 2, 2]
    assert not set(task.parts["validation"].paths) & set(task.parts["train"].paths)
    assert load(small(folder, **{"data.limit": 6}), folder).sizes == {"train": 6, "validation": 6, "test": 6}
    paint(tmp_path, "train", 8)
    paint(tmp_path, "val", 3)
    first = load(small(tmp_path), tmp_path).fingerprint
    (tmp_path / "val" / "ant" / "00.JPEG").write_bytes(b"another file of that name")
    assert load(small(tmp_path), tmp_path).fingerprint == first != task.fingerprint


@pytest.mark.fast
def test_views_are_where_they_should_be():
    ramp = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8)[:, None, None], (1, 128, 3)))
    middle = centre_view(28)(ramp)
    assert middle.shape == (28, 28, 3) and (middle[:, 0] == middle[:, -1]).all()
    # 28 of 32 rows of the image at half its size
    np.testing.assert_allclose(middle[:, 0, 0], 4 + 2 * np.arange(28) + 0.5, atol=1)
    draws = np.random.default_rng(0).random((200, 10, 4))
    boxes = np.array([crop_box(100, 60, one) for one in draws])
    across, down = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert boxes.min() >= 0 and boxes[:, 2].max() <= 100 and boxes[:, 3].max() <= 60
    assert (across * down >= 0.07 * 6000).all() and ((across / down > 0.7) & (across / down < 1.42)).all()
    # nothing fits in a strip: the largest part in its middle
    assert crop_box(1000, 10, draws[0]) == (493, 0, 506, 10)
    mirrored = {tuple(random_view(2, draw)(ramp.rotate(90, expand=True))[0, :, 0].argsort()) for draw in range(8)}
    assert mirrored == {(0, 1), (1, 0)}


def test_broken_files_and_folders_are_named(folder, tmp_path):
    broken = tmp_path / "broken"
    paint(broken, "train", 4)
    paint(broken, "val", 1)
    path = broken / "train" / "bee" / "01.JPEG"
    path.write_bytes(path.read_bytes()[:200])
    task = load(small(broken, **{"folder.validation": 0.1}), broken)
    with pytest.raises(DataError, match="bee/01.JPEG is truncated or damaged .* start again: a training continues"):
        for step in range(4):
            task.read(task.indices(0, step))
    for name, message in [("val/bees", "unknown class 'bees'.*'bee'"), ("train/dog", "holds no images")]:
        (broken / name).mkdir()
        with pytest.raises(DataError, match=message):
            load(small(broken), broken)
        (broken / name).rmdir()
    with pytest.raises(DataError, match="is not a folder"):
        list_images(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no folders"):
        list_images(folder / "train" / "ant")
    for changes, message in [
        ({"data.root": ""}, "needs data.root"),
        ({"folder.validation": 1.0}, "a share between 0 and 1"),
    ]:
        with pytest.raises(ConfigError, match=message):
            load(small(folder, **changes), folder)
    bare = small(folder)
    del bare["folder"]
    with pytest.raises(ConfigError, match="no settings `folder`"):
        image_folder.load(bare)


def test_the_schedule_is_that_of_the_paper():
    """90 epochs of 10 updates: a warm-up of 5 from the rate of a batch of 256 to four times as much, then tenths."""
    config = launch.config_module("configs/local_sgd/imagenet_resnet50.py").get_config()
    factor = schedules.of(config, schedules.scale(1024, 256)).factor(900)
    found = [float(factor(update)) for update in (0, 25, 50, 299, 300, 599, 600, 799, 800, 899)]
    np.testing.assert_allclose(found, [0.25, 0.625, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001], rtol=1e-5)
    config.decay_at = (0.5, 0.2)
    with pytest.raises(ConfigError, match="rising shares"):
        schedules.of(config).factor(10)
    config.optimizer.schedule = "stairs"
    with pytest.raises(ConfigError, match="'steps'"):
        schedules.of(config).factor(10)
