"""A hypernetwork's head is split over the mesh's `model` axis: in memory, and with the results of one device."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hyperlab import hypernetize, models, trees
from hyperlab.errors import MeshError
from hyperlab.planning.collectives import collectives
from hyperlab.train import mesh as meshes
from hyperlab.train import state, step
from hyperlab.train.step import Aux

OPTIMIZER = optax.adam(0.01)
COPIES = 3  # of every parameter: itself and the two moments of Adam


def setup(model, shape):
    """The train step on a mesh, a function that makes its state, and where the state lives."""

    def make(key):
        return state.create(model.init(key), OPTIMIZER)

    def loss(params, collections, batch, rngs):
        logits = model.apply({"params": params, **collections}, jnp.array([0.3]), batch["images"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["labels"]).mean(), Aux()

    mesh = meshes.make_mesh(shape)
    where = meshes.shardings(jax.eval_shape(make, jax.random.key(0)), mesh)
    return step.make_train_step(loss, OPTIMIZER, shardings=where), make, where, mesh


class TenMillion(nn.Module):
    """10,001,406 parameters: even, but not a multiple of 4."""

    @nn.compact
    def __call__(self, images):
        return nn.Dense(3162)(images)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_bytes_of_a_head_for_ten_million_parameters_fall_as_one_over_the_devices(devices):
    """From the compiled programs' own account; the head alone has 5 GB, and nothing is allocated."""
    images = jax.ShapeDtypeStruct((8, 3162), jnp.float32)
    model = hypernetize(TenMillion(), images, hidden=(16, 128), memory_limit=2**40)
    assert model.spec.size % 4 == 2 and model.spec.packed_size % 256 == 0
    train, make, where, _ = setup(model, {"data": 1, "model": devices})
    abstract = jax.eval_shape(make, jax.random.key(0))
    given = jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), abstract, where)
    batch = {"images": images, "labels": jax.ShapeDtypeStruct((8,), jnp.int32)}

    training = train.lower(given, batch, jax.random.key(0)).compile().memory_analysis()
    making = jax.jit(make, out_shardings=where).lower(jax.random.key(0)).compile().memory_analysis()

    head = 4 * 128 * model.spec.packed_size
    theta = 4 * model.spec.size
    small = 2**20  # hidden layers, the batch, the key
    # What lives between steps: a share of the head and of its moments; theta0, with its own, is on every device.
    for resident in (training.argument_size_in_bytes, training.output_size_in_bytes, making.output_size_in_bytes):
        assert resident == pytest.approx(COPIES * (head / devices + theta), abs=small)
    assert training.alias_size_in_bytes == pytest.approx(training.output_size_in_bytes, abs=small)
    # What a step needs beside it: a few thetas. The head's gradient, a product of two vectors, is never stored.
    assert training.temp_size_in_bytes < 4 * theta < head / devices
    # And it is born where it lives: while it is drawn there are as many copies as live afterwards.
    assert making.temp_size_in_bytes <= COPIES * (head / devices + theta) + small


def train_small(head, shape):
    """Four steps of a hypernetised MLP on a mesh: the last state, and the losses."""
    rng = np.random.default_rng(0)
    batches = [
        {"images": rng.normal(size=(8, 4, 4, 1)).astype(np.float32), "labels": rng.integers(0, 4, 8)} for _ in range(4)
    ]
    model = hypernetize(models.MLP((16,), classes=4), batches[0]["images"], hidden=(16,), head=head)
    train, make, where, mesh = setup(model, shape)
    current, losses = meshes.create_sharded(make, jax.random.key(0), mesh=mesh), []
    for batch in batches:
        current, metrics = train(current, meshes.shard_batch(batch, mesh), jax.random.key(1))
        losses.append(float(metrics["loss"].total))
    assert train._cache_size() == 1
    return current, losses


on_one_device = functools.cache(functools.partial(train_small, shape={"data": 1, "model": 1}))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "data", "parts"),
    [("dense", 1, 4), ("dense", 2, 2), ("chunked:64", 1, 4), ("low_rank:2", 1, 4), ("lora:2", 1, 4)],
)
def test_a_split_head_trains_as_on_one_device(head, data, parts):
    split, losses = train_small(head, {"data": data, "model": parts})
    whole, expected_losses = on_one_device(head)
    rows, columns = split.params["hypernet"]["head"]["kernel"].shape
    shards = split.params["hypernet"]["head"]["kernel"].addressable_shards
    assert {shard.data.shape for shard in shards} == {(rows, columns // parts)}
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    assert len(set(losses)) == len(losses)  # it did train
    expected = trees.flatten(whole.params)
    assert trees.flatten(split.params).keys() == expected.keys()
    for path, value in trees.flatten(split.params).items():
        np.testing.assert_allclose(value, expected[path], rtol=1e-4, atol=1e-5, err_msg=path)


def test_a_small_pack_that_does_not_divide_is_refused_and_can_be_kept_whole():
    model = hypernetize(nn.Dense(3), jnp.zeros((1, 4)), hidden=(8,))  # 15 outputs: no padding for so few
    mesh = meshes.make_mesh({"data": 1, "model": 4})

    def make(key):
        return state.create(model.init(key), OPTIMIZER)

    with pytest.raises(MeshError, match=r"hypernet/head/kernel.*size 15 does not divide.*rules"):
        meshes.create_sharded(make, jax.random.key(0), mesh=mesh)
    made = meshes.create_sharded(make, jax.random.key(0), mesh=mesh, rules=())
    assert made.params["hypernet"]["head"]["kernel"].is_fully_replicated


def test_of_a_split_head_theta_alone_is_gathered_and_no_features_are_moved():
    """Features of a batch are larger than theta; left to itself the compiler splits the layers as the head."""
    images = jax.ShapeDtypeStruct((4, 16, 16, 1), jnp.float32)
    model = hypernetize(models.UNet((4, 8), 4, 1), images, hidden=(16,), head="dense")

    def make(key):
        return state.create(model.init(key), OPTIMIZER)

    def loss(params, collections, batch, rngs):
        return jnp.square(model.apply({"params": params}, jnp.array([0.3]), batch)).mean(), Aux()

    mesh = meshes.make_mesh({"data": 2, "model": 2})
    abstract = jax.eval_shape(make, jax.random.key(0))
    where = meshes.shardings(abstract, mesh)
    given = jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), abstract, where)
    batch = jax.ShapeDtypeStruct(images.shape, images.dtype, sharding=jax.NamedSharding(mesh, jax.P("data")))
    train = step.make_train_step(loss, OPTIMIZER, shardings=where)
    found = collectives(train.lower(given, batch, jax.random.key(0)).compile().as_text(), 4)
    assert {one.name for one in found} <= {"all-gather", "all-reduce"}
    assert sum(one.bytes for one in found if one.name == "all-gather") <= 4 * model.spec.packed_size
    small = 4 * trees.count({k: v for k, v in abstract.params["hypernet"].items() if k != "head"})
    assert max(one.bytes for one in found) <= 4 * model.spec.packed_size + small + 64, found
