"""Masks for a folder of images from a few examples.

    hyperlab segment --support DIR --out DIR [--images DIR] [--params FILE]

`--support` holds pairs of image and mask (`images/` beside `labels/`, or files such as a.png with a_mask.png); its
images without a mask are segmented, or those of `--images`.
Masks have the examples' label values and the form of their images: NIfTI with its geometry, TIFF, else PNG. Volumes are
segmented slice by slice. An overlay of each image is written beside, as PNG.

Without `--params` four U-Nets are trained, each without a quarter of the examples, on which it is measured; together
they make the masks. Where they are no better than a copy of the nearest mask, the masks go to
`masks_not_better_than_copy/` and the exit code is 1, unless `--anyway`.
With `--params` nothing is trained: the network is shown the examples. The file is a `.npz` of
`hyperlab.train.checkpoints.save_variables`, such as the in-context study keeps, or the `.pt` file of the published
UniverSeg weights, which are not part of this library and have a licence of their own.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hyperlab import files, in_context, interop, launch, seeds
from hyperlab.arguments import Parser
from hyperlab.cli.mask_files import outputs_of, refuse_foreign, write_mask, write_overlay
from hyperlab.cli.worth import folds_of, plan, verdict, worth
from hyperlab.data.readers.cases import visible
from hyperlab.data.readers.images import SUFFIXES, depth_of, mixture
from hyperlab.data.readers.scan import is_readable, stem_of, suffix_of
from hyperlab.errors import ConfigError, DataError, HyperlabError, MissingExtraError
from hyperlab.in_context import Segmentation, network_of, segment
from hyperlab.in_context.cross_validation import check_classes, cross_validate
from hyperlab.in_context.examples import Support, load_image, load_support, without_mask
from hyperlab.in_context.fitted import prepare_task
from hyperlab.train.checkpoints import load_variables
from hyperlab.train.progress import Progress
from hyperlab.train.signals import StopFlag

FOR_PARAMS = ("support_size", "select", "ensemble", "average", "threshold")
MOST_EXAMPLES = 64
SHOWN_SIZE = 128  # that networks which are shown the examples work at
NORMALIZATIONS = ("auto", "min_max", "percentiles")
MASKS, NOT_BETTER = "masks", "masks_not_better_than_copy"


class Answer(NamedTuple):
    """How images are segmented.

    Attributes:
      segment: an image to its segmentation.
      folder: of the masks, in `--out`.
      code: that the command ends with.
    """

    segment: Callable[[np.ndarray], Segmentation]
    folder: str = MASKS
    code: int = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; bad input ends with one message before anything is computed, and code 2."""
    options = _parser().parse_args(arguments)
    launch.enable_compilation_cache()
    try:
        return _run(options)
    except (HyperlabError, MissingExtraError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; every file that was written is whole", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    if options.out.exists() and not options.out.is_dir():
        raise ConfigError(f"--out {options.out} is a file, expected a folder")
    network = _network(options)
    which = {"masks": options.masks, "mask_suffix": options.mask_suffix}
    paths = image_files(options.images) if options.images else without_mask(options.support, **which)
    colours = network is None
    support = load_support(options.support, options.normalize, options.binary, colours=colours, **which)
    classes = tuple(options.classes) if options.classes else support.values
    _check(options, support, paths, classes, colours)
    dims = support.labels[0].ndim
    slice_axis = (2 if options.slice_axis is None else options.slice_axis) if dims == 3 else None
    targets = {
        folder: {path: outputs_of(options.out, path, classes, folder) for path in paths}
        for folder in (MASKS, NOT_BETTER)
    }
    for each in targets.values():
        refuse_foreign(options.out, each.values())
    settings = {"classes": classes, "slice_axis": slice_axis, "aspect": options.aspect, "seed": options.seed}
    answer = _fitted(options, support, settings) if network is None else _shown(options, network, support, settings)
    masks = options.out / answer.folder
    shown = f"{len(paths)} images, {len(support.images)} examples, classes {', '.join(map(str, classes))}"
    print(f"{shown}, into {masks}")
    with StopFlag() as stop, Progress(len(paths), "segment", unit="image") as progress:
        for done, path in enumerate(paths, 1):
            image = load_image(path, options.normalize, dims, colours)
            result, (mask, overlay) = answer.segment(image), targets[answer.folder][path]
            write_mask(mask, path, result.masks[0])
            write_overlay(overlay, image, result.masks[0], classes, slice_axis)
            files.seal(options.out, [str(written.relative_to(options.out)) for written in (mask, overlay)])
            progress.update(done, foreground=float((result.masks[0] > 0).mean()))
            if stop.requested and done < len(paths):  # between two images: what was written is whole, and known as ours
                print(f"stopped after {done} of {len(paths)} images, which are whole", file=sys.stderr)
                return 130
    return answer.code


def _network(options: argparse.Namespace):
    """Module and parameters of the file that was named, or None."""
    if options.params is not None:
        for name in ("steps", "anyway"):
            if getattr(options, name):
                raise ConfigError(f"--{name} is for training on the examples; with --params nothing is trained")
        return load_network(options.params)
    for name in FOR_PARAMS:
        if getattr(options, name) is not None:
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{flag} is for a network that is shown the examples, which --params names")
    return None


def _check(
    options: argparse.Namespace, support: Support, paths: Sequence[Path], classes: Sequence[int], colours: bool
) -> None:
    """Refuses what cannot be segmented together, before anything is computed; every image is opened."""
    if options.normalize == "auto":
        _check_depths(options.support, [*support.paths, *paths], colours)
    missing = [value for value in classes if value not in support.values]
    if missing:
        raise ConfigError(f"--classes {missing[0]}: no mask of {options.support} has it; they hold {support.values}")
    dims = support.labels[0].ndim
    if options.slice_axis is not None and dims == 2:
        raise ConfigError("--slice-axis is for volumes, and these are images")
    channels = support.images[0].shape[dims:]
    for path, label, image in zip(support.paths, support.labels, support.images, strict=True):
        _check_form(path, image.ndim - colours, label.ndim, image.shape[label.ndim :], dims, channels)
    for path in paths:
        image = load_image(path, options.normalize, dims, colours)
        _check_form(path, image.ndim - colours, dims, image.shape[dims:], dims, channels)


def _check_form(path: Path, image: int, label: int, own: tuple, dims: int, channels: tuple) -> None:
    """Refuses an image with other axes, or other channels, than the first example."""
    if (image, label) != (dims, dims):
        raise DataError(f"{path} has {image} dimensions, the examples have {dims}; segment each kind alone")
    if own != channels:
        raise DataError(f"{path} has {own[0]} channels, the first example has {channels[0]}; bring all to one kind")


def _check_depths(folder: Path, paths: Sequence[Path], colours: bool) -> None:
    """Refuses pictures of unlike depths: each would be divided by a white of its own.

    Where colours are averaged, the number of channels does not matter.
    """
    depths = {path: depth_of(path) for path in paths if suffix_of(path) in SUFFIXES}
    if not colours:
        depths = {path: depth._replace(channels=1) for path, depth in depths.items()}
    if found := mixture(depths):
        raise DataError(
            f"--support {folder} and the images to segment are {found}; convert them to one kind, or, where only the "
            "bits differ, give --normalize percentiles, which stretches each image by itself"
        )


def _shown(options, network, support: Support, settings: dict[str, Any]) -> Answer:
    """Answers of a network that sees the examples beside each image."""
    module, params = network
    images, labels, axis = support.images, support.labels, settings["slice_axis"]
    pool = len(images)
    if axis is not None:
        pool = len(in_context.labelled_slices(images, labels, settings["classes"], axis)[0])
    given = {name: getattr(options, name) for name in FOR_PARAMS if getattr(options, name) is not None}
    given["support_size"] = min(given.get("support_size", MOST_EXAMPLES), pool)
    given["size"] = SHOWN_SIZE if options.size is None else options.size or None
    return Answer(lambda image: segment([image], images, labels, params, module=module, **settings, **given))


def _fitted(options, support: Support, settings: dict[str, Any]) -> Answer:
    """Answers of the U-Nets of all folds together, after a word on what they are worth."""
    aside = folds_of(support, options.seed)
    size = "auto" if options.size is None else options.size or None
    task = prepare_task(support.images, support.labels, size=size, **settings)
    check_classes(task, aside)
    steps = in_context.LIMIT if options.steps is None else options.steps
    print(plan(support, aside, task.blank.working, steps), flush=True)
    with Progress(steps * (1 + max(aside)), "train") as progress:
        found = cross_validate(task, aside, steps, progress)
    print(worth(found, settings["classes"], steps))
    said = verdict(found, settings["classes"])
    if said:
        print(said + ("" if options.anyway else f", so they go to {options.out / NOT_BETTER}, unless --anyway"))
    poor = bool(said) and not options.anyway
    return Answer(lambda image: found.fitted.segment([image]), NOT_BETTER if poor else MASKS, int(poor))


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
    add("--params", type=Path, help="weights of an in-context network: .npz or .pt; by default networks are trained")
    add("--classes", type=whole(1), nargs="+", help="label values to segment; by default all that occur")
    add("--masks", metavar="NAME", help="folder of the masks in --support, where several pair with the images")
    add("--mask-suffix", metavar="TAIL", help="of the masks that are meant, where images have several: _1stHO")
    add("--binary", action="store_true", help="everything above 0 in a mask is one class, 1")
    add("--normalize", choices=NORMALIZATIONS, default="auto",
        help="auto: 8-bit pictures divided by 255, all else as percentiles (.5 and 99.5 become 0 and 1)")  # fmt: skip
    add("--size", type=whole(0), help="what images are brought to; 0 keeps their own. By default it is chosen by the "
        f"masks (docs/segmenting.md) for networks that are trained, and {SHOWN_SIZE} with --params")  # fmt: skip
    add("--aspect", choices=("keep", "stretch"), default="keep", help="with a size: pad to a square, or distort")
    add("--slice-axis", type=int, choices=(0, 1, 2), help="of volumes; by default 2")
    add("--seed", type=seeds.typed, default=0, help="of the training, or of the random examples")
    trained = parser.add_argument_group("without --params")
    trained.add_argument(
        "--steps", type=whole(1), help=f"of training at most, of each network (default {in_context.LIMIT})"
    )
    trained.add_argument("--anyway", action="store_true", help="exit code 0, and masks/, whatever they are worth")
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
