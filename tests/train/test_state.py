import jax
import jax.numpy as jnp
import optax
import pytest

from hyperlab import trees
from hyperlab.train import state


def variables(key):
    return {"params": {"w": jax.random.normal(key, (3, 2))}, "batch_stats": {"mean": jnp.zeros(2)}}


@pytest.mark.fast
def test_state_separates_parameters_from_other_collections():
    optimizer = optax.sgd(0.1, momentum=0.9)
    made = state.create(variables(jax.random.key(0)), optimizer)
    assert made.step.dtype == jnp.int32
    assert list(made.collections) == ["batch_stats"]
    assert sorted(made.variables) == ["batch_stats", "params"]
    assert "params/w" in trees.flatten(made) and "opt_state/0/trace/w" in trees.flatten(made)


@pytest.mark.fast
def test_abstract_state_has_the_shapes_of_the_real_one():
    optimizer = optax.adam(1e-3)

    def make(key):
        return state.create(variables(key), optimizer)

    key = jax.random.key(1)
    abstract = jax.eval_shape(make, key)
    real = make(key)
    assert jax.tree.structure(abstract) == jax.tree.structure(real)
    assert all(
        a.shape == r.shape and a.dtype == r.dtype
        for a, r in zip(jax.tree.leaves(abstract), jax.tree.leaves(real), strict=True)
    )


def test_state_of_many_runs_by_vmap():
    optimizer = optax.adam(1e-3)
    stack = jax.vmap(lambda key: state.create(variables(key), optimizer))(jax.random.split(jax.random.key(2), 4))
    assert stack.step.shape == (4,) and stack.params["w"].shape == (4, 3, 2)
