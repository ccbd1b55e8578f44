import numpy as np
import pytest
from PIL import Image
from pixel_files import packed, png
from segmentation_files import picture

from hyperlab.data import microscopy
from hyperlab.data.readers.images import depth_of, read_image
from hyperlab.errors import DataError

pytestmark = pytest.mark.fast

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 8), np.uint8)
DEEP = RNG.integers(0, 4096, (6, 8), np.uint16)
COLOUR = RNG.integers(0, 256, (6, 8, 3), np.uint8)
FLOAT = RNG.uniform(size=(6, 8)).astype(np.float32)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("array", "top"), [(GREY, 255), (DEEP, 65535), (COLOUR, 255)])
def test_values_are_divided_by_the_full_range_of_their_type(tmp_path, suffix, array, top):
    picture(tmp_path / f"b{suffix}", array)
    picture(tmp_path / f"a{suffix}", array)
    (tmp_path / "notes.txt").write_text("no image")
    first, second = microscopy.images(tmp_path)
    assert (first.name, second.name, first.low, first.high) == ("a", "b", 0, top)
    assert first.pixels.dtype == np.float32
    np.testing.assert_allclose(first.pixels, array.reshape(6, 8, -1) / top, rtol=1e-6)


def test_floating_point_values_are_taken_as_they_are_where_they_lie_in_the_range(tmp_path):
    assert microscopy.read(picture(tmp_path / "a.tif", FLOAT)).high == 1
    with pytest.raises(DataError, match=r"b.tif holds float32 values from .* no full range"):
        microscopy.read(picture(tmp_path / "b.tif", 7 * FLOAT))
    with pytest.raises(DataError, match="c.tif holds values that are not finite"):
        microscopy.read(picture(tmp_path / "c.tif", np.where(FLOAT > 0.5, np.nan, FLOAT)))


def test_an_images_own_range_is_that_of_all_channels_together(tmp_path):
    found = microscopy.read(picture(tmp_path / "a.png", COLOUR), "own range")
    assert (found.low, found.high) == (COLOUR.min(), COLOUR.max())
    np.testing.assert_allclose(found.pixels, (COLOUR - found.low) / (found.high - found.low), atol=1e-6)


def test_percentiles_are_those_of_all_channels_together(tmp_path):
    found = microscopy.read(picture(tmp_path / "a.png", COLOUR), "percentiles")
    low, high = np.percentile(COLOUR, (0.5, 99.5))
    assert (found.low, found.high) == (low, high)
    np.testing.assert_allclose(found.pixels, np.clip((COLOUR - low) / (high - low), 0, 1), atol=1e-6)
    with pytest.raises(DataError, match="unknown normalisation 'percentile'; did you mean 'percentiles'"):
        microscopy.read(tmp_path / "a.png", "percentile")


@pytest.mark.parametrize("array", [GREY, DEEP, COLOUR, FLOAT, GREY > 99, np.concatenate([COLOUR, GREY[..., None]], -1)])
def test_the_header_says_what_the_reader_returns(tmp_path, array):
    path = picture(tmp_path / "a.tif", array)
    depth, values = depth_of(path), read_image(path)
    assert (depth.bits, depth.channels) == (1 if array.dtype == bool else 8 * values.dtype.itemsize, values.shape[-1])


def test_mixed_folders_are_refused_with_their_files(tmp_path):
    picture(tmp_path / "a.png", GREY)
    picture(tmp_path / "b.tif", DEEP)
    with pytest.raises(
        DataError, match=r"mixes images of 2 kinds: 8 bits, 1 channel \(a.png\); 16 bits, 1 channel \(b"
    ):
        microscopy.images(tmp_path)
    picture(tmp_path / "b.tif", COLOUR)
    with pytest.raises(DataError, match=r"8 bits, 1 channel \(a.png\); 8 bits, 3 channels \(b.tif\); convert"):
        microscopy.files(tmp_path)


def test_an_image_is_divided_by_the_white_of_its_own_depth(tmp_path):
    deep = 200 * COLOUR.astype(int)
    cases = {
        "four.png": (png(tmp_path / "four.png", packed(GREY % 16, 4), 8, 4, 0), GREY[..., None] % 16 / 15, 15),
        "deep.png": (
            png(tmp_path / "deep.png", [row.astype(">u2").tobytes() for row in deep], 8, 16, 2), deep / 65535, 65535,
        ),
    }  # fmt: skip
    for path, right, white in cases.values():
        found = microscopy.read(path)
        np.testing.assert_allclose(found.pixels, right, rtol=1e-6)
        assert found.high == white


def test_folders_without_images_or_with_twins_are_refused(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        microscopy.files(tmp_path / "missing")
    with pytest.raises(DataError, match="holds no image; readable are .png"):
        microscopy.files(tmp_path)
    picture(tmp_path / "a.png", GREY)
    picture(tmp_path / "a.tif", GREY)
    with pytest.raises(DataError, match="several files named 'a'; are masks among them"):
        microscopy.files(tmp_path)
    (tmp_path / "a.tif").write_bytes(b"nothing")
    (tmp_path / "a.png").rename(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"a.tif is no image in PNG"):
        microscopy.files(tmp_path)


def test_big_endian_16_bits_count_as_16_bits(tmp_path):
    Image.fromarray(DEEP.astype(">u2")).save(tmp_path / "a.tif")
    np.testing.assert_allclose(microscopy.images(tmp_path)[0].pixels[..., 0], DEEP / 65535, rtol=1e-6)
