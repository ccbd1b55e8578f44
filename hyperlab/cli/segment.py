"""Masks for a folder of images from a few examples.

    python -m experiments.segment --support DIR --out DIR [--images DIR] [--params FILE]

`--support` holds pairs of image and mask (`images/` beside `labels/`, or files such as a.png with a_mask.png); its
images without a mask are segmented, or those of `--images`.
Masks have the examples' label values and the form of their images: NIfTI with its geometry, TIFF, else PNG. Volumes are
segmented slice by slice. An overlay of each image is written beside, as PNG.

Without `--params` a U-Net is trained on the examples, and first on three quarters of them, to say what it is worth on
the rest. With it nothing is trained: the network is shown the examples. The file is a `.npz` of
`hyperlab.train.checkpoints.save_variables`, such as the in-context study keeps, or the `.pt` file of the published
UniverSeg weights, which are not part of this library and have a licence of their own.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from hyperlab import files, in_context, interop, launch, seeds
from hyperlab.arguments import Parser
from hyperlab.cli.mask_files import outputs_of, refuse_foreign, write_mask, write_overlay
from hyperlab.data.layouts import detect
from hyperlab.data.readers.cases import visible
from hyperlab.data.readers.images import SUFFIXES, depth_of, mixture
from hyperlab.data.readers.scan import is_readable, stem_of, suffix_of
from hyperlab.errors import ConfigError, DataError, HyperlabError, MissingExtraError
from hyperlab.in_context import Segmentation, network_of, segment
from hyperlab.in_context.examples import load_image, load_support, without_mask
from hyperlab.train.checkpoints import load_variables
from hyperlab.train.progress import Progress

FOR_PARAMS = ("support_size", "select", "ensemble", "average", "threshold")
MOST_EXAMPLES = 64
NORMALIZATIONS = ("auto", "min_max", "percentiles")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; bad input ends with one message before anything is computed, and code 2."""
    options = _parser().parse_args(arguments)
    launch.enable_compilation_cache()
    try:
        _run(options)
    except (HyperlabError, MissingExtraError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _run(options: argparse.Namespace) -> None:
    if options.out.exists() and not options.out.is_dir():
        raise ConfigError(f"--out {options.out} is a file, expected a folder")
    network = _network(options)
    which = {"masks": options.masks, "mask_suffix": options.mask_suffix}
    paths = image_files(options.images) if options.images else without_mask(options.support, **which)
    images, labels, values = load_support(options.support, options.normalize, options.binary, **which)
    if options.normalize == "auto":
        _check_depths(options.support, paths, **which)
    classes = tuple(options.classes) if options.classes else values
    missing = [value for value in classes if value not in values]
    if missing:
        raise ConfigError(f"--classes {missing[0]}: no mask of {options.support} has it; they hold {values}")
    dims = images[0].ndim
    for path in paths:  # each is opened before the first is segmented
        image = load_image(path, options.normalize, dims)
        if image.ndim != dims:
            raise DataError(f"{path} has {image.ndim} dimensions, the examples have {dims}; segment each kind alone")
    if options.slice_axis is not None and dims == 2:
        raise ConfigError("--slice-axis is for volumes, and these are images")
    slice_axis = (2 if options.slice_axis is None else options.slice_axis) if dims == 3 else None
    targets = {path: outputs_of(options.out, path, classes) for path in paths}
    refuse_foreign(options.out, targets.values())
    settings = {"classes": classes, "size": options.size or None, "aspect": options.aspect, "seed": options.seed}
    settings["slice_axis"] = slice_axis
    if network is None:
        answer = _fitted(options, images, labels, settings)
    else:
        answer = _shown(options, network, images, labels, settings)
    print(f"{len(paths)} images, {len(images)} examples, classes {', '.join(map(str, classes))}, into {options.out}")
    with Progress(len(paths), "segment", unit="image") as progress:
        for done, path in enumerate(paths, 1):
            image = load_image(path, options.normalize, dims)
            result, (mask, overlay) = answer(image), targets[path]
            write_mask(mask, path, result.masks[0])
            write_overlay(overlay, image, result, classes, slice_axis)
            files.seal(options.out, [str(written.relative_to(options.out)) for written in (mask, overlay)])
            progress.update(done, foreground=float((result.masks[0] > 0).mean()))


def _network(options: argparse.Namespace):
    """Module and parameters of the file that was named, or None."""
    if options.params is not None:
        if options.steps is not None:
            raise ConfigError("--steps is for training on the examples; with --params nothing is trained")
        return load_network(options.params)
    for name in FOR_PARAMS:
        if getattr(options, name) is not None:
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{flag} is for a network that is shown the examples, which --params names")
    return None


def _shown(options, network, images, labels, settings) -> Callable[[np.ndarray], Segmentation]:
    """Answers of a network that sees the examples beside each image."""
    module, params = network
    classes, axis = settings["classes"], settings["slice_axis"]
    pool = len(images) if axis is None else len(in_context.labelled_slices(images, labels, classes, axis)[0])
    given = {name: getattr(options, name) for name in FOR_PARAMS if getattr(options, name) is not None}
    given["support_size"] = min(given.get("support_size", MOST_EXAMPLES), pool)
    return lambda image: segment([image], images, labels, params, module=module, **settings, **given)


def _fitted(options, images, labels, settings) -> Callable[[np.ndarray], Segmentation]:
    """Answers of a U-Net that is trained on the examples, after a word on what it is worth."""
    steps = in_context.STEPS if options.steps is None else options.steps
    if len(images) >= in_context.LEAST:
        with Progress(steps, "try on some of the examples") as progress:
            found = in_context.held_out(images, labels, steps=steps, progress=progress, **settings)
        print(_worth(found, len(images), settings["classes"]))
    else:
        print(f"{len(images)} examples are too few to say what a network is worth: look at the overlays")
    with Progress(steps, "train on all of them") as progress:
        fitted = in_context.fit(images, labels, steps=steps, progress=progress, **settings)
    return lambda image: fitted.segment([image])


def _worth(found: in_context.HeldOut, count: int, classes: Sequence[int]) -> str:
    aside = len(found.aside)
    lines = [
        f"Dice on {aside} of the {count} examples, by a network from the others, and by a copy of the nearest mask:"
    ]
    for value, dice, copied in zip(classes, found.dice.T, found.copied.T, strict=True):
        dice, copied = dice[~np.isnan(dice)], copied[~np.isnan(copied)]
        shown = f"{dice.mean():.2f} ({dice.min():.2f} to {dice.max():.2f})" if dice.size else "in none of them"
        lines.append(f"  class {value}: {shown}" + (f"; copy {copied.mean():.2f}" if copied.size else ""))
    return "\n".join(lines)


def load_network(path: Path):
    """Module and parameters of a file.

    Raises:
      ConfigError: its format is unknown.
      HyperlabError: it cannot be read, or holds another network.
    """
    if not path.is_file():
        raise DataError(f"--params {path} does not exist")
    if path.suffix == ".npz":
        params = load_variables(path)
        params = params["params"] if set(params) == {"params"} else params
        return network_of(params), params
    if path.suffix in (".pt", ".pth"):
        return interop.universeg_from_torch(interop.read_torch(path))
    raise ConfigError(f"--params {path} is of no known format, expected .npz or .pt")


def image_files(folder: Path) -> list[Path]:
    """The images of a folder (or of `images` in it), by name.

    Raises:
      DataError: the folder is missing or holds none, or two have one name and would overwrite each other's mask.
    """
    folder = folder / "images" if (folder / "images").is_dir() else folder
    if not folder.is_dir():
        raise DataError(f"--images {folder} is no folder")
    paths = [path for path in visible(folder) if is_readable(path)]
    if not paths:
        raise DataError(f"--images {folder} holds no images; readable are .nii, .nii.gz, .npy, {', '.join(SUFFIXES)}")
    names = [stem_of(path) for path in paths]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise DataError(f"--images {folder} holds several files named {twice!r}; are masks among them? move them away")
    return paths


def _check_depths(folder: Path, paths: Sequence[Path], **which: str | None) -> None:
    """Refuses pictures of unlike depths: each would be divided by a white of its own. Colours are averaged anyway."""
    examples = [path for case in detect(folder, **which).cases if case.label is not None for path in case.images]
    pictures = [path for path in (*examples, *paths) if suffix_of(path) in SUFFIXES]
    if found := mixture({path: depth_of(path)._replace(channels=1) for path in pictures}):
        raise DataError(
            f"--support {folder} and the images to segment are {found}; convert them to one depth, or give "
            "--normalize percentiles, which stretches each image by itself"
        )


def whole(least: int) -> Callable[[str], int]:
    """The type of an option that takes whole numbers from `least` on."""

    def typed(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or not least <= int(text[:12]) < 2**31:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} on")
        return int(text)

    return typed


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number between 0 and 1")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = Parser("segment", "experiments.segment", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--support", type=Path, required=True, help="folder of images with masks")
    add("--images", type=Path, help="folder of images or volumes to segment; by default those without a mask")
    add("--out", type=Path, required=True, help="folder for masks and overlays")
    add("--params", type=Path, help="weights of an in-context network: .npz or .pt; by default one is trained")
    add("--steps", type=whole(1), help=f"of training, without --params (default {in_context.STEPS})")
    add("--classes", type=whole(1), nargs="+", help="label values to segment; by default all that occur")
    add("--masks", metavar="NAME", help="folder of the masks in --support, where several pair with the images")
    add("--mask-suffix", metavar="TAIL", help="of the masks that are meant, where images have several: _1stHO")
    add("--binary", action="store_true", help="everything above 0 in a mask is one class, 1")
    add("--normalize", choices=NORMALIZATIONS, default="auto",
        help="auto: 8-bit pictures divided by 255, all else as percentiles (.5 and 99.5 become 0 and 1)")  # fmt: skip
    add("--size", type=whole(0), default=128, help="what the network works at; 0 keeps the images' own (default 128)")
    add("--aspect", choices=("keep", "stretch"), default="keep", help="pad to the working proportions, or distort")
    add("--slice-axis", type=int, choices=(0, 1, 2), help="of volumes; by default 2")
    add("--seed", type=seeds.typed, default=0, help="of the training, or of the random examples")
    shown = parser.add_argument_group("with --params")
    add = shown.add_argument
    add("--support-size", type=whole(1), help=f"examples a pass (default {MOST_EXAMPLES}, or all there are)")
    add("--select", choices=("random", "similar"), help="which examples (default random)")
    add("--ensemble", type=whole(1), help="passes with different random examples (default 1)")
    add("--average", choices=("probabilities", "logits"), help="what an ensemble averages (default probabilities)")
    add("--threshold", type=_share, help="probability above which a pixel is foreground (default 0.5)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
