import numpy as np
import pytest
from PIL import Image
from segmentation_files import picture

from hyperlab.data.readers.images import read_image, read_mask
from hyperlab.errors import DataError

pytestmark = pytest.mark.fast

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 7), np.uint8)
COLOUR = RNG.integers(0, 256, (5, 7, 3), np.uint8)
DEEP = RNG.integers(0, 65536, (5, 7), np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".PNG"])
@pytest.mark.parametrize("array", [GREY, COLOUR], ids=["grey", "colour"])
def test_lossless_8_bit_images_come_back_with_their_channels_last(tmp_path, suffix, array):
    read = read_image(picture(tmp_path / f"a{suffix}", array))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array.reshape(5, 7, -1))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_survive(tmp_path, suffix):
    path = picture(tmp_path / f"a{suffix}", DEEP)
    image, mask = read_image(path), read_mask(path)
    np.testing.assert_array_equal(image[..., 0], DEEP)
    np.testing.assert_array_equal(mask, DEEP)
    assert image.dtype.isnative and mask.dtype.isnative


def test_big_endian_tiff_is_turned_to_native_order(tmp_path):
    Image.fromarray(DEEP.astype(">u2")).save(tmp_path / "a.tif")
    read = read_image(tmp_path / "a.tif")
    assert read.dtype.isnative
    np.testing.assert_array_equal(read[..., 0], DEEP)


def test_float_tiff(tmp_path):
    values = RNG.normal(size=(5, 7)).astype(np.float32)
    np.testing.assert_array_equal(read_image(picture(tmp_path / "a.tif", values))[..., 0], values)
    np.testing.assert_array_equal(read_mask(picture(tmp_path / "b.tif", GREY.astype(np.float32))), GREY)
    with pytest.raises(DataError, match=r"a.tif holds values that are no whole numbers"):
        read_mask(tmp_path / "a.tif")


def test_a_grey_mask_saved_as_colour_is_read_and_a_coloured_one_refused(tmp_path):
    np.testing.assert_array_equal(read_mask(picture(tmp_path / "a.png", np.stack([GREY] * 3, -1))), GREY)
    with pytest.raises(DataError, match=r"b.png is a colour image, not a mask .* save one channel"):
        read_mask(picture(tmp_path / "b.png", COLOUR))


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG"])
def test_jpeg_is_an_image_and_no_mask(tmp_path, name):
    path = picture(tmp_path / name, GREY)
    assert read_image(path).shape == (5, 7, 1)
    with pytest.raises(DataError, match=r"is a JPEG file, whose compression changes labels .* export the mask as PNG"):
        read_mask(path)


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_broken_files_are_refused_by_name(tmp_path, read):
    with pytest.raises(DataError, match=r"a.png does not exist"):
        read(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("<html>not found</html>")
    with pytest.raises(DataError, match=r"b.png is no image"):
        read(tmp_path / "b.png")
    whole = picture(tmp_path / "c.png", RNG.integers(0, 256, (60, 60), np.uint8)).read_bytes()
    for share in (0.3, 0.9):
        (tmp_path / "c.png").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DataError, match=r"c.png is truncated or damaged"):
            read(tmp_path / "c.png")
    pages = [Image.fromarray(GREY), Image.fromarray(GREY)]
    pages[0].save(tmp_path / "d.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match=r"d.tif holds 2 pages, expected one image"):
        read(tmp_path / "d.tif")
