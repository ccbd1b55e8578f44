import json
import logging
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hyperlab.errors import CheckpointError
from hyperlab.train import mesh as meshes
from hyperlab.train import state
from hyperlab.train.checkpoints import Checkpoints, load_variables, save_variables


def example(seed=0):
    key = jax.random.key(seed)
    variables = {"params": {"head": {"kernel": jax.random.normal(key, (6, 8)), "bias": jnp.zeros(8)}}}
    return {
        "train": state.create(variables, optax.adam(1e-3)),
        "key": jax.random.key(seed + 1),
        "keys": jax.random.split(jax.random.key(seed + 2), 3),
        "host": np.arange(3, dtype=np.int64) + seed,
        "low": jnp.full(3, 1.5 + seed, jnp.bfloat16),
        "epochs": 3 + seed,
    }


def assert_equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert type(a) is type(b) and getattr(a, "dtype", None) == getattr(b, "dtype", None)
        if hasattr(a, "dtype") and jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)


def test_keys_host_arrays_numbers_and_optimizer_state_come_back(tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.latest_step() is None and checkpoints.restore(example()) is None
        checkpoints.save(5, example(7), {"seed": 7})
    with Checkpoints(tmp_path / "c") as checkpoints:
        back = checkpoints.restore(example(0), expect={"seed": 7})
    assert back.step == 5 and back.meta["seed"] == 7
    assert_equal(back.state, example(7))


def test_the_newest_few_are_kept_and_one_step_is_saved_once(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (1, 2, 3, 3):
            checkpoints.save(step, {"w": jnp.full(2, step)})
        checkpoints.wait()
        assert checkpoints.latest_step() == 3
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.isdigit()) == ["2", "3"]


def test_a_save_keeps_its_values_when_the_state_is_donated_at_once(tmp_path):
    update = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)
    current = {"w": jnp.zeros((1000, 1000)), "b": jnp.zeros(7)}
    with Checkpoints(tmp_path, keep=9) as checkpoints:
        for step in range(4):
            checkpoints.save(step, current)
            for _ in range(3):
                current = update(current)
        checkpoints.wait()
        jax.block_until_ready(current)
        back = checkpoints.restore({"w": jnp.zeros((1000, 1000)), "b": jnp.zeros(7)})
    assert (back.state["w"] == 9).all() and (back.state["b"] == 9).all()


@pytest.mark.parametrize("parts", [1, 2])
def test_saved_on_four_devices_comes_back_on_fewer(tmp_path, parts):
    def make(seed):
        return example(seed)["train"]

    four = meshes.place(make(1), meshes.make_mesh({"data": 1, "model": 4}))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, four, wait=True)
        fewer = meshes.place(make(0), meshes.make_mesh({"data": 1, "model": parts}))
        back = checkpoints.restore(fewer).state
        assert_equal(back, make(1))
        assert len(back.params["head"]["kernel"].devices()) == parts
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), fewer)
        assert_equal(checkpoints.restore(abstract).state, make(1))
        assert_equal(checkpoints.restore(jax.eval_shape(lambda: make(0))).state, make(1))


def test_another_tree_is_refused_with_its_paths_and_nothing_changes(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"a": jnp.zeros(2), "kernel": jnp.zeros((2, 3)), "c": jnp.zeros(2)}, wait=True)
        like = {"b": jnp.zeros(2), "kernel": jnp.zeros((3, 2)), "c": jnp.zeros(2, jnp.int32)}
        before = sorted(str(p) for p in tmp_path.rglob("*"))
        with pytest.raises(CheckpointError) as error:
            checkpoints.restore(like)
        for part in (
            "missing 'b'",
            "unexpected 'a'",
            "'kernel' is float32 (2, 3), expected float32 (3, 2)",
            "'c' is",
        ):
            assert part in str(error.value)
        assert sorted(str(p) for p in tmp_path.rglob("*")) == before


def test_another_data_set_is_refused(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"a": jnp.zeros(2)}, {"data_fingerprint": "abc"}, wait=True)
        with pytest.raises(CheckpointError, match="data_fingerprint 'abc', this run has 'xyz'"):
            checkpoints.restore({"a": jnp.zeros(2)}, expect={"data_fingerprint": "xyz"})


def damage_cut(folder):
    for file in folder.rglob("d/*"):
        file.write_bytes(file.read_bytes()[:10])


def damage_flip(folder):
    file = max(folder.rglob("d/*"), key=lambda file: file.stat().st_size)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def damage_meta(folder):
    shutil.rmtree(folder / "meta")


@pytest.mark.parametrize("damage", [damage_cut, damage_flip, damage_meta])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, damage, caplog):
    def values(step):
        return {"w": jax.random.normal(jax.random.key(step), (4000,))}

    with Checkpoints(tmp_path / "c") as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, values(step))
    damage(tmp_path / "c" / "2")
    with Checkpoints(tmp_path / "c") as checkpoints, caplog.at_level(logging.WARNING, logger="hyperlab"):
        back = checkpoints.restore(values(0))
        assert back.step == 1
        assert_equal(back.state, values(1))
        assert "checkpoint 2" in caplog.text and "damaged" in caplog.text
        checkpoints.save(2, values(2), wait=True)
        assert checkpoints.restore(values(0)).step == 2
    damage(tmp_path / "c" / "2")
    damage(tmp_path / "c" / "1")
    with Checkpoints(tmp_path / "c") as checkpoints, pytest.raises(CheckpointError, match=r"\[2, 1\]"):
        checkpoints.restore(values(0))


def test_threads_save_at_one_moment_each_in_its_own_folder(tmp_path):
    # arms that train side by side reach their last step together, and all are stopped by one signal
    together = threading.Barrier(4)

    def saved(number):
        with Checkpoints(tmp_path / str(number)) as checkpoints:
            for step in range(6):
                together.wait(60)
                checkpoints.save(step, {"w": jnp.full(64, number + step), "b": jnp.zeros(3)}, wait=step % 2)
            return checkpoints.restore({"w": jnp.zeros(64, int), "b": jnp.zeros(3)})

    with ThreadPoolExecutor(4) as pool:
        for number, back in enumerate(pool.map(saved, range(4))):
            assert back.step == 5 and (back.state["w"] == number + 5).all()


@pytest.mark.parametrize("left", ["2.orbax-checkpoint-tmp", "3.orbax-checkpoint-tmp", "3.orbax-checkpoint-tmp-1234"])
def test_a_save_that_was_killed_is_no_checkpoint_and_not_in_the_way(tmp_path, left):
    def values(step):
        return {"w": jax.random.normal(jax.random.key(step), (4000,))}

    folder = tmp_path / "c"
    with Checkpoints(folder) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, values(step))
    shutil.copytree(folder / "2", folder / left)
    (folder / left / "state").rename(folder / left / "state.orbax-checkpoint-tmp")
    (folder / left / "state.orbax-checkpoint-tmp" / "manifest.ocdbt.__lock").touch()
    damage_cut(folder / "2")  # so that it is opened twice: once more when that is set aside
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.restore(values(0)).step == 1
        assert not (folder / left).exists()
        for step in (2, 3):
            checkpoints.save(step, values(step))
        assert_equal(checkpoints.restore(values(0)).state, values(3))
    assert not list(folder.glob("*tmp*"))


@pytest.mark.fast
def test_one_tree_in_one_file(tmp_path):
    tree = {
        "conv": {"kernel": jnp.ones((2, 3), jnp.bfloat16), "n": np.int64(4)},
        "list": [jnp.zeros(()), jax.random.key(3)],
    }
    save_variables(tmp_path / "deep" / "theta.npz", tree)
    back = load_variables(tmp_path / "deep" / "theta.npz", like=tree)
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    assert back["conv"]["kernel"].dtype == jnp.bfloat16 and (back["conv"]["kernel"] == 1).all()
    assert (jax.random.key_data(back["list"][1]) == jax.random.key_data(tree["list"][1])).all()
    assert load_variables(tmp_path / "deep" / "theta.npz")["conv"]["n"] == 4
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["theta.npz"]


class Pair(NamedTuple):
    kernel: Any
    bias: Any


# Kinds of trees that a state may be; names that orbax 0.12.8 keeps apart only by themselves, and what it refuses.
TREES = {
    "no entries": {"w": np.ones(2), "e": jnp.zeros((0, 3)), "host": np.zeros((2, 0), np.int16)},
    "no entries alone": {"e": jnp.zeros((0, 3), jnp.bfloat16)},
    "nodes alone": {"a": {}, "b": [], "c": None},
    "nothing": {},
    "numbers": {"a": 3, "b": 0.5, "c": True, "d": 1 + 2j, "e": np.float32(2), "f": jnp.ones(()), "g": np.int64(4)},
    "one number": 3,
    "one array": jnp.arange(3),
    "lists and named tuples": [Pair(jnp.ones(2), 1), (Pair(np.zeros(3), None),)],
    "integer keys": {index: jnp.full(1, index) for index in range(12)},
    "slashes": {"mlp/~/linear_0": {"w": jnp.ones(2)}, "WeightNorm_0": {"Dense_0/kernel/scale": jnp.ones(3)}},
    "one path": {"a": {"b": jnp.ones(2)}, "a/b": jnp.zeros(3), "a%2Fb": jnp.ones(1)},
    "a path through a leaf": {"a": jnp.ones(2), "a/b": jnp.zeros(3)},
    "dots, which orbax joins keys with": {"a.b": jnp.ones(2), "a": {"b": jnp.zeros(2)}},
    "names of the file's own": {"file": jnp.ones(2), "allow_pickle": jnp.zeros(1), "w": 1, "w.npy": 2, "nothing": 3},
    "no name": {"": jnp.ones(2), "value": jnp.zeros(1)},
    "complex": {"w": jnp.ones(2) + 1j},
    "functions and names": {"w": jnp.ones(2), "activation": jax.nn.relu, "name": "conv"},
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_any_tree_comes_back(tree, tmp_path):
    def other(leaf):
        return (
            leaf * 0 if hasattr(leaf, "dtype") else leaf if callable(leaf) or isinstance(leaf, str) else type(leaf)(0)
        )

    like = jax.tree.map(other, tree)
    with Checkpoints(tmp_path / "c", asynchronous=False) as checkpoints:
        checkpoints.save(1, tree, wait=True)
        assert_equal(checkpoints.restore(like).state, tree)
    save_variables(tmp_path / "tree.npz", tree)
    back = load_variables(tmp_path / "tree.npz", like=like)
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    for one, two in zip(jax.tree.leaves(back), jax.tree.leaves(tree), strict=True):
        assert one is two or (np.shape(one) == np.shape(two) and np.array_equal(one, two))


@pytest.mark.fast
def test_a_file_alone_gives_nested_dicts_with_the_keys_that_the_tree_had(tmp_path):
    def back(tree):
        save_variables(tmp_path / "tree.npz", tree)
        return jax.tree.map(np.ndarray.tolist, load_variables(tmp_path / "tree.npz"))

    leaves = {"a": {"b": np.int64(1)}, "a/b": np.int64(2), "c/d": {"e": np.int64(3)}}
    assert back(leaves) == {"a": {"b": 1}, "a/b": 2, "c/d": {"e": 3}}
    assert back([Pair(1, 2), {7: 3}]) == {"0": {"kernel": 1, "bias": 2}, "1": {"7": 3}}
    assert back({"w": 1.5, "activation": jax.nn.relu}) == {"w": 1.5}
    with pytest.raises(CheckpointError, match="cannot hold a leaf '__manifest__'"):
        back({"__manifest__": 1})


@pytest.mark.fast
def test_a_file_of_an_earlier_version_is_read(tmp_path):
    # As files were written before keys were noted: raw bytes by path, and shapes and dtypes in a manifest.
    manifest = {"mlp/linear_0/w": [[2], "float32"], "step": [[], "int32"]}
    arrays = {"mlp/linear_0/w": np.float32([1, 2]), "step": np.int32(3)}
    arrays = {name: np.frombuffer(array.tobytes(), np.uint8) for name, array in arrays.items()}
    np.savez(tmp_path / "old.npz", __manifest__=json.dumps(manifest), **arrays)
    nested = {"mlp": {"linear_0": {"w": np.float32([1, 2])}}, "step": np.int32(3)}
    assert_equal(load_variables(tmp_path / "old.npz", like=nested), nested)
    assert load_variables(tmp_path / "old.npz")["mlp"]["linear_0"]["w"].tolist() == [1, 2]


def test_keys_come_back_onto_their_shapes(tmp_path):
    state = {"keys": jax.random.split(jax.random.key(3), 2), "key": jax.random.key(4, impl="rbg")}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, wait=True)
        assert_equal(checkpoints.restore(jax.eval_shape(lambda: state)).state, state)


@pytest.mark.fast
def test_a_file_that_does_not_fit_is_refused(tmp_path):
    save_variables(tmp_path / "theta.npz", {"a": jnp.ones(2)})
    with pytest.raises(CheckpointError, match=r"'a' is float32 \(2,\), expected float32 \(3,\)"):
        load_variables(tmp_path / "theta.npz", like={"a": jnp.ones(3)})
    (tmp_path / "theta.npz").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_variables(tmp_path / "theta.npz")
    with pytest.raises(CheckpointError, match="absent.npz"):
        load_variables(tmp_path / "absent.npz")
