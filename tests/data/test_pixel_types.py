"""Every pixel type that was tried, with its right value and where that value is written.

Files are made byte by byte from the standards (`helpers/pixel_files.py`), or by the library that is named. Sources:
PNG is ISO/IEC 15948 (W3C PNG 1.2); TIFF is TIFF 6.0 (Adobe 1992); BMP is the BITMAPINFOHEADER of Windows; EXIF is
CIPA DC-008.
"""

import numpy as np
import pytest
import tifffile
from PIL import Image
from pixel_files import packed, png, tiff
from segmentation_files import picture

from hyperlab.data.readers.images import Depth, depth_of, read_image, read_mask, read_raster
from hyperlab.data.readers.scan import read_labels, read_scan
from hyperlab.errors import DataError

pytestmark = pytest.mark.fast

RNG = np.random.default_rng(0)
BIT = RNG.integers(0, 2, (3, 11))
TWO, FOUR = RNG.integers(0, 4, (3, 11)), RNG.integers(0, 16, (3, 11))
EIGHT = RNG.integers(0, 256, (3, 11)).astype(np.uint8)
DEEP = RNG.integers(0, 65536, (3, 11)).astype(np.uint16)
COLOUR = RNG.integers(0, 256, (3, 11, 3)).astype(np.uint8)
DEEP_COLOUR = RNG.integers(0, 65536, (3, 11, 3)).astype(np.uint16)
INDEX = RNG.integers(0, 3, (3, 11))
BLACK_FIRST = np.array([[0, 0, 0], [200, 0, 0], [128, 128, 128]], np.uint8)
WHITE_FIRST, GREYS = (
    np.array([[255] * 3, [0] * 3, [7] * 3], np.uint8),
    np.array([[0] * 3, [255] * 3, [9] * 3], np.uint8),
)
RED_FIRST = BLACK_FIRST[[1, 0, 2]]
ONE = np.full((3, 11), 77, np.uint8)  # one grey everywhere
HOLES = np.where(BIT, 255, 0).astype(np.uint8)


def raw_tiff(array, bits=None, photometric=1, **tags):
    """A writer of one page with an array's own bytes."""
    kind = {"u": 1, "i": 2, "f": 3, "c": 6}[array.dtype.kind]
    stored = array.astype(array.dtype.newbyteorder("<"))
    return lambda path: tiff(path, stored.tobytes(), array.shape[:2], bits or 8 * array.dtype.itemsize, photometric, kind, **tags)  # fmt: skip


def packed_tiff(values, bits, **tags):
    return lambda path: tiff(path, b"".join(packed(values, bits)), values.shape, bits, **tags)


def packed_png(values, bits, colour=0, palette=None):
    colours = b"" if palette is None else palette.tobytes()
    return lambda path: png(path, packed(values, bits), values.shape[1], bits, colour, colours)


def deep_png(array, colour):
    return lambda path: png(path, [row.astype(">u2").tobytes() for row in array], array.shape[1], 16, colour)


def alpha_png(grey, alpha):
    return lambda path: png(path, [np.stack(p, -1).tobytes() for p in zip(grey, alpha, strict=True)], 11, 8, 4)


def exif(array, orientation, suffix):
    def write(path):
        tag = Image.Exif()
        tag[0x0112] = orientation
        Image.fromarray(array).save(path, exif=tag)
        return path

    return write


def planes(array):
    return np.moveaxis(array, -1, 0)


def pages(image, further, kind):
    """A writer of two pages, the second of a NewSubfileType of its own."""

    def write(path):
        with tifffile.TiffWriter(path) as file:
            file.write(image, metadata=None)
            file.write(further, subfiletype=kind, metadata=None, photometric="mask" if kind == 4 else "minisblack")

    return write


NO_LABELS = r"is a colour image, not a mask"
# name of the file | how it is written | image | mask, or the words of the error | depth | where the right value stands
TABLE = [
    ("grey1.png", packed_png(BIT, 1), BIT, BIT, Depth(1, 1), "PNG 11.2.2, colour type 0: samples 0 and 1"),
    ("grey2.png", packed_png(TWO, 2), TWO, TWO, Depth(2, 1), "PNG 11.2.2: samples 0 .. 3 (pillow 13 gives 0 85 170 255)"),
    ("grey4.png", packed_png(FOUR, 4), FOUR, FOUR, Depth(4, 1), "PNG 11.2.2: samples 0 .. 15"),
    ("grey8.png", lambda p: picture(p, EIGHT), EIGHT, EIGHT, Depth(8, 1), "PNG 11.2.2"),
    ("grey16.png", deep_png(DEEP, 0), DEEP, DEEP, Depth(16, 1), "PNG 11.2.2, big-endian samples"),
    ("rgb8.png", lambda p: picture(p, COLOUR), COLOUR, NO_LABELS, Depth(8, 3), "PNG 11.2.2, colour type 2"),
    ("rgb16.png", deep_png(DEEP_COLOUR, 2), DEEP_COLOUR, NO_LABELS, Depth(16, 3), "PNG 11.2.2 (pillow 13 keeps 8 bits)"),
    ("grey_alpha16.png", deep_png(np.stack([DEEP, DEEP], -1), 4), DEEP, DEEP, Depth(16, 1), "PNG 11.2.2, colour type 4"),
    ("equal_rgb.png", lambda p: picture(p, np.stack([EIGHT] * 3, -1)), np.stack([EIGHT] * 3, -1), EIGHT, Depth(8, 3), "equal channels are one"),
    ("alpha_drawn.png", alpha_png(ONE, HOLES), ONE, HOLES, Depth(8, 1), "one grey everywhere: what varies is alpha"),
    ("alpha_same.png", alpha_png(HOLES, HOLES), HOLES, HOLES, Depth(8, 1), "alpha says the same as the grey values"),
    ("alpha_full.png", alpha_png(EIGHT, ONE), EIGHT, EIGHT, Depth(8, 1), "constant alpha says nothing"),
    ("alpha_other.png", alpha_png(EIGHT, HOLES[::-1]), EIGHT, r"grey values and another in its alpha", Depth(8, 1), "two masks in one file"),
    ("colours.png", packed_png(INDEX, 2, 3, BLACK_FIRST), BLACK_FIRST[INDEX], INDEX, Depth(8, 3), "PNG 11.2.3: indices; Pascal VOC's masks"),
    ("red_first.png", packed_png(INDEX, 4, 3, RED_FIRST), RED_FIRST[INDEX], r"begins with \(200, 0, 0\)", Depth(8, 3), "an order of its own"),
    ("white_first.png", packed_png(INDEX, 2, 3, WHITE_FIRST), WHITE_FIRST[INDEX][..., :1], WHITE_FIRST[INDEX][..., 0], Depth(8, 1), "greys are grey values, whatever their order"),
    ("greys.png", packed_png(INDEX, 8, 3, GREYS), GREYS[INDEX][..., :1], GREYS[INDEX][..., 0], Depth(8, 1), "greys are grey values"),
    ("bits.bmp", lambda p: Image.fromarray(BIT > 0).save(p), HOLES, HOLES, Depth(8, 1), "BMP of 1 bit has a palette, here black and white"),
    ("grey.bmp", lambda p: picture(p, EIGHT), EIGHT, EIGHT, Depth(8, 1), "BMP of 8 bits with a palette of all greys"),
    ("bit.tif", packed_tiff(BIT, 1), BIT, BIT, Depth(1, 1), "TIFF 6.0 section 3, bilevel images"),
    ("bit_white_is_zero.tif", packed_tiff(BIT, 1, photometric=0), BIT, BIT, Depth(1, 1, True), "as tifffile 2026.3.3 gives it"),
    ("two.tif", packed_tiff(TWO, 2), TWO, TWO, Depth(2, 1), "TIFF 6.0 section 4 (BitsPerSample)"),
    ("four.tif", packed_tiff(FOUR, 4), FOUR, FOUR, Depth(4, 1), "TIFF 6.0 section 4: 4 bits"),
    ("grey.tif", raw_tiff(EIGHT), EIGHT, EIGHT, Depth(8, 1), "TIFF 6.0 section 4"),
    ("grey_white_is_zero.tif", raw_tiff(EIGHT, photometric=0), EIGHT, EIGHT, Depth(8, 1, True), "stored numbers, as ImageJ and tifffile"),
    ("deep_white_is_zero.tif", raw_tiff(DEEP, photometric=0), DEEP, DEEP, Depth(16, 1, True), "16 bits as 8 bits"),
    ("int8.tif", raw_tiff(EIGHT.view(np.int8)), EIGHT.view(np.int8), EIGHT.view(np.int8), Depth(8, 1), "TIFF 6.0 section 19, SampleFormat 2"),
    ("int16.tif", raw_tiff(DEEP.view(np.int16)), DEEP.view(np.int16), DEEP.view(np.int16), Depth(16, 1), "SampleFormat 2"),
    ("uint16.tif", raw_tiff(DEEP), DEEP, DEEP, Depth(16, 1), "SampleFormat 1"),
    ("uint32.tif", raw_tiff(DEEP.astype(np.uint32) * 65000), DEEP.astype(np.uint32) * 65000, DEEP.astype(np.uint32) * 65000, Depth(32, 1), "beyond 2^31 too"),
    ("int64.tif", raw_tiff(-EIGHT.astype(np.int64)), -EIGHT.astype(np.int64), -EIGHT.astype(np.int64), Depth(64, 1), "SampleFormat 2"),
    ("half.tif", raw_tiff(EIGHT.astype(np.float16)), EIGHT.astype(np.float16), EIGHT, Depth(16, 1), "TIFF TechNote 3, floating point of 16 bits"),
    ("float.tif", raw_tiff(EIGHT.astype(np.float32) / 3), EIGHT.astype(np.float32) / 3, r"no whole numbers", Depth(32, 1), "SampleFormat 3"),
    ("double.tif", raw_tiff(EIGHT.astype(np.float64)), EIGHT.astype(np.float64), EIGHT, Depth(64, 1), "SampleFormat 3"),
    ("complex.tif", raw_tiff(EIGHT.astype(np.complex64)), r"complex64 values, expected real", r"expected real", Depth(64, 1), "SampleFormat 6"),
    ("rgb.tif", raw_tiff(COLOUR, photometric=2, samples=3), COLOUR, NO_LABELS, Depth(8, 3), "TIFF 6.0 section 6"),
    ("rgb16.tif", raw_tiff(DEEP_COLOUR, photometric=2, samples=3), DEEP_COLOUR, NO_LABELS, Depth(16, 3), "TIFF 6.0 section 6"),
    ("planar.tif", lambda p: tiff(p, planes(DEEP_COLOUR).astype("<u2").tobytes(), (3, 11), 16, 2, samples=3, planar=2), DEEP_COLOUR, NO_LABELS, Depth(16, 3), "PlanarConfiguration 2"),
    ("rgba.tif", lambda p: picture(p, np.concatenate([COLOUR, EIGHT[..., None]], -1)), COLOUR, NO_LABELS, Depth(8, 3), "ExtraSamples 2 is alpha"),
    ("infrared.tif", raw_tiff(np.concatenate([COLOUR, EIGHT[..., None]], -1), photometric=2, samples=4, extra=0), np.concatenate([COLOUR, EIGHT[..., None]], -1), NO_LABELS, Depth(8, 4), "ExtraSamples 0 is data"),
    ("palette.tif", raw_tiff(INDEX.astype(np.uint8), photometric=3, colormap=np.pad(257 * BLACK_FIRST.T.astype(int), ((0, 0), (0, 253))).ravel()), BLACK_FIRST[INDEX], INDEX, Depth(8, 3), "TIFF 6.0 section 5, ColorMap of 16 bits"),
    ("palette8.tif", raw_tiff(INDEX.astype(np.uint8), photometric=3, colormap=np.pad(BLACK_FIRST.T.astype(int), ((0, 0), (0, 253))).ravel()), BLACK_FIRST[INDEX], INDEX, Depth(8, 3), "a ColorMap of 8 bits, as libtiff takes it"),
    ("grey_palette.tif", raw_tiff(INDEX.astype(np.uint8), photometric=3, colormap=np.pad(257 * GREYS.T.astype(int), ((0, 0), (0, 253))).ravel()), GREYS[INDEX][..., :1], GREYS[INDEX][..., 0], Depth(8, 1), "greys are grey values"),
    ("turned.tif", raw_tiff(EIGHT, orientation=3), EIGHT[::-1, ::-1], EIGHT[::-1, ::-1], Depth(8, 1), "Orientation 3: the first row is the bottom, the first column the right"),
    ("turned.png", exif(EIGHT, 6, ".png"), np.rot90(EIGHT, -1), np.rot90(EIGHT, -1), Depth(8, 1), "Orientation 6: the first row is the right side"),
    ("lzw.tif", lambda p: tifffile.imwrite(p, DEEP, compression="lzw", predictor=2), DEEP, DEEP, Depth(16, 1), "tifffile 2026.3.3"),
    ("zlib.tif", lambda p: tifffile.imwrite(p, DEEP.astype(np.float32), compression="zlib", predictor=3), DEEP.astype(np.float32), DEEP, Depth(32, 1), "tifffile 2026.3.3"),
    ("big_endian.tif", lambda p: tifffile.imwrite(p, DEEP, byteorder=">"), DEEP, DEEP, Depth(16, 1), "MM files"),
    ("big.tif", lambda p: tifffile.imwrite(p, DEEP, bigtiff=True), DEEP, DEEP, Depth(16, 1), "BigTIFF, magic number 43"),
    ("tiles.tif", lambda p: tifffile.imwrite(p, DEEP, tile=(16, 16)), DEEP, DEEP, Depth(16, 1), "TIFF 6.0 section 15"),
    ("channels.ome.tif", lambda p: tifffile.imwrite(p, planes(DEEP_COLOUR[..., :2]), ome=True, photometric="minisblack", metadata={"axes": "CYX"}), DEEP_COLOUR[..., :2], NO_LABELS, Depth(16, 2), "OME axes CYX: channels"),
    ("channels.tif", lambda p: tifffile.imwrite(p, planes(DEEP_COLOUR), imagej=True, metadata={"axes": "CYX"}), DEEP_COLOUR, NO_LABELS, Depth(16, 3), "ImageJ channels=3"),
    ("slices.ome.tif", lambda p: tifffile.imwrite(p, planes(DEEP_COLOUR), ome=True, photometric="minisblack", metadata={"axes": "ZYX"}), r"holds 3 pages", r"holds 3 pages", Depth(16, 1), "OME axes ZYX: planes"),
    ("pages.tif", lambda p: tifffile.imwrite(p, np.stack([EIGHT] * 5), photometric="minisblack"), r"holds 5 pages", r"holds 5 pages", Depth(8, 1), "one page each"),
    ("one_page.tif", lambda p: tiff(p, EIGHT.tobytes() * 5, (3, 11), 8, description="ImageJ=1.54f\nimages=5\nslices=5\n"), r"holds 5 pages", r"holds 5 pages", Depth(8, 1), "ImageJ writes one page above 4 GB"),
    ("depth.tif", lambda p: tiff(p, EIGHT.tobytes() * 4, (3, 11), 8, depth=4), r"holds 4 pages", r"holds 4 pages", Depth(8, 1), "ImageDepth, tag 32997 (SGI)"),
    ("unlike.tif", lambda p: Image.fromarray(EIGHT).save(p, save_all=True, append_images=[Image.fromarray(EIGHT[:2])]), r"2 pages of unlike form", r"2 pages of unlike form", None, "pages of two sizes"),
    ("cmyk.tif", lambda p: Image.new("CMYK", (11, 3)).save(p), r"of the kind SEPARATED", r"of the kind SEPARATED", None, "TIFF 6.0 section 16"),
    ("lossy.tif", lambda p: Image.new("RGB", (16, 16)).save(p, compression="jpeg"), np.zeros((16, 16, 3)), r"is a JPEG file, whose compression", Depth(8, 3), "Compression 7"),
    ("inks.jpg", lambda p: Image.new("CMYK", (11, 3)).save(p), r"of the kind CMYK", r"is a JPEG file", None, "as CMYK in TIFF"),
    ("jpeg2000.tif", lambda p: tifffile.imwrite(p, EIGHT, compression="jpeg2000"), EIGHT, r"is a JPEG 2000 file, whose compression may change", Depth(8, 1), "Compression 34712: 9-7 and 5-3 wavelets"),
    ("webp.tif", lambda p: tifffile.imwrite(p, np.zeros((16, 16, 3), np.uint8), compression="webp", photometric="rgb"), np.zeros((16, 16, 3)), r"is a WebP file, whose compression may change", Depth(8, 3), "Compression 50001"),
    ("zstd.tif", lambda p: tifffile.imwrite(p, DEEP, compression="zstd"), DEEP, DEEP, Depth(16, 1), "Compression 50000, without loss"),
    ("nan.tif", raw_tiff(np.where(BIT, np.nan, 1).astype(np.float32)), np.where(BIT, np.nan, 1), r"values that are not finite", Depth(32, 1), "IEEE 754: NaN is unlike itself"),
    ("reduced.tif", pages(DEEP, DEEP[::2, ::2], 1), DEEP, DEEP, Depth(16, 1), "NewSubfileType 1: a smaller copy (TIFF 6.0 section 8)"),
    ("valid.tif", pages(DEEP, BIT > 0, 4), DEEP, DEEP, Depth(16, 1), "NewSubfileType 4: GDAL's mask of what is valid"),
    ("see_through.png", lambda p: Image.fromarray(TWO.astype(np.uint8)).save(p, transparency=0), TWO, TWO, Depth(8, 1), "PNG 11.3.2 (tRNS) changes no samples"),
    ("named.png", lambda p: Image.fromarray(ONE).save(p, format="JPEG"), ONE, r"is a JPEG file, whose compression", Depth(8, 1), "the content decides"),
    ("named.tif", lambda p: Image.fromarray(EIGHT).save(p, format="PNG"), EIGHT, EIGHT, Depth(8, 1), "the content decides"),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_the_numbers_that_are_stored_are_the_numbers_that_are_used(tmp_path, row):
    name, write, image, mask, depth, _ = row
    write(tmp_path / name)
    for read, right in ((read_image, image), (read_mask, mask)):
        if isinstance(right, str):
            with pytest.raises(DataError, match=right) as error:
                read(tmp_path / name)
            assert name in str(error.value)
            continue
        found = read(tmp_path / name)
        assert found.dtype.isnative
        np.testing.assert_array_equal(found, right if read is read_mask else right.reshape(*right.shape[:2], -1))
    if depth is not None:
        assert depth_of(tmp_path / name) == depth


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_orientation_is_applied_as_pillow_shows_it(tmp_path, orientation, suffix):
    """Pillow's own transposition is the oracle, and a mask turns with its image."""
    from PIL import ImageOps

    array = np.repeat(np.repeat(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40, 8, 0), 8, 1)
    tag = Image.Exif()
    tag[0x0112] = orientation
    Image.fromarray(array).save(tmp_path / f"a{suffix}", exif=tag, **({"quality": 100} if suffix == ".jpg" else {}))
    plain = Image.fromarray(array)
    plain.getexif()[0x0112] = orientation
    right = np.asarray(ImageOps.exif_transpose(plain))
    np.testing.assert_allclose(read_image(tmp_path / f"a{suffix}")[..., 0], right, atol=2)


def test_white_says_what_a_picture_is_divided_by(tmp_path):
    for name, write, white in (
        ("1.png", packed_png(BIT, 1), 1), ("4.png", packed_png(FOUR, 4), 15), ("16.png", deep_png(DEEP, 0), 65535),
        ("i.tif", raw_tiff(DEEP.view(np.int16)), None), ("f.tif", raw_tiff(EIGHT.astype(np.float32)), None),
        ("p.png", packed_png(INDEX, 2, 3, BLACK_FIRST), 255),
    ):  # fmt: skip
        write(tmp_path / name)
        assert (read_raster(tmp_path / name).white, read_scan(tmp_path / name).white) == (white, white)


def test_labels_carry_their_colours_and_what_is_odd(tmp_path):
    packed_png(INDEX, 2, 3, BLACK_FIRST)(tmp_path / "a.png")
    assert read_labels(tmp_path / "a.png").colours == {i: tuple(BLACK_FIRST[i].tolist()) for i in range(3)}
    raw_tiff(EIGHT, photometric=0)(tmp_path / "b.tif")
    (warning,) = read_labels(tmp_path / "b.tif").warnings
    assert "b.tif shows 0 as white" in warning
    raw_tiff(np.array([[0, 2**31]], np.uint32))(tmp_path / "c.tif")
    with pytest.raises(DataError, match=r"c.tif holds the label 2147483648, beyond 32 bits"):
        read_labels(tmp_path / "c.tif")
    raw_tiff(np.array([[0, 70000]], np.uint32))(tmp_path / "d.tif")
    assert read_labels(tmp_path / "d.tif").values.tolist() == [[0, 70000]]


def test_a_second_picture_of_a_telephone_is_no_page(tmp_path):
    thumbnail = Image.fromarray(EIGHT[:2])
    Image.fromarray(EIGHT).save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[thumbnail])
    assert read_image(tmp_path / "a.jpg").shape == (3, 11, 1)


@pytest.mark.parametrize("compression", [None, "deflate", "lzw"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_truncated_tiff_files_are_refused_by_name(tmp_path, compression, share):
    tifffile.imwrite(tmp_path / "a.tif", RNG.integers(0, 255, (64, 64), np.uint8), compression=compression)
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=r"a.tif is truncated or damaged"):
        read_image(tmp_path / "a.tif")


def test_sizes_that_lie_are_refused_before_memory_is_taken(tmp_path):
    png(tmp_path / "a.png", [], 60000, 8, 0)
    lie = (tmp_path / "a.png").read_bytes().replace(b"\0\0\xea\x60\0\0\0\0", b"\0\0\xea\x60\0\0\xea\x60")
    (tmp_path / "a.png").write_bytes(lie)
    tiff(tmp_path / "b.tif", bytes(8), (2**20, 2**20), 8)
    for name in ("a.png", "b.tif"):
        for read in (read_image, read_mask, depth_of):
            with pytest.raises(DataError, match=name):
                read(tmp_path / name)
