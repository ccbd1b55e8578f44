#!/usr/bin/env bash
# Pillow 13.0.0, imagecodecs 2026.3.6, imageio 2.38.1, scikit-image 0.26.0: a grey PNG of 2 or 4 bits comes back
# stretched to 8, also where the library is made for scientific images.
#
# Sworn: a mask with the labels 0, 1, 2, 3 that was saved with 2 bits a pixel is read as 0, 1, 2, 3.
# Seen: 0, 85, 170, 255 by all four; nothing says so, and one such file in a folder has labels of its own. TIFF files of
# 2 bits are read as stored (tifffile 2026.3.3). Of 16-bit colours Pillow keeps 8 bits, imagecodecs all.
#
# Output on the day this was written:
#   2 bits: pillow [0, 85, 170, 255] imagecodecs [0, 85, 170, 255] imageio [0, 85, 170, 255] skimage [0, 85, 170, 255]
#   4 bits: pillow [0, 17, 34, 51] imagecodecs [0, 17, 34, 51] imageio [0, 17, 34, 51] skimage [0, 17, 34, 51]
#   16-bit RGB: pillow uint8 imagecodecs uint16
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q pillow==13.0.0 imagecodecs==2026.3.6 imageio==2.38.1 scikit-image==0.26.0 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'P' | tee "$work/out"
import struct
import zlib

import imagecodecs
import imageio.v3 as iio
import numpy as np
import skimage.io
from PIL import Image


def png(path, bits, colour, row, width):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, 1, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    open(path, "wb").write(b"\x89PNG\r\n\x1a\n" + body)


for bits, row in ((2, b"\x1b"), (4, b"\x01\x23")):  # the pixels 0, 1, 2, 3
    png("a.png", bits, 0, row, 4)
    found = {
        "pillow": np.asarray(Image.open("a.png")),
        "imagecodecs": imagecodecs.png_decode(open("a.png", "rb").read()),
        "imageio": iio.imread("a.png"),
        "skimage": skimage.io.imread("a.png"),
    }
    print(f"{bits} bits:", " ".join(f"{name} {values.ravel().tolist()}" for name, values in found.items()))
png("b.png", 16, 2, np.array([1000, 2000, 3000], ">u2").tobytes(), 1)
print("16-bit RGB: pillow", np.asarray(Image.open("b.png")).dtype, "imagecodecs",
      imagecodecs.png_decode(open("b.png", "rb").read()).dtype)
P
diff "$work/out" - <<'O'
2 bits: pillow [0, 85, 170, 255] imagecodecs [0, 85, 170, 255] imageio [0, 85, 170, 255] skimage [0, 85, 170, 255]
4 bits: pillow [0, 17, 34, 51] imagecodecs [0, 17, 34, 51] imageio [0, 17, 34, 51] skimage [0, 17, 34, 51]
16-bit RGB: pillow uint8 imagecodecs uint16
O
echo "as found"
