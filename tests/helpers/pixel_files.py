"""Image files written byte by byte from their standards, so that no reader's own writer is believed."""

import struct
import zlib
from pathlib import Path

import numpy as np


def png(path: Path, rows: list[bytes], width: int, bits: int, colour: int, palette: bytes = b"", more=()) -> Path:
    """A PNG file (ISO/IEC 15948): packed rows, without filters; `more` are further chunks before the pixels."""
    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *([(b"PLTE", palette)] if palette else []), *more]
    chunks += [(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def tiff(
    path: Path,
    data: bytes,
    shape: tuple[int, int],
    bits: int,
    photometric: int = 1,
    kind: int = 1,
    samples: int = 1,
    **tags,
) -> Path:
    """A little-endian TIFF file of one page, a strip for each plane (TIFF 6.0).

    Args:
      path: of the file.
      data: the pixels as they are stored.
      shape: height and width.
      bits: of a sample.
      photometric: tag 262. 0: white is zero, 1: black is zero, 2: RGB, 3: palette.
      kind: tag 339. 1: unsigned, 2: signed, 3: floating point, 6: complex.
      samples: tag 277.
      **tags: `planar` (284), `depth` (32997), `extra` (338), `orientation` (274), `colormap` (320), `description`
        (270).
    """
    height, width = shape
    planar = tags.get("planar", 1)
    strips = (samples if planar == 2 else 1) * tags.get("depth", 1)
    entries = [
        (256, "I", [width]), (257, "I", [height]), (258, "H", [bits] * samples), (259, "H", [1]),
        (262, "H", [photometric]), (277, "H", [samples]), (278, "I", [height]),
        (279, "I", [len(data) // strips] * strips), (284, "H", [planar]), (339, "H", [kind] * samples),
    ]  # fmt: skip
    for name, tag, code in (("depth", 32997, "I"), ("extra", 338, "H"), ("orientation", 274, "H")):
        entries += [(tag, code, [tags[name]])] if name in tags else []
    entries += [(320, "H", list(tags["colormap"]))] if "colormap" in tags else []
    text = tags.get("description", "").encode() + b"\0"
    entries += [(270, "s", list(text))] if "description" in tags else []
    entries += [(273, "I", [8 + i * (len(data) // strips) for i in range(strips)])]
    extra, base, out = b"", 8 + len(data), []
    for tag, code, values in sorted(entries):
        raw = bytes(values) if code == "s" else struct.pack(f"<{len(values)}{code}", *values)
        if len(raw) > 4:
            raw, extra = struct.pack("<I", base + len(extra)), extra + raw + b"\0" * (len(raw) % 2)
        out.append(struct.pack("<HHI", tag, {"H": 3, "I": 4, "s": 2}[code], len(values)) + raw.ljust(4, b"\0"))
    path.write_bytes(
        b"II*\0" + struct.pack("<I", base + len(extra)) + data + extra + struct.pack("<H", len(out)) + b"".join(out)
        + bytes(4)
    )  # fmt: skip
    return path


def packed(values: np.ndarray, bits: int) -> list[bytes]:
    """Rows of numbers of 1, 2 or 4 bits, the first in the highest bits, filled up to whole bytes."""
    shifts = np.arange(bits)[::-1]
    return [np.packbits(((row[:, None] >> shifts) & 1).ravel()).tobytes() for row in values]
