import numpy as np
import pytest

from hyperlab.data.shifts import SEVERITIES, SHIFTS, shifted
from hyperlab.errors import DataError

pytestmark = pytest.mark.fast

IMAGES = np.random.default_rng(0).uniform(0.2, 0.8, (3, 24, 32, 3)).astype(np.float32)
LABELS = (IMAGES[..., 0] > 0.5).astype(np.int32)


def test_every_shift_has_five_severities_that_go_one_way():
    for amounts in SHIFTS.values():
        assert len(amounts) == SEVERITIES
        assert np.all(np.diff(amounts) > 0) or np.all(np.diff(amounts) < 0)


@pytest.mark.parametrize("shift", ["blur", "intensity", "noise", "size"])
def test_images_that_exist_are_shifted_by_degrees(shift):
    unchanged, labels = shifted(IMAGES, shift, 0, labels=LABELS)
    np.testing.assert_array_equal(unchanged, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)
    distances = []
    for severity in range(1, SEVERITIES + 1):
        images, labels = shifted(IMAGES, shift, severity, labels=LABELS)
        assert images.shape == IMAGES.shape and images.dtype == np.float32 and 0 <= images.min() <= images.max() <= 1
        assert labels.shape == LABELS.shape and labels.dtype == LABELS.dtype
        assert shift == "size" or labels is LABELS
        distances.append(np.abs(images - IMAGES).mean())
    assert shift == "size" or np.all(np.diff(distances) > 0)
    assert shifted(IMAGES, shift, 1)[1] is None


def test_noise_is_a_function_of_seed_and_place_and_grows_in_amplitude_alone():
    first, _ = shifted(IMAGES, "noise", 1, seed=4)
    np.testing.assert_array_equal(first, shifted(IMAGES, "noise", 1, seed=4)[0])
    np.testing.assert_array_equal(first[:2], shifted(IMAGES[:2], "noise", 1, seed=4)[0])
    assert not np.array_equal(first, shifted(IMAGES, "noise", 1, seed=5)[0])
    grey = np.full_like(IMAGES, 0.5)  # nothing is clipped
    first, second = (shifted(grey, "noise", severity)[0] - grey for severity in (1, 2))
    np.testing.assert_allclose(second, SHIFTS["noise"][1] / SHIFTS["noise"][0] * first, atol=1e-6)
    assert first.std() == pytest.approx(SHIFTS["noise"][0], rel=0.05)


def test_size_magnifies_the_middle_and_its_truth_alike():
    y, x = np.meshgrid(np.arange(64), np.arange(64), indexing="ij")
    disk = (np.hypot(y - 31.5, x - 31.5) < 10).astype(np.float32)
    for severity, factor in enumerate(SHIFTS["size"], 1):
        images, labels = shifted(disk[None, ..., None], "size", severity, labels=disk.astype(np.int32)[None])
        assert labels.sum() / disk.sum() == pytest.approx(factor**2, rel=0.15)
        assert np.mean((images[..., 0] > 0.5) == labels) > 0.98


@pytest.mark.parametrize(
    ("images", "shift", "severity", "message"),
    [
        (IMAGES, "density", 1, "cannot be changed; it is a shift of the generator"),
        (IMAGES, "nois", 1, "unknown shift 'nois'; did you mean 'noise'"),
        (IMAGES, "noise", 7, "severity is 7"),
        (255 * IMAGES, "blur", 1, "expected values in 0..1"),
        (IMAGES[0], "blur", 1, r"shape \(24, 32, 3\), expected \[n, height, width, channel\]"),
    ],
)
def test_refusals(images, shift, severity, message):
    with pytest.raises(DataError, match=message):
        shifted(images, shift, severity)
