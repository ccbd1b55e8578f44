"""What candidates are worth: the closed form of a perfect sampler against drawing; which reference is taken."""

import jax
import numpy as np

from hyperlab.studies.stochastic.annotated import AnnotatedTarget
from hyperlab.studies.stochastic.families import Family
from hyperlab.studies.stochastic.scoring import MEASURES, OF_MODES, optimum, scores


def target(count=6):
    made = Family(3, count, 32, stretch="tall").make()
    labels = made.annotations.astype(np.float32)[..., None]
    parts = made.annotations, made.modes, made.probabilities, np.arange(count), made.images, labels
    return AnnotatedTarget("shapes", made.images, *parts)


def test_the_optimum_is_what_draws_from_the_truth_have_on_average():
    task, repeats = target(), 400
    rng = np.random.default_rng(0)
    expected = optimum(task, (2, 4))
    # every query as often as there are repeats: one call draws for all of them
    many = task._replace(
        **{
            name: np.repeat(getattr(task, name), repeats, 0)
            for name in ("annotations", "modes", "probabilities", "groups")
        }
    )
    ends = np.cumsum(many.probabilities, 1)[:, None]
    chosen = (rng.random((len(many.modes), 4, 1)) > ends).sum(-1).clip(max=3)
    masks = np.take_along_axis(many.modes, chosen[..., None, None], 1)
    found = scores({2: masks[:, :2], 4: masks}, many)
    for name in (*MEASURES, *OF_MODES):
        by_query = found[name].reshape(2, len(task.queries), repeats)
        error = by_query.std(-1) / np.sqrt(repeats)
        assert (np.abs(by_query.mean(-1) - expected[name]) <= 4.5 * error + 1e-6).all(), name


def test_without_a_known_distribution_annotators_are_the_reference_and_modes_are_not_measured():
    task = target()
    unknown = task._replace(modes=task.modes[:, :0], probabilities=task.probabilities[:, :0])
    found = scores({1: task.annotations[:, :1], 4: task.annotations}, unknown)
    assert set(found) == {*MEASURES, "hungarian"}
    np.testing.assert_allclose(found["ged_usual"][1], 0, atol=1e-6)
    np.testing.assert_allclose(found["best"][1], 1, atol=1e-6)
    np.testing.assert_allclose(found["hungarian"], 1, atol=1e-6)
    assert np.isnan(found["ged"][0]).all() and np.isnan(found["diversity"][0]).all()


def test_the_order_of_candidates_does_not_matter():
    task = target()
    masks = np.asarray(jax.random.bernoulli(jax.random.key(0), 0.3, (6, 4, 32, 32)))
    first, second = scores({4: masks}, task), scores({4: masks[:, ::-1]}, task)
    for name, value in first.items():
        np.testing.assert_allclose(value, second[name], atol=1e-6)
