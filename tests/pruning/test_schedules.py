"""When, how far, and from which values."""

import jax
import numpy as np
import pytest

from hyperlab import pruning
from hyperlab.errors import ConfigError, ParameterTreeError
from hyperlab.pruning import schedules

pytestmark = pytest.mark.fast
PARAMS = {"a": {"kernel": np.ones((20, 40), np.float32)}, "norm": {"scale": np.ones(200, np.float32)}}


def test_the_cubic_schedule_gives_published_numbers():
    """Of google-research/jaxpruner, which is one step ahead: sparsity 0.8 from step 10,000 to 25,000."""
    published = {10_000: 0.00016, 11_000: 0.14971, 15_000: 0.56303, 20_000: 0.77039, 24_000: 0.79976, 25_000: 0.8}
    for step, sparsity in published.items():
        assert abs(schedules.cubic_sparsity(step + 1, 0.8, 10_000, 25_000) - sparsity) < 6e-6


def test_cubic_events_rise_to_the_compression():
    events = schedules.cubic(8, begin=100, end=1000, every=400)
    assert [step for step, _ in events] == [500, 900, 1000]
    for step, compression in events:
        assert 1 - 1 / compression == pytest.approx(7 / 8 * (1 - (1 - (step - 100) / 900) ** 3))
    assert events[-1][1] == 8.0


def test_rounds():
    assert [c for _, c in schedules.iterative(64, 6)] == [2, 4, 8, 16, 32, 64]
    assert schedules.one_shot(3, step=5) == ((5, 3.0),)
    for round_, compression in enumerate(schedules.lottery(PARAMS, 5, 0.2), 1):
        assert 1000 / compression == pytest.approx(200 + 800 * 0.8**round_)
    ratios = schedules.exponential(PARAMS, 2, 3)
    fractions = [pruning.kept_fraction(PARAMS, c) for c in ratios]
    np.testing.assert_allclose(fractions, [0.375 ** (i / 3) for i in (1, 2, 3)])
    assert ratios[-1] == 2.0


def test_lottery_rounds_prune_a_fifth_of_what_is_left():
    params = {"a": {"kernel": np.random.default_rng(0).normal(size=(20, 40))}, "norm": {"scale": np.ones(200)}}
    masks, left = None, 800
    for compression in schedules.lottery(params, 6):
        masks = pruning.masks("global_magnitude", params, compression, masks=masks)
        kept = pruning.available(masks)["a/kernel"]
        assert abs(kept - 0.8 * left) <= 1.8
        left = kept


def test_values():
    masks = pruning.masks("random", PARAMS, 2.0, key=0)
    at = {
        name: jax.tree.map(lambda leaf, n=n: np.full_like(leaf, n), PARAMS) for n, name in enumerate(("t", "e", "f"), 1)
    }
    for rule, value in (("keep", 1), ("rewind", 2), ("reinitialize", 3)):
        result = pruning.values(rule, at["t"], masks, earlier=at["e"], fresh=at["f"])
        np.testing.assert_array_equal(result["a"]["kernel"], value * masks["a"]["kernel"])
        np.testing.assert_array_equal(result["norm"]["scale"], value)
    with pytest.raises(ConfigError, match="needs earlier="):
        pruning.values("rewind", at["t"], masks)
    with pytest.raises(ConfigError, match="did you mean 'rewind'"):
        pruning.values("rewnd", at["t"], masks)
    with pytest.raises(ParameterTreeError, match="missing 'norm/scale'"):
        pruning.values("rewind", at["t"], masks, earlier={"a": at["e"]["a"]})


BAD = {
    "ratio": (lambda: schedules.one_shot(0.5), "below 1"),
    "rounds": (lambda: schedules.iterative(2, 0), "rounds is at least 1"),
    "interval": (lambda: schedules.cubic_sparsity(1, 0.5, 3, 3), "begin < end"),
    "sparsity": (lambda: schedules.cubic_sparsity(1, 1.0, 0, 3), "final < 1"),
    "share": (lambda: schedules.lottery(PARAMS, 2, 1.0), r"in \(0, 1\)"),
    "ceiling": (lambda: schedules.exponential(PARAMS, 5, 3), "ceiling is 5"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_schedules(case):
    call, message = BAD[case]
    with pytest.raises(ConfigError, match=message):
        call()
