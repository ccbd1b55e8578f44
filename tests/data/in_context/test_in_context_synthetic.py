import numpy as np
import pytest

from hyperlab.data.in_context.synthetic import Settings, noise_fields, synthetic_task
from hyperlab.errors import DataError

pytestmark = pytest.mark.fast


def test_a_task_is_a_function_of_seed_and_number():
    first, again = (synthetic_task(1, 5, subjects=3, size=32) for _ in range(2))
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (synthetic_task(1, 6, 3, 32).images != first.images).any()
    assert (synthetic_task(2, 5, 3, 32).images != first.images).any()
    more = synthetic_task(1, 5, subjects=5, size=32)
    np.testing.assert_array_equal(more.images[:3], first.images)


def test_what_a_task_holds():
    for number in range(6):
        made = synthetic_task(0, number, subjects=4, size=48)
        assert made.images.dtype == np.float32 and made.images.shape == made.labels.shape == (4, 48, 48)
        assert (made.images.min((1, 2)) == 0).all() and (made.images.max((1, 2)) == 1).all()
        assert made.template.min() >= 1 and made.template.max() <= 19
        assert set(np.unique(made.labels)) <= {0, *made.kept}
        for label in made.kept:
            assert ((made.labels == label).mean((1, 2)) >= 0.001).all()


def test_subjects_resemble_their_template_less_as_the_dial_goes_up():
    agreement = []
    for difficulty in (0.0, 1.0):
        made = [synthetic_task(0, number, 3, 48, Settings.of(difficulty)) for number in range(4)]
        agreement.append(np.mean([(one.labels == one.template[None]).mean() for one in made]))
    assert agreement[0] > agreement[1] + 0.05


def test_the_dial_at_one_is_the_published_range():
    assert Settings.of(1.0) == Settings()
    with pytest.raises(DataError, match="difficulty is 1.5"):
        Settings.of(1.5)
    with pytest.raises(DataError, match="expected at least 1 of 16"):
        synthetic_task(0, 0, size=8)


def test_noise_is_as_coarse_as_its_scale():
    fields = noise_fields(np.random.default_rng(0), 200, 33, [32], 1.0)
    assert fields.shape == (200, 33, 33)
    # two nodes along each axis: linear in between
    np.testing.assert_allclose(np.diff(fields, 2, axis=1), 0, atol=1e-5)
    assert abs(fields[:, 0, 0].std() - np.sqrt(1 / 3)) < 0.1  # a deviation uniform in 0..1
