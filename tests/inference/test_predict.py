import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab.errors import CheckpointError, ConfigError, DataError
from hyperlab.inference import predict, saved
from hyperlab.models import DropoutUNet, UNet
from hyperlab.uncertainty import dropout, maps, sample

NET = DropoutUNet((3,), rate=0.4, places=("bottleneck",))
VARIABLES = jax.jit(NET.init)(jax.random.key(0), jnp.ones((1, 16, 16, 1)))
ABOUT = {"channels": 1, "classes": ("background", "parasite"), "window": (16, 12), "temperature": 1.5}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    saved.save(folder, NET, VARIABLES, name="spatial_0", **ABOUT)
    return folder


def test_a_network_comes_back_with_all_that_using_it_needs(run):
    found = saved.load(run)
    numbers = (1, ABOUT["classes"], 1.5, "full range", (16, 12), 1.0, "foreground", "spatial_0")
    assert found.module == NET and found[2:] == numbers
    jax.tree.map(np.testing.assert_array_equal, found.variables, VARIABLES)
    assert saved.load(run / "networks").module == NET


def test_maps_of_an_image_that_a_window_holds_are_those_of_the_whole_image(run):
    network = saved.load(run)
    image = np.random.default_rng(0).uniform(size=(16, 12, 1)).astype(np.float32)
    found = predict.predictor(network, samples=3, seed=5, batch=1)(image)
    draws = dropout(NET.apply, VARIABLES, share_masks=True)
    expected = maps(sample(draws, jax.random.key(5), jnp.asarray(image[None]), 3, temperature=1.5))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other[0], atol=1e-5)
    assert found.epistemic.max() > 0


def test_an_image_is_brought_to_the_scale_of_the_training_images_and_back(run):
    """An image of twice the resolution has the same answer, a quarter of a pixel wide interpolation apart."""
    network, image = saved.load(run), np.zeros((16, 12, 1), np.float32)
    image[5:11, 3:9] = 0.8
    options = {"samples": 3, "seed": 5, "batch": 1}
    own = predict.predictor(network, **options)(image)
    fine = np.repeat(np.repeat(image, 2, 0), 2, 1)
    scaled = predict.predictor(network._replace(scale=0.5), **options)(fine)
    asked = predict.predictor(network, scale=0.5, **options)(fine)
    assert scaled.mean.shape == (32, 24, 2) and scaled.epistemic.shape == (32, 24)
    np.testing.assert_allclose(scaled.mean.sum(-1), 1, atol=1e-5)
    np.testing.assert_array_equal(scaled.mean, asked.mean)
    inside = np.s_[14:18, 10:14]  # far from edges, which the resampling blurs
    np.testing.assert_allclose(scaled.mean[inside], np.repeat(np.repeat(own.mean[7:9, 5:7], 2, 0), 2, 1), atol=0.02)


def test_windows_of_a_large_image_agree_where_borders_are_far(run):
    """Every window is seen by the same networks: beyond the reach of a border they give what the whole does."""
    network = saved.load(run)
    image = np.random.default_rng(1).uniform(size=(40, 12, 1)).astype(np.float32)
    tiled = predict.predictor(network, samples=2, window=(20, 12), batch=1)(image)
    whole = predict.predictor(network, samples=2, window=(40, 12), batch=1)(image)
    np.testing.assert_allclose(tiled.epistemic[:8], whole.epistemic[:8], atol=1e-6)
    # the outermost rows of windows have a border near, and weigh little
    np.testing.assert_allclose(tiled.mean, whole.mean, atol=0.02)


def test_windows_smaller_than_the_receptive_field_are_warned_about(run):
    network = saved.load(run)._replace(module=DropoutUNet((3, 3)))
    assert "a window of 16x12 is smaller" in predict.window_warning(network, (16, 12))
    assert "up to 20x20 pixels; give a window of 20" in predict.window_warning(network, (16, 12))
    assert predict.window_warning(network, (20, 20)) == ""


def test_networks_that_draw_nothing_and_too_few_draws_are_refused(run, tmp_path):
    with pytest.raises(ConfigError, match="1 samples have no spread"):
        predict.predictor(saved.load(run), samples=1)
    fixed = UNet((3,))
    saved.save(tmp_path, fixed, VARIABLES, name="none_0", **ABOUT)
    with pytest.raises(ConfigError, match=r"Looked for dropout .*layers that were called: .*Conv"):
        predict.predictor(saved.load(tmp_path), samples=2)


def test_descriptions_that_do_not_fit_are_refused(run, tmp_path):
    with pytest.raises(DataError, match=r"holds no networks/model.json, so no network to use"):
        saved.load(tmp_path)
    path = saved.save(tmp_path, NET, VARIABLES, name="a", **ABOUT)
    good = path.read_text()
    for old, new, error, message in (
        ('"DropoutUNet"', '"DropoutUNett"', ConfigError, "unknown module 'DropoutUNett'; did you mean 'DropoutUNet'"),
        ('"rate"', '"rat"', ConfigError, "DropoutUNet has no argument 'rat'; did you mean 'rate'"),
        ('"score"', '"scor"', ConfigError, "does not say score"),
        ('"full range"', '"range"', ConfigError, "unknown normalisation 'range'"),
        ("{", "", DataError, "is no JSON"),
        ('"a.npz"', '"b.npz"', CheckpointError, "b.npz cannot be read"),
    ):
        path.write_text(good.replace(old, new, 1))
        with pytest.raises(error, match=message):
            saved.load(tmp_path)

    class Mine(UNet):
        pass

    with pytest.raises(ConfigError, match="Mine is no network of hyperlab.models"):
        saved.save(tmp_path, Mine((3,)), VARIABLES, name="a", **ABOUT)
    with pytest.raises(ConfigError, match="1 channels, 1 classes; expected"):
        saved.save(tmp_path, NET, VARIABLES, name="a", channels=1, classes=("all",), window=(8, 8))
