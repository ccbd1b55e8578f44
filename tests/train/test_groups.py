"""Devices in groups: what is dealt and what is whole, what cannot be, and states that move from mesh to mesh."""

import logging
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from hyperlab import trees
from hyperlab.errors import ConfigError, MeshError
from hyperlab.train import engine, groups, state, step
from hyperlab.train.checkpoints import Checkpoints
from hyperlab.train.groups import ALONE, Group, Pool
from hyperlab.train.step import Aux
from hyperlab.train.units import in_parallel

OPTIMIZER = optax.adam(0.01)
NEVER = type("Never", (), {"requested": False, "request": lambda self, reason: None})()


def make(key, outputs=8):
    kernel = jax.random.normal(key, (4, outputs)) / 2
    head = {"kernel": kernel, "bias": jnp.zeros(outputs)}
    return state.create({"params": {"hypernet": {"head": head}, "theta0": jnp.ones(outputs)}}, OPTIMIZER)


def loss(params, collections, batch, keys):
    images, indices = batch
    head = params["hypernet"]["head"]
    out = images[indices] @ head["kernel"] + (head["bias"] + params["theta0"])[None]
    return jnp.square(out - 3.0).mean(), Aux()


def group_of(shape):
    """The first devices in a mesh of this shape."""
    return Group(0, jax.devices()[: shape["data"] * shape["model"]], shape)


def specs(tree):
    return {path: leaf.sharding.spec for path, leaf in trees.flatten(tree).items()}


def of(batch_size=8, **devices):
    config = {"devices": devices} if devices else {}
    engine.check(config)
    return groups.of(engine.of(config), batch_size)


MESHES = [{"data": 4, "model": 1}, {"data": 2, "model": 2}, {"data": 1, "model": 4}]


# -- which groups there are ----------------------------------------------------------------------------------------


def test_without_a_word_a_cpu_is_one_device():
    assert of() == [ALONE]
    assert of(mesh={"data": 1, "model": 1}) == [ALONE]
    assert ALONE.mesh is None and ALONE.parts == 1


def test_devices_are_dealt_into_groups_in_order():
    one, other = of(per_training=2)
    assert [one.devices, other.devices] == [jax.devices()[:2], jax.devices()[2:]]
    assert dict(one.mesh.shape) == {"data": 2, "model": 1}
    assert [len(group.devices) for group in of(per_training=1)] == [1, 1, 1, 1]
    (all_four,) = of(mesh={"model": 2})
    assert dict(all_four.mesh.shape) == {"data": 2, "model": 2}
    (two,) = of(mesh={"data": 2})  # smaller than the machine: the first devices
    assert two.devices == jax.devices()[:2]


@pytest.mark.parametrize(
    ("batch", "devices", "message"),
    [
        (8, {"mesh": {"data": 8}}, "groups of 8 .* cannot be made of the 4 devices"),
        (8, {"mesh": {"data": 4, "model": 2}}, "groups of 8 .* cannot be made of the 4 devices"),
        (8, {"mesh": {"model": 3}}, "4 devices do not divide by 3"),
        (6, {"mesh": {"data": 4}}, "batch_size is 6, which does not divide by the 4 devices of mesh axis 'data'"),
        (8, {"per_training": 3}, "groups of 3 .* cannot be made of the 4 devices"),
        (8, {"per_training": 8}, "groups of 8 .* cannot be made of the 4 devices"),
        (8, {"per_training": 4, "mesh": {"data": 2}}, "does not fill the 4 devices of a group"),
        (8, {"per_training": 1, "mesh": {"data": 2}}, "does not fill the 1 devices of a group"),
        (3, {"per_training": 2}, "batch_size is 3, which does not divide by the 2 devices"),
    ],
)
def test_devices_that_cannot_be_are_refused_with_numbers(batch, devices, message):
    with pytest.raises(MeshError, match=message):
        of(batch, **devices)


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ({"mesh": {"dat": 2}}, "unknown config key 'devices.mesh.dat'; did you mean 'devices.mesh.data'"),
        ({"mesh": {"data": 0}}, "devices.mesh.data is 0, expected a whole number of at least 1, or -1"),
        ({"mesh": {"data": -1, "model": -1}}, "one axis alone can be -1"),
        ({"per_training": -1}, "devices.per_training is -1"),
        ({"mesh": {"data": 2.5}}, "devices.mesh.data is 2.5"),
    ],
)
def test_keys_that_cannot_be_are_refused(devices, message):
    with pytest.raises(ConfigError, match=message):
        of(**devices)


# -- what is dealt -------------------------------------------------------------------------------------------------


def test_rows_are_dealt_along_the_first_axis_of_their_number_and_the_rest_is_whole():
    group = group_of({"data": 2, "model": 2})
    batch = {"rows": np.zeros((8, 5)), "steps": np.zeros((8, 8)), "factor": np.zeros(1), "name": "kept"}
    dealt = group.rows(batch, 8)
    assert dealt["name"] == "kept"
    assert dealt["rows"].addressable_shards[0].data.shape == (4, 5)
    assert dealt["factor"].is_fully_replicated
    assert group.rows(batch, 8, leading=1)["steps"].sharding.spec == PartitionSpec(None, "data")
    assert group.rows(np.zeros((7, 2)), 7).is_fully_replicated  # does not divide


@pytest.mark.parametrize("shape", MESHES)
def test_heads_and_their_moments_are_split_and_the_rest_is_whole(shape):
    group = group_of(shape)
    placed = specs(group.placed(make(jax.random.key(0))))
    for path, spec in placed.items():
        expected = {"head/kernel": PartitionSpec(None, "model"), "head/bias": PartitionSpec("model")}
        assert spec == expected.get("/".join(path.split("/")[-2:]), PartitionSpec()), path
    assert sum("head" in path for path in placed) == 6  # the parameters and two moments


def test_a_head_that_does_not_divide_is_whole_and_that_is_said_once(caplog):
    group = group_of({"data": 1, "model": 4})
    groups._note_whole.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            placed = group.placed(make(jax.random.key(0), outputs=6))
    assert all(leaf.is_fully_replicated for leaf in jax.tree.leaves(placed))
    said = "does not divide over devices.mesh.model = 4: it is whole on every device"
    notes = [record.getMessage() for record in caplog.records if record.name == groups.__name__]
    assert sorted(notes) == [f"head/bias (6,) {said}", f"head/kernel (4, 6) {said}"]  # once, not for each moment


def test_a_stack_of_runs_is_dealt_by_its_runs_and_its_heads_stay_split():
    group = group_of({"data": 2, "model": 2})
    stack = jax.vmap(make)(jax.random.split(jax.random.key(0), 4))
    placed = specs(group.placed(stack, stacked=4))
    assert placed["params/hypernet/head/kernel"] == PartitionSpec("data", None, "model")
    assert placed["params/theta0"] == placed["step"] == PartitionSpec("data")
    assert group.deals(4) and not group.deals(3) and not group.deals(1) and not ALONE.deals(4)
    three = specs(group.placed(jax.tree.map(lambda x: x[:3], stack), stacked=3))
    assert three["params/hypernet/head/kernel"] == PartitionSpec(None, None, "model")
    assert three["step"] == PartitionSpec()


def test_examples_are_placed_once_and_what_is_dealt_stays_dealt():
    group = group_of({"data": 4, "model": 1})
    examples = {"images": np.ones((8, 2)), "shown": group.rows(np.ones((8, 2)), 8)}
    first, second = group.whole(examples), group.whole(examples)
    assert first["images"] is second["images"]
    assert first["images"].is_fully_replicated
    assert first["shown"].sharding.spec == PartitionSpec("data")
    assert ALONE.whole(examples) is ALONE.whole(examples)


def test_a_state_that_is_there_is_not_copied():
    group = group_of({"data": 2, "model": 2})
    placed = group.placed(make(jax.random.key(0)))
    again = group.placed(placed)
    assert all(one is other for one, other in zip(jax.tree.leaves(placed), jax.tree.leaves(again), strict=True))


@pytest.mark.parametrize("shape", MESHES)
def test_a_state_is_born_split_with_the_numbers_of_one_device_by_one_program(shape):
    group, started = group_of(shape), jax.jit(make)
    for seed in range(2):
        born = group.made(started, jax.random.key(seed))
        assert specs(born) == {path: s.spec for path, s in trees.flatten(group.shardings(born)).items()}
        whole = ALONE.made(started, jax.random.key(seed))
        jax.tree.map(np.testing.assert_array_equal, born, whole)
    (program,) = group._makers.values()
    assert program._cache_size() == 1


def test_rows_of_an_evaluation_are_dealt_over_the_threads_group_alone():
    assert isinstance(groups.deal(np.zeros(4)), np.ndarray) and groups.even(5) == 5
    with groups.using(group_of({"data": 4, "model": 1})):
        assert groups.even(5) == 8
        dealt = groups.deal({"images": np.zeros((8, 3)), "labels": np.zeros(8, np.int32)})
        assert {leaf.sharding.spec for leaf in dealt.values()} == {PartitionSpec("data")}
        assert groups.deal(np.zeros((5, 3))).is_fully_replicated
    assert groups.current() is ALONE


# -- training on a mesh --------------------------------------------------------------------------------------------


def trained(group, steps=5, current=None, first=0):
    """The state after some steps, the losses, and the program."""
    images = np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32)
    program = jax.jit(step.train_step(loss, OPTIMIZER), donate_argnums=0)
    current = group.made(jax.jit(make), jax.random.key(0)) if current is None else current
    losses = []
    for index in range(first, first + steps):
        rows = np.random.default_rng(index).integers(0, 32, 8).astype(np.int32)
        batch = group.whole({"images": images})["images"], group.rows(rows, 8)
        current, metrics = program(current, batch, jax.random.key(1))
        current = group.placed(current)
        losses.append(float(metrics["loss"].total))
    return current, np.array(losses), program


@pytest.mark.parametrize("shape", MESHES)
def test_a_mesh_trains_as_one_device_by_one_program_that_adds_gradients_up(shape):
    group = group_of(shape)
    current, losses, program = trained(group)
    np.testing.assert_allclose(losses, trained(ALONE)[1], rtol=1e-6)
    assert losses[-1] < losses[0]
    assert program._cache_size() == 1
    batch = jax.ShapeDtypeStruct((32, 4), jnp.float32), group.abstract(jax.ShapeDtypeStruct((8,), jnp.int32), rows=8)
    compiled = program.lower(group.abstract(jax.eval_shape(lambda: current)), batch, jax.random.key(1)).compile()
    if shape["data"] > 1:
        assert "all-reduce" in compiled.as_text()
    kernel = current.params["hypernet"]["head"]["kernel"]
    assert {shard.data.shape for shard in kernel.addressable_shards} == {(4, 8 // shape["model"])}


@pytest.mark.parametrize("other", [None, {"data": 4, "model": 1}, {"data": 1, "model": 4}])
def test_a_checkpoint_of_one_mesh_goes_on_on_another_and_on_one_device(tmp_path, other):
    written, _, _ = trained(group_of({"data": 2, "model": 2}))
    group = ALONE if other is None else group_of(other)
    with Checkpoints(tmp_path / "saved") as checkpoints:
        checkpoints.save(5, written, {}, wait=True)
        like = group.placed(make(jax.random.key(7)))
        restored = checkpoints.restore(like).state
    jax.tree.map(np.testing.assert_array_equal, restored, written)
    assert all(
        got.sharding.is_equivalent_to(wanted.sharding, got.ndim)
        for got, wanted in zip(jax.tree.leaves(restored), jax.tree.leaves(like), strict=True)
    )
    _, losses, program = trained(group, current=restored, first=5)
    assert program._cache_size() == 1
    np.testing.assert_allclose(losses, trained(ALONE, steps=10)[1][5:], rtol=1e-6)


# -- groups that threads borrow ------------------------------------------------------------------------------------


def test_trainings_side_by_side_have_a_group_each_and_compute_on_it():
    pool, met = Pool(of(per_training=1)), threading.Barrier(4, timeout=20)
    assert pool.workers == 4

    def train(seed):
        with pool.lent() as group:
            met.wait()  # all four are at work at once
            current, _, _ = trained(group, steps=2)
            (device,) = current.params["theta0"].devices()
            return group.index, device, jnp.zeros(1).device, np.asarray(current.params["theta0"])

    found = in_parallel(train, range(4), workers=pool.workers, stop=NEVER)
    assert sorted(index for index, *_ in found) == [0, 1, 2, 3]
    for index, device, default, values in found:
        assert device == default == jax.devices()[index]
        np.testing.assert_array_equal(values, found[0][3])


def test_a_group_is_lent_to_as_few_at_once_as_can_be_and_the_first_of_them_again():
    pool = Pool(of(per_training=2), workers=8)
    assert pool.workers == 2  # two programs on one mesh would wait for each other
    with pool.lent() as one:
        with pool.lent() as other:
            assert (one.index, other.index) == (0, 1)
        with pool.lent() as again:
            assert again.index == 1
    with pool.lent() as first:
        assert first.index == 0
    assert Pool([ALONE]).workers == 0 and Pool([ALONE], 3).workers == 3


def test_rows_stay_dealt_inside_a_program_where_they_divide():
    group = group_of({"data": 4, "model": 1})
    rows, few = jnp.arange(24.0).reshape(8, 3), jnp.arange(6.0)
    program = jax.jit(lambda tree: group.kept_dealt(jax.tree.map(lambda x: 2 * x, tree)))
    dealt, whole = program(group.whole((rows, few)))
    assert dealt.sharding.spec == PartitionSpec("data")
    assert [shard.data.shape for shard in dealt.addressable_shards] == [(2, 3)] * 4
    np.testing.assert_array_equal(dealt, 2 * rows)
    np.testing.assert_array_equal(whole, 2 * few)
    assert ALONE.kept_dealt(rows) is rows
