"""Inputs that make no sense, for the campaigns of `faults.py`: what was given, and a call that has to refuse it.

Each function yields `(what, call, accepts)`. The call has to end in one of hyperlab's own errors; where `accepts` is
true, an answer is as good, since some damage leaves a file valid.
"""

import io
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import hyperlab as hl
from hyperlab import interop, launch, pruning, uncertainty
from hyperlab.data.readers.idx import read_idx
from hyperlab.data.readers.images import depth_of, read_image, read_mask
from hyperlab.data.readers.scan import read_labels, read_npz, read_scan
from hyperlab.studies import studies
from hyperlab.train import config as configs
from hyperlab.train.checkpoints import load_variables, save_variables
from hyperlab.uncertainty import calibration, moments

Input = tuple[str, Callable[[], Any], bool]
WORST = (float("nan"), float("inf"), -1, 0, 2**70, "", "nonsense", (), (-1,), None, True, {})


def damaged_files(folder: Path, draw: random.Random, each: int) -> Iterator[Input]:
    """Random damage to a valid file of every format, given to every reader of it."""
    for name, content, readers in _valid_files():
        for number in range(each):
            path = folder / name
            for reader in readers:
                damaged = _damaged(content, draw)

                def call(path=path, reader=reader, damaged=damaged):
                    path.write_bytes(damaged)
                    return reader(path)

                yield f"{name}, damage {number}, {reader.__name__}", call, True


def settings() -> Iterator[Input]:
    """Every key of every study, given values that no key or few keys can have."""
    for study in sorted(studies()):
        defaults = launch.load_study(study).get_config()
        for key, default in configs.flat(defaults).items():
            for value in WORST:
                if type(value) is type(default) and value == default or value == {} and isinstance(default, ConfigDict):
                    continue  # the default itself, or an empty group where one may be empty

                def call(study=study, key=key, value=value):
                    config = launch.load_study(study).get_config()
                    *groups, last = key.split(".")
                    owner = config
                    for group in groups:
                        owner = owner[group]
                    with config.unlocked(), owner.ignore_type():
                        owner[last] = value
                    launch.check(config)

                # some keys take zero, any text or tuple, True, or however large a number
                possible = value in (0, True, -1) or isinstance(value, str | tuple) or isinstance(default, float)
                yield f"{study}: {key}={value!r}", call, possible


def calls() -> Iterator[Input]:
    """Python calls with values that make no sense."""
    x, key = jnp.ones((4, 8)), jax.random.key(0)
    options = [
        {"gamma_dim": {}}, {"gamma_dim": 0}, {"gamma_dim": {1: 1}}, {"hidden": 16}, {"hidden": (0,)},
        {"encoding": "fourier:0"}, {"encoding": "nothing"}, {"head": "chunked:1.5"}, {"head": "low_rank:-2"},
        {"gamma_range": 3}, {"gamma_range": (1.0, 0.0)}, {"select": "nothing/**"}, {"parametrization": "scaled:x"},
        {"gamma_dim": {"a": 1}, "gamma_range": {"b": (0.0, 1.0)}}, {"initializer": "none"}, {"activation": "none"},
    ]  # fmt: skip
    for given in options:
        yield f"hypernetize {given}", lambda given=given: hl.hypernetize(nn.Dense(3), x, **given), False
    model = hl.hypernetize(nn.Dense(3), x, gamma_dim=2, hidden=(4,))
    variables = model.init(key)
    for gamma in (None, "x", [0.5], jnp.array([0.5, 1.5]), jnp.array([np.nan, 0.5]), {"a": 1.0}, jnp.ones((2, 2))):
        yield f"apply, gamma {gamma}", lambda gamma=gamma: model.apply(variables, gamma, x), False
    for given in ({}, None, {"params": {}}, {"params": {"hypernet": {}}}, [1]):
        yield f"apply, variables {given}", lambda given=given: model.apply(given, jnp.ones(2) / 2, x), False
    layer = {"c": {"kernel": np.ones((4, 4))}}
    for given in (0.5, float("nan"), -1, float("inf"), "much"):
        yield f"masks, compression {given}", lambda given=given: pruning.masks("global_magnitude", layer, given), False
    for given in ({"c": {"kernel": np.array([["a"]])}}, {}, {"c": {"kernel": np.ones((4, 4)) * np.nan}}):
        yield f"masks of {given}", lambda given=given: pruning.masks("global_magnitude", given, 2), False

    def sampler(key, images):
        return images + jax.random.normal(key, ())

    images = jnp.ones((1, 4, 4, 1))
    for given in (1, 2.5, "3", None, True, -4):
        yield f"sample T={given!r}", lambda given=given: uncertainty.sample(sampler, key, images, given), False
    for given in (0.0, -1.0, float("nan"), "warm"):
        yield f"temperature {given!r}", lambda given=given: moments.probabilities(images, given), False
    half, zeros = np.full((2, 4, 4, 2), 0.5), np.zeros((2, 4, 4), int)
    for what, p, labels in (
        ("class 7 of 2", half, zeros + 7), ("class -1", half, zeros - 1), ("labels of .5", half, zeros + 0.5),
        ("sums of 10", half * 10, zeros), ("other shapes", half, zeros[:1]),
    ):  # fmt: skip
        yield what, lambda p=p, labels=labels: calibration.calibration_table(p, labels, {"all": None}), False


def weights(folder: Path, draw: random.Random, each: int) -> Iterator[Input]:
    """Damaged files of parameters, and state dicts that are none."""
    save_variables(folder / "theta.npz", {"conv": {"kernel": np.ones((3, 3)), "bias": np.zeros(3)}})
    content = (folder / "theta.npz").read_bytes()
    for number in range(each):
        damaged = _damaged(content, draw)

        def call(damaged=damaged):
            (folder / "theta.npz").write_bytes(damaged)
            return load_variables(folder / "theta.npz")

        yield f"theta.npz, damage {number}", call, True
    converters = (interop.universeg_from_torch, interop.tyche_from_torch, interop.classifier_from_torch)
    for convert in converters:
        for given in ([1], 3, None, {}, {0: np.ones(2)}, {"w": "text"}, {"model": {"w": np.ones(2) * 1j}}):
            yield f"{convert.__name__}({given!r})", lambda convert=convert, given=given: convert(given), False


def records(folder: Path) -> Iterator[Input]:
    """Strange records of runs under one root: the others are read all the same."""
    good = folder / "good"
    good.mkdir()
    strange = [
        "",
        "null",
        "[]",
        "3",
        '{"starts": 3}',
        '{"starts": [1]}',
        "{",
        '{"starts": [{"started": []}]}',
        "\x00\xff",
    ]
    for number, text in enumerate(strange):
        for name in ("run.json", "config.json"):
            run = folder / f"run{number}-{name}"
            run.mkdir()
            (run / "config.json").write_text(json.dumps({"study": "stability"}))
            (run / "run.json").write_text(json.dumps({"starts": []}))
            (run / name).write_text(text)
            yield f"{name} of {text!r}", lambda: hl.results(folder), True


def _valid_files() -> Iterator[tuple[str, bytes, tuple[Callable, ...]]]:
    import nibabel
    import tifffile
    from PIL import Image

    grey = np.random.default_rng(0).integers(0, 4, (20, 24), np.uint8)
    pictures = (read_image, read_mask, depth_of, read_scan)

    def written(write: Callable[[io.BytesIO], Any]) -> bytes:
        file = io.BytesIO()
        write(file)
        return file.getvalue()

    for kind in ("png", "bmp"):
        yield f"a.{kind}", written(lambda f, kind=kind: Image.fromarray(grey).save(f, format=kind)), pictures
    yield "a.jpg", written(lambda f: Image.fromarray(grey).save(f, format="JPEG")), (read_image, depth_of)
    for name, more in (("plain", {}), ("zlib", {"compression": "zlib"}), ("lzw", {"compression": "lzw"})):
        yield f"{name}.tif", written(lambda f, more=more: tifffile.imwrite(f, grey, **more)), pictures
    scan = nibabel.Nifti1Image(grey[..., None].astype(np.int16), np.eye(4)).to_bytes()
    yield "a.nii", scan, (read_scan, read_labels)
    yield "a.npy", written(lambda f: np.save(f, grey)), (read_scan, read_labels)
    yield "a.npz", written(lambda f: np.savez_compressed(f, image=grey)), (read_npz,)
    yield "a-idx2-ubyte", bytes([0, 0, 8, 2, 0, 0, 0, 20, 0, 0, 0, 24]) + grey.tobytes(), (read_idx,)


def _damaged(content: bytes, draw: random.Random) -> bytes:
    """Cut, or some bytes replaced, mostly in the header."""
    if draw.random() < 0.25:
        return content[: draw.randrange(len(content))]
    changed = bytearray(content)
    reach = len(changed) if draw.random() < 0.3 else min(len(changed), 400)
    for _ in range(draw.randrange(1, 6)):
        changed[draw.randrange(reach)] = draw.choice((0, 1, 127, 255, draw.randrange(256)))
    return bytes(changed)
