"""Masks of images by an exported network, with numpy and jax alone.

    python predict.py IMAGE ... --out DIR [--probabilities]

Lies beside `network.json`, which holds every number that is used here, and `variables.safetensors` (or, without it,
`program.stablehlo`, for which jax needs flatbuffers). Images are .npy `[*spatial, channel]`, NIfTI where nibabel is
installed, and PNG, TIFF, BMP or JPEG where pillow is. From Python:

    network = Network("exported")
    labels, probabilities = network.predict(read("scan.nii.gz"))
"""

import argparse
import functools
import importlib.util
import itertools
import json
import struct
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

BATCH, OVERLAP, LEAST_WEIGHT = 4, 0.5, 1e-3


class Network:
    """The network of a folder.

    Args:
      folder: with `network.json`.
    """

    def __init__(self, folder: "str | Path"):
        folder = Path(folder)
        self.card = json.loads((folder / "network.json").read_text())
        self.how = self.card["preprocessing"]
        self.logits: Any = None
        if (folder / "variables.safetensors").is_file():
            variables = read_safetensors(folder / "variables.safetensors")
            self.logits = jax.jit(functools.partial(unet, variables, self.card["architecture"]))
        else:
            from jax import export

            self.logits = export.deserialize(bytearray((folder / "program.stablehlo").read_bytes())).call

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities `[batch, *size, class]` of images `[batch, *size, channel]` in 0..1."""
        return np.asarray(jax.nn.softmax(self.logits(jnp.asarray(images, jnp.float32)), axis=-1))

    def predict(
        self, values: np.ndarray, white: "int | None" = None, spacing: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Labels int32 `[*spatial]` and probabilities `[*spatial, class]` of an image `[*spatial, channel]`.

        Args:
          values: as the file holds them; of NIfTI with axes to right, anterior, superior.
          white: the largest number that a pixel of the file can be, where that is known.
          spacing: mm along each axis, which networks of a prepared set ask for, see `spacing_of`.
        """
        if "set" in self.how:
            return of_prepared_set(self, values, spacing, resampled)
        if values.shape[-1] == 1 != self.how["channels"] == values.shape[-2]:
            values = values[..., 0]  # of a file .npy [height, width, channel]
        *shape, channels = values.shape
        if channels != self.how["channels"]:
            raise ValueError(f"the image has {channels} channels, the network was trained on {self.how['channels']}")
        dims = len(self.how["size"])
        axis = self.how["slice_axis"] if len(shape) == 3 else None
        plane = [n for place, n in enumerate(shape) if n > 1 and place != axis]
        if len(plane) != dims:
            plane = [n for place, n in enumerate(shape) if place != axis]
        if len(plane) != dims:
            raise ValueError(f"the image is {shape}; the network was trained on images of {dims} axes")
        pixels = normalised(values, self.how["normalisation"], white)
        planes = pixels[None] if axis is None else np.moveaxis(pixels, axis, 0)
        planes = planes.reshape(len(planes), *plane, channels)
        found = np.stack([self.plane(one) for one in planes])
        if axis is None:
            found = found.reshape(*shape, -1)
        else:
            found = np.moveaxis(found.reshape(len(planes), *np.delete(shape, axis), -1), 0, axis)
        return np.array(self.how["values"], np.int32)[found.argmax(-1)], found

    def plane(self, pixels: np.ndarray) -> np.ndarray:
        """Probabilities of an image on its own grid."""
        own, size, fit = pixels.shape[:-1], self.how["size"], self.how["fit"]
        if fit == "resample":
            image = np.clip(resampled(pixels, size), 0, 1)
            return resampled(self(image[None])[0], own)
        scaled = own
        if fit == "tiles" and self.how["scale"] != 1:
            scaled = tuple(max(1, round(self.how["scale"] * n)) for n in own)
            pixels = np.clip(resampled(pixels, scaled), 0, 1)
        return resampled(self.tiled(pixels), own)

    def tiled(self, pixels: np.ndarray) -> np.ndarray:
        """Probabilities from overlapping windows of the network's size, weighted by a bell; zeros around if smaller."""
        own, window = pixels.shape[:-1], self.how["size"]
        image = padded_or_cut(pixels, [max(pair) for pair in zip(own, window, strict=True)])
        weights = np.ones(window)
        for axis, n in enumerate(window):
            bell = np.exp(-(((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) / 2)
            weights *= bell.reshape([-1 if each == axis else 1 for each in range(len(window))])
        weights = np.maximum(weights / weights.max(), LEAST_WEIGHT).astype(np.float32)[..., None]
        total, weight = None, np.zeros((*image.shape[:-1], 1), np.float32)
        corners = list(itertools.product(*(starts(n, w) for n, w in zip(image.shape, window, strict=False))))
        places = [tuple(slice(a, a + w) for a, w in zip(corner, window, strict=True)) for corner in corners]
        for first in range(0, len(places), BATCH):
            group = places[first : first + BATCH]
            filled = [*group, *[group[-1]] * (BATCH - len(group))]
            outputs = self(np.stack([image[place] for place in filled]))
            if total is None:
                total = np.zeros((*image.shape[:-1], outputs.shape[-1]), np.float32)
            for place, output in zip(group, outputs, strict=False):
                total[place] += weights * output
                weight[place] += weights
        return padded_or_cut(total / weight, own)


def of_prepared_set(*given: Any) -> tuple[np.ndarray, np.ndarray]:
    """`predict` of `prepared_set.py`, which lies beside."""
    path = Path(__file__).with_name("prepared_set.py")
    path = path if path.is_file() else Path(__file__).with_name("standalone_set.py")
    found = importlib.util.spec_from_file_location(path.stem, path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.predict(*given)


# -- before and after the network -------------------------------------------------------------------------------------


def normalised(values: np.ndarray, how: "dict[str, Any]", white: "int | None") -> np.ndarray:
    """Values in 0..1."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError("the image holds values that are not finite (NaN or infinite)")
    if how["kind"] == "range":
        image = np.asarray(values, np.float32)
        axes = tuple(range(image.ndim - (not how["joint"])))
        bottom, top = np.percentile(image, (how["low"], how["high"]), axis=axes, keepdims=True)
        return np.clip((image - bottom) / np.where(top > bottom, top - bottom, 1), 0, 1).astype(np.float32)
    by = how["by"] if how["kind"] == "divide" else own_white(values, white)
    if values.min() < 0 or values.max() > by * (1 + 1e-6) or (how["kind"] == "divide" and white not in (None, by)):
        raise ValueError(f"values span {values.min()} to {values.max()}; those of the training are divided by {by:g}")
    return values.astype(np.float32) / np.float32(by)


def own_white(values: np.ndarray, white: "int | None") -> float:
    """The largest number of the type."""
    if white is not None:
        return float(white)
    if values.dtype in (np.uint8, np.uint16):
        return float(np.iinfo(values.dtype).max)
    return 1.0


def resampled(image: np.ndarray, size: Any) -> np.ndarray:
    """Linear interpolation with half-pixel centres; where it shrinks, the kernel widens: `[*size, channel]`."""
    image = np.asarray(image, np.float32)
    for axis, n in enumerate(size):
        source = image.shape[axis]
        if source != n:
            scale = max(source / n, 1.0)
            centres = (np.arange(n) + 0.5) * source / n - 0.5
            weights = np.maximum(1 - np.abs(centres[:, None] - np.arange(source)) / scale, 0)
            weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
            image = np.moveaxis(np.tensordot(weights, image, (1, axis)), 0, axis)
    return image


def padded_or_cut(array: np.ndarray, size: Any) -> np.ndarray:
    """Centred in another size: zeros around, or cut."""
    for axis, n in enumerate(size):
        surplus = array.shape[axis] - n
        if surplus > 0:
            array = array.take(np.arange(surplus // 2, surplus // 2 + n), axis)
        elif surplus < 0:
            widths = [(0, 0)] * array.ndim
            widths[axis] = (-surplus // 2, -surplus - -surplus // 2)
            array = np.pad(array, widths)
    return array


def starts(length: int, window: int) -> "list[int]":
    """Where windows begin along an axis."""
    step = max(1, int(window * (1 - OVERLAP)))
    steps = -(-(length - window) // step)
    return [index * (length - window) // steps for index in range(steps + 1)] if steps else [0]


# -- the network ------------------------------------------------------------------------------------------------------


def unet(variables: "dict[str, Any]", told: "dict[str, Any]", images: Any) -> Any:
    """Logits of the U-Net that `network.json` describes under `architecture`."""
    sizes, widths, first = told["sizes"], told["widths"], int(told["rescaled_input"])
    prefix, films = "params/", None
    if told["film"]:
        prefix, channels = "params/unet/", told["convs_per_block"] * (2 * sum(widths) - widths[-1])
        x, layers = variables["conditioning"], sum("/film_" in name for name in variables) // 2
        for layer in [*map(str, range(layers - 1)), "out"]:
            x = x @ variables[f"params/film_{layer}/kernel"] + variables[f"params/film_{layer}/bias"]
            x = x if layer == "out" else jax.nn.leaky_relu(x)
        each = [w for w in (*widths, *reversed(widths[:-1])) for _ in range(told["convs_per_block"])]
        films = iter(jnp.split(x.reshape(2, channels), np.cumsum(each)[:-1].tolist(), axis=-1))

    activate = getattr(jnp if told["activation"] == "tanh" else jax.nn, told["activation"])

    def conv(x: Any, name: str) -> Any:
        kernel, axes = variables[f"{prefix}{name}/kernel"], "DHW"[5 - x.ndim :]
        numbers = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
        x = jax.lax.conv_general_dilated(x, kernel, (1,) * (x.ndim - 2), "SAME", dimension_numbers=numbers)
        return x + variables[f"{prefix}{name}/bias"]

    def normalise(x: Any, name: str) -> Any:
        if told["normalization"] is None:
            return x
        groups = max(n for n in range(1, told["groups"] + 1) if x.shape[-1] % n == 0)
        parts = x.reshape(*x.shape[:-1], groups, -1)
        axes = (*range(1, x.ndim - 1), x.ndim)
        parts = (parts - parts.mean(axes, keepdims=True)) / jnp.sqrt(parts.var(axes, keepdims=True) + 1e-5)
        return parts.reshape(x.shape) * variables[f"{prefix}{name}/scale"] + variables[f"{prefix}{name}/bias"]

    def block(x: Any, name: str) -> Any:
        for index in range(told["convs_per_block"]):
            x = normalise(conv(x, f"{name}_conv_{index}"), f"{name}_norm_{index}")
            if films is not None:
                scale, shift = next(films)
                x = x * (1 + scale) + shift
            x = activate(x)
        return x

    x, skips = images, []
    for level in range(len(widths)):
        x = stretched(x, sizes[first + level]) if level or first else x
        x = block(x, f"encoder_{level}")
        skips.append(x)
    for level in reversed(range(len(widths) - 1)):
        if told["skip"] == "add" and x.shape[-1] != widths[level]:
            x = conv(x, f"project_{level}")
        x = stretched(x, sizes[first + level])
        if told["skip"] != "none":
            x = x + skips[level] if told["skip"] == "add" else jnp.concatenate([skips[level], x], -1)
        x = block(x, f"decoder_{level}")
    logits = conv(x, "classifier")
    return (stretched(logits, sizes[0]) if first else logits) / told["temperature"]


def stretched(x: Any, size: Any) -> Any:
    """Features at another size, by their two nearest neighbours along each axis."""
    spatial = x.shape[1:-1]
    for axis in sorted(range(len(size)), key=lambda axis: size[axis] / spatial[axis]):
        source, target = spatial[axis], size[axis]
        if source == target:
            continue
        place = np.clip((2 * np.arange(target) + 1) * source - target, 0, 2 * target * (source - 1))
        lower = place // (2 * target)
        weight = ((place - lower * 2 * target) / np.float32(2 * target)).astype(np.float32)
        weight = weight.reshape([-1 if each == axis + 1 else 1 for each in range(x.ndim)])
        low, high = (jnp.take(x, at, axis + 1) for at in (lower, np.minimum(lower + 1, source - 1)))
        x = low + (high - low) * weight
    return x


# -- files ------------------------------------------------------------------------------------------------------------


def read_safetensors(path: Path) -> "dict[str, np.ndarray]":
    """The arrays of a safetensors file: a length, a header in JSON, and bytes."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    kinds = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?"}
    arrays = {}
    for name, told in header.items():
        if name != "__metadata__":
            begin, end = told["data_offsets"]
            part = np.frombuffer(content[8 + length + begin : 8 + length + end], kinds[told["dtype"]])
            arrays[name] = part.reshape(told["shape"])
    return arrays


def suffix_of(path: Path) -> str:
    """The ending; that of `.nii.gz` is one."""
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def read(path: "str | Path") -> np.ndarray:
    """The values `[*spatial, channel]` of a file."""
    path = Path(path)
    if suffix_of(path) == ".npy":
        values = np.load(path)
        return values if values.ndim == 4 else values[..., None]
    if suffix_of(path) in (".nii", ".nii.gz"):
        import nibabel

        scan: Any = nibabel.load(path)
        scan = nibabel.as_closest_canonical(scan) if len(scan.shape) >= 3 else scan
        values = np.asanyarray(scan.dataobj)
        return values if values.ndim == 4 else values[..., None]
    from PIL import Image

    with Image.open(path) as image:
        if image.mode not in ("L", "RGB", "I;16", "RGBA", "LA"):
            raise ValueError(f"{path} has pixels of the kind {image.mode}; save it as grey or RGB")
        values = np.asarray(image)
        if image.mode in ("RGBA", "LA"):
            values = values[..., :-1]
    return values if values.ndim == 3 else values[..., None]


def spacing_of(path: "str | Path") -> "list[float] | None":
    """mm along each axis of a NIfTI file; None of any other."""
    if suffix_of(Path(path)) not in (".nii", ".nii.gz"):
        return None
    import nibabel

    scan: Any = nibabel.load(path)
    scan = nibabel.as_closest_canonical(scan) if len(scan.shape) >= 3 else scan
    unit = {"meter": 1000.0, "micron": 0.001}.get(scan.header.get_xyzt_units()[0], 1.0)
    return [unit * float(step) for step in np.linalg.norm(scan.affine[:3, :3], axis=0)]


def write(out: Path, source: Path, labels: np.ndarray) -> Path:
    """Writes a mask in the form of its image, on its grid."""
    kind = np.uint8 if labels.max(initial=0) < 256 else np.uint16
    out.mkdir(parents=True, exist_ok=True)
    suffix = suffix_of(source)
    stem = source.name[: len(source.name) - len(suffix)]
    if suffix == ".npy":
        np.save(out / f"{stem}.npy", labels.astype(kind))
        return out / f"{stem}.npy"
    if suffix in (".nii", ".nii.gz"):
        import nibabel

        image: Any = nibabel.load(source)
        turns = nibabel.orientations
        if len(image.shape) >= 3:
            back = turns.ornt_transform(turns.axcodes2ornt("RAS"), turns.io_orientation(image.affine))
            labels = turns.apply_orientation(labels, back)
        written = nibabel.Nifti1Image(labels.astype(kind), image.affine)
        written.header["xyzt_units"] = image.header["xyzt_units"]
        nibabel.save(written, out / source.name)
        return out / source.name
    from PIL import Image

    Image.fromarray(labels.astype(kind)).save(out / f"{stem}.png")
    return out / f"{stem}.png"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--network", type=Path, default=Path(__file__).parent, metavar="DIR")
    parser.add_argument("--probabilities", action="store_true", help="beside each mask, as .npy [*spatial, class]")
    options = parser.parse_args()
    network = Network(options.network)
    for path in options.images:
        try:
            labels, probabilities = network.predict(read(path), spacing=spacing_of(path))
        except (ValueError, OSError, ImportError) as error:
            sys.exit(f"error: {path}: {error}")
        target = write(options.out, path, labels)
        if options.probabilities:
            np.save(options.out / f"{target.name}_probabilities.npy", probabilities)
        print(target)


if __name__ == "__main__":
    main()
