"""Outer optimizers whose numbers are values: the same updates as those whose numbers are constants."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab import local_sgd
from hyperlab.errors import ConfigError
from hyperlab.studies.local_sgd.arms import FORMS
from hyperlab.studies.local_sgd.outer import adjustable, with_numbers

pytestmark = pytest.mark.fast

CASES = [("average", "lookahead", 0.7, 0.0), ("slowmo", "slowmo", 1.3, 0.6), ("nesterov", "diloco", 0.4, 0.8)]


@pytest.mark.parametrize(("form", "kind", "rate", "momentum"), CASES)
def test_updates_are_those_of_the_library_also_where_the_rate_changes_and_is_zero(form, kind, rate, momentum):
    params = {"a": jnp.zeros(3), "b": {"c": jnp.zeros((2, 2))}}
    inner_rate, factors = 0.2, [1.0, 0.5, 0.0, 2.0]
    ours, theirs = adjustable(form), local_sgd.outer_optimizer(kind, rate, momentum)
    (state,), other = with_numbers((ours.init(params),), rate, momentum, inner_rate), theirs.init(params)
    rng = np.random.default_rng(0)
    for factor in factors:
        delta = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), params)
        moved, state = ours.update(delta, state, params, learning_rate=factor)
        expected, other = theirs.update(delta, other, params, learning_rate=inner_rate * factor)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7), moved, expected)


@pytest.mark.parametrize("form", FORMS)
def test_one_program_serves_all_numbers(form):
    params, traced = jnp.zeros(3), []
    outer = adjustable(form)

    @jax.jit
    def update(delta, state):
        traced.append(form)
        return outer.update(delta, state, params, learning_rate=1.0)[0]

    moved = [update(jnp.ones(3), *with_numbers((outer.init(params),), rate, 0.5, 0.1)) for rate in (0.25, 0.5)]
    np.testing.assert_allclose(2 * moved[0], moved[1])
    assert traced == [form]


def test_all_forms_have_one_structure_and_no_leaf_twice():
    states = [adjustable(form).init({"w": jnp.ones(2)}) for form in FORMS]
    assert len({jax.tree.structure(state) for state in states}) == 1
    leaves = jax.tree.leaves(states[0])
    assert len({id(leaf) for leaf in leaves}) == len(leaves)


def test_an_unknown_form_is_told_the_nearest():
    with pytest.raises(ConfigError, match="'nesterov'"):
        adjustable("nestorov")
