import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab.errors import GammaError
from hyperlab.hypernet import diagnose, hypernetize

EXAMPLE = jnp.zeros((16, 8))
NETWORK = nn.Sequential([nn.Dense(32), nn.relu, nn.Dense(10)])
DIRECT = {"encoding": "raw", "parametrization": "direct"}


def verdict(**options):
    gamma_range = options.pop("range", (0.0, 1.0))
    return diagnose(hypernetize(NETWORK, EXAMPLE, **options), gamma_range, seeds=3, points=11)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "sound"),
        ({**DIRECT, "initializer": "scale_matched"}, "proportional"),
        ({"parametrization": "direct", "initializer": "fan_out_flat"}, "dead"),
        # A raw input far outside of what the initialisation expects.
        ({"encoding": "raw", "gamma_range": None, "range": (200.0, 201.0)}, "exploding"),
    ],
)
def test_the_verdict_names_what_was_planted(options, expected):
    found = verdict(**options)
    assert found.verdict == expected
    assert str(found).startswith(f"{expected}: ")


def test_the_numbers_behind_a_proportional_verdict_are_exact():
    found = verdict(**DIRECT)
    assert found.correlation == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(found.norms, found.gammas * found.norms[:, -1:], rtol=1e-4, atol=1e-6)
    sound = verdict()
    assert abs(sound.growth - 1) < 0.1 and abs(np.median(sound.rms) - 1) < 0.1


def test_a_proportional_and_dead_network_is_called_both():
    found = verdict(**DIRECT, initializer="fan_out_flat")
    assert found.findings == ("proportional", "dead") and "also dead" in str(found)


def test_a_network_that_is_not_finite_is_said_to_be():
    broken = hypernetize(
        nn.Dense(3, kernel_init=lambda *_: jnp.full((8, 3), jnp.nan)), EXAMPLE, hidden=(4,), encoding="raw"
    )
    assert diagnose(broken, seeds=2, points=5).verdict == "non-finite"


def test_a_range_that_is_none_is_refused_and_the_picture_is_written(tmp_path):
    with pytest.raises(GammaError, match="low < high"):
        verdict(range=(1.0, 0.0))
    path = verdict().plot(tmp_path / "new" / "picture.png")
    assert path.stat().st_size > 10_000
