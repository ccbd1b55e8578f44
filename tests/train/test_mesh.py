import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax.sharding import PartitionSpec

from hyperlab.errors import MeshError
from hyperlab.train import mesh as meshes
from hyperlab.train import state, step
from hyperlab.train.step import Aux


class Hypernet(nn.Module):
    outputs: int = 24

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.outputs, name="head")(nn.relu(nn.Dense(16, name="hidden")(x)))


def loss(params, collections, batch, rngs):
    out = Hypernet(params["head"]["kernel"].shape[1]).apply({"params": params}, batch)
    return jnp.square(out - 1.0).mean(), Aux()


OPTIMIZER = optax.adam(0.01)


def make(key, outputs=24):
    return state.create(Hypernet(outputs).init(key, jnp.zeros((1, 4))), OPTIMIZER)


def test_a_mesh_has_named_auto_axes():
    mesh = meshes.make_mesh({"data": -1, "model": 2})
    assert dict(mesh.shape) == {"data": 2, "model": 2}
    assert set(mesh.axis_types) == {jax.sharding.AxisType.Auto}
    assert dict(meshes.make_mesh({"replica": 2, "data": 1}).shape) == {"replica": 2, "data": 1}


@pytest.mark.parametrize("shape", [{"data": 5}, {"data": -1, "model": 3}, {"data": -1, "model": -1}, {"data": 0}])
def test_a_mesh_that_cannot_be_is_refused(shape):
    with pytest.raises(MeshError, match=str(next(iter(shape)))):
        meshes.make_mesh(shape)


def test_the_head_and_its_moments_are_split_and_the_rest_is_replicated():
    mesh = meshes.make_mesh({"data": 2, "model": 2})
    where = meshes.shardings(jax.eval_shape(make, jax.random.key(0)), mesh)
    assert where.params["head"]["kernel"].spec == PartitionSpec(None, "model")
    assert where.opt_state[0].mu["head"]["kernel"].spec == PartitionSpec(None, "model")
    assert where.opt_state[0].nu["head"]["bias"].spec == PartitionSpec("model")
    assert where.params["hidden"]["kernel"].spec == PartitionSpec()
    made = meshes.create_sharded(make, jax.random.key(0), mesh=mesh)
    assert made.params["head"]["kernel"].addressable_shards[0].data.shape == (16, 12)
    again = meshes.place(make(jax.random.key(0)), mesh)
    np.testing.assert_allclose(made.params["head"]["kernel"], again.params["head"]["kernel"], rtol=1e-6)


def test_what_does_not_divide_is_named_with_its_numbers():
    mesh = meshes.make_mesh({"data": 1, "model": 4})
    with pytest.raises(MeshError, match=r"head/bias.*size 10 does not divide by the 4 devices.*model"):
        meshes.shardings({"head": {"bias": jnp.zeros(10)}}, mesh)
    with pytest.raises(MeshError, match="no mesh axis 'modle'; did you mean 'model'"):
        meshes.shardings({"w": jnp.zeros(8)}, mesh, [("**", PartitionSpec("modle"))])
    with pytest.raises(MeshError, match="too few dimensions"):
        meshes.shardings({"w": jnp.zeros(8)}, mesh, [("**", PartitionSpec(None, "model"))])


def test_a_batch_is_dealt_out_or_refused_with_numbers():
    mesh = meshes.make_mesh({"data": 4, "model": 1})
    batch = meshes.shard_batch({"images": np.zeros((8, 3)), "steps": np.zeros((8,), np.int32)}, mesh)
    assert batch["images"].addressable_shards[0].data.shape == (2, 3)
    several = meshes.shard_batch(np.zeros((5, 8, 3)), mesh, dimension=1)
    assert several.addressable_shards[0].data.shape == (5, 2, 3)
    with pytest.raises(MeshError, match=r"'images' \(6, 3\): 6 rows do not divide by the 4 devices"):
        meshes.shard_batch({"images": np.zeros((6, 3))}, mesh)
    with pytest.raises(MeshError, match="no axis 'dat'"):
        meshes.shard_batch(np.zeros(4), mesh, axis="dat")


@pytest.mark.parametrize("shape", [{"data": 4, "model": 1}, {"data": 2, "model": 2}, {"data": 1, "model": 4}])
def test_every_mesh_gives_the_losses_of_one_device_and_compiles_once(shape):
    batches = np.random.default_rng(0).normal(size=(5, 8, 4)).astype(np.float32)

    def losses(shape):
        mesh = meshes.make_mesh(shape)
        current = meshes.create_sharded(make, jax.random.key(0), mesh=mesh)
        where = meshes.shardings(current, mesh)
        train, seen = step.make_train_step(loss, OPTIMIZER, shardings=where), []
        for batch in batches:
            current, metrics = train(current, meshes.shard_batch(batch, mesh), jax.random.key(0))
            seen.append(float(metrics["loss"].total))
        assert train._cache_size() == 1
        assert jax.tree.all(
            jax.tree.map(lambda leaf, to: leaf.sharding.is_equivalent_to(to, leaf.ndim), current, where)
        )
        return seen

    np.testing.assert_allclose(losses(shape), losses({"data": 1, "model": 1}), rtol=1e-5)


def test_bytes_of_a_head_for_ten_million_parameters_fall_as_one_over_the_devices():
    def bytes_per_device(parts):
        mesh = meshes.make_mesh({"data": 1, "model": parts})
        abstract = jax.eval_shape(lambda key: make(key, outputs=10_000_000), jax.random.key(0))
        where = meshes.shardings(abstract, mesh)
        compiled = step.make_train_step(loss, OPTIMIZER, shardings=where).lower(
            jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), abstract, where),
            jax.ShapeDtypeStruct((1, 4), jnp.float32),
            jax.random.key(0),
        )
        memory = compiled.compile().memory_analysis()
        return memory.argument_size_in_bytes

    one = bytes_per_device(1)
    assert one > 3 * 17 * 10_000_000 * 4
    for parts in (2, 4):
        assert bytes_per_device(parts) / one == pytest.approx(1 / parts, rel=1e-3)
