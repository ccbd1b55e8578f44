"""Random damage to a valid file of every format: a reader answers with values or with one error that names the file."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from hyperlab.data.readers.idx import read_idx
from hyperlab.data.readers.images import depth_of, read_image, read_mask
from hyperlab.data.readers.scan import read_labels, read_npz, read_scan
from hyperlab.errors import DataError

RNG = np.random.default_rng(7)
GREY = RNG.integers(0, 4, (20, 24), np.uint8)
MUTATIONS = 200


def _pillow(kind, array=GREY, **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, format=kind, **options)
    return file.getvalue()


def _tiff(array=GREY, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def _nifti():
    import nibabel

    return nibabel.Nifti1Image(RNG.integers(0, 3, (6, 7, 5)).astype(np.int16), np.eye(4)).to_bytes()


def _gzipped():
    import gzip

    return gzip.compress(_nifti())


def _npz():
    file = io.BytesIO()
    np.savez_compressed(file, image=GREY[None], label=GREY[None])
    return file.getvalue()


def _npy():
    file = io.BytesIO()
    np.save(file, GREY)
    return file.getvalue()


IMAGES = (read_image, read_mask, depth_of, read_scan)
FORMATS = {
    "a.png": (lambda: _pillow("PNG"), IMAGES),
    "palette.png": (lambda: _pillow("PNG", np.repeat(GREY[..., None], 3, -1)), IMAGES),
    "deep.png": (lambda: _pillow("PNG", GREY.astype(np.uint16) * 9000), IMAGES),
    "a.bmp": (lambda: _pillow("BMP"), IMAGES),
    "a.jpg": (lambda: _pillow("JPEG"), (read_image, depth_of, read_scan)),
    "a.tif": (lambda: _tiff(), IMAGES),
    "zlib.tif": (lambda: _tiff(compression="zlib", predictor=2), IMAGES),
    "lzw.tif": (lambda: _tiff(GREY.astype(np.uint16), compression="lzw", tile=(16, 16)), IMAGES),
    "ome.ome.tif": (lambda: _tiff(np.stack([GREY] * 2), ome=True, metadata={"axes": "CYX"}), IMAGES),
    "a.nii": (_nifti, (read_scan, read_labels)),
    "a.nii.gz": (_gzipped, (read_scan, read_labels)),
    "a.npy": (_npy, (read_scan, read_labels)),
    "a.npz": (_npz, (read_npz,)),
    "labels-idx2-ubyte": (lambda: bytes([0, 0, 8, 2, 0, 0, 0, 20, 0, 0, 0, 24]) + GREY.tobytes(), (read_idx,)),
}


def mutated(whole: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes replaced, most of them in the header; or cut, or doubled."""
    content = bytearray(whole)
    kind = rng.integers(0, 6)
    if kind == 0:
        return bytes(content[: rng.integers(0, len(content))])
    if kind == 1:
        at = rng.integers(0, len(content))
        return bytes(content[:at] + rng.bytes(int(rng.integers(1, 40))) + content[at:])
    reach = len(content) if kind == 2 else min(len(content), 400)
    for at in rng.integers(0, reach, rng.integers(1, 6)):
        content[at] = rng.choice([0, 1, 127, 128, 255, int(rng.integers(0, 256))])
    return bytes(content)


@pytest.mark.filterwarnings("ignore")  # libraries warn of what they find odd
@pytest.mark.parametrize("name", FORMATS)
def test_damage_ends_in_values_or_in_one_error_that_names_the_file(tmp_path, name):
    if ".nii" in name:
        pytest.importorskip("nibabel", reason="the extra 'medical' is not installed")
    make, readers = FORMATS[name]
    whole, path, refused = make(), tmp_path / name, 0
    for number in range(MUTATIONS):
        path.write_bytes(mutated(whole, np.random.default_rng([number, len(whole)])))
        for read in readers:
            try:
                read(path)
            except DataError as error:
                refused += 1
                assert name in str(error), str(error)
    assert refused  # some of the damage is seen
