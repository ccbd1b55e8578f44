import flax.linen as nn
import jax
import numpy as np
import pytest

from hyperlab.errors import ConfigError, DataError, PatternError
from hyperlab.uncertainty import features as f

probe = jax.jit(f.independence)


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(4, (3, 3), name="first")(x)
        x = nn.Dropout(0.5, deterministic=not train)(nn.relu(x))
        return nn.Conv(1, (1, 1), name="head")(nn.Conv(4, (3, 3), strides=2, name="second")(x))


NET, IMAGES = Net(), np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def variables():
    return jax.jit(NET.init)(jax.random.key(0), IMAGES)


def test_independent_channels_have_the_known_mean_and_nearly_full_rank():
    random = np.random.default_rng(0)
    draws = [probe(random.normal(size=(2000, 12)).astype(np.float32)) for _ in range(20)]
    found = draws[0]
    np.testing.assert_allclose(np.mean([d.mean_absolute for d in draws]), np.sqrt(2 / (np.pi * 2000)), rtol=0.08)
    assert found.above_half == 0 and 11.8 < found.effective_rank <= 12 and found.live == 12


def test_copies_have_correlation_one_and_rank_one():
    column = np.random.default_rng(1).normal(size=(2000, 1)).astype(np.float32)
    found = probe(column * np.array([1, -2, 3] * 4, np.float32) + 7)
    np.testing.assert_allclose(found[:3], [1, 1, 1], rtol=1e-3)


def test_dead_channels_count_for_nothing():
    random = np.random.default_rng(2)
    alive = random.normal(size=(2000, 6)) @ random.normal(size=(6, 6))
    dead = np.concatenate([alive, np.tile([0.0, 5.0], (2000, 3))], 1).astype(np.float32)
    found, expected = probe(dead), np.abs(np.corrcoef(alive.T))[~np.eye(6, dtype=bool)]
    np.testing.assert_allclose(
        [found.mean_absolute, found.above_half], [expected.mean(), (expected > 0.5).mean()], rtol=1e-4
    )
    share = np.linalg.eigvalsh(np.corrcoef(alive.T)) / 6
    np.testing.assert_allclose(found.effective_rank, np.exp(-(share * np.log(share)).sum()), rtol=1e-4)
    assert (int(found.live), found.channels, found.pixels) == (6, 12, 2000)
    nothing = probe(np.zeros((2000, 12), np.float32))
    assert nothing.live == 0 and np.isnan(nothing.mean_absolute) and np.isnan(nothing.effective_rank)


def test_places_are_pure_and_as_many_of_each():
    labels = np.zeros((2, 8, 8), int)
    labels[0, :4], labels[1, 0, 0] = 1, 1
    place = np.arange(2 * 4 * 4, dtype=np.float32).reshape(2, 4, 4, 1)
    found = f.region_pixels(place, labels)
    assert found["foreground"].shape == found["background"].shape == (8, 1)
    assert set(found["foreground"].ravel()) == set(range(8))
    assert not set(found["background"].ravel()) & {*range(8), 16.0}  # place 16 is a quarter foreground
    assert f.region_pixels(place, labels, pixels=3)["foreground"].shape == (3, 1)
    with pytest.raises(DataError, match="at least 2"):
        f.region_pixels(place, np.zeros((2, 8, 8), int))
    with pytest.raises(DataError, match="divide"):
        f.region_pixels(place, labels[:, :7])


def test_captured_outputs_are_those_of_the_layers(variables):
    found = f.capture(NET, variables, IMAGES, ["*", "!Dropout_0"], train=False)
    assert {path: value.shape for path, value in found.items()} == {
        "first": (2, 8, 8, 4),
        "second": (2, 4, 4, 4),
        "head": (2, 4, 4, 1),
    }
    np.testing.assert_array_equal(found["head"], NET.apply(variables, IMAGES))
    with pytest.raises(PatternError, match="did you mean 'first'"):
        f.capture(NET, variables, IMAGES, "frist")


def test_removing_a_share_of_the_channels(variables):
    forward = jax.jit(f.without_channels(NET, "second", 0.5))
    outputs = np.stack([forward(k, variables, IMAGES) for k in jax.random.split(jax.random.key(1), 40)])
    second = np.asarray(f.capture(NET, variables, IMAGES, "second")["second"])
    terms = second * np.asarray(variables["params"]["head"]["kernel"])[0, 0, :, 0]
    pairs = [2 * (terms[..., i] + terms[..., j])[..., None] for i in range(4) for j in range(i)]
    errors = np.array([[np.abs(output - pair).max() for pair in pairs] for output in outputs])
    assert (errors.min(1) < 1e-5).all()  # always two of four, the same ones in the whole batch
    assert len(set(errors.argmin(1))) == 6  # every pair is drawn
    none = f.without_channels(NET, "second", 0.0)(jax.random.key(2), variables, IMAGES)
    np.testing.assert_array_equal(none, NET.apply(variables, IMAGES))


def test_a_share_that_leaves_nothing_is_refused(variables):
    with pytest.raises(ConfigError, match="less than 1"):
        f.without_channels(NET, "second", 1.0)
    with pytest.raises(ConfigError, match="all 1 channels"):
        f.without_channels(NET, "head", 0.6)(jax.random.key(0), variables, IMAGES)
