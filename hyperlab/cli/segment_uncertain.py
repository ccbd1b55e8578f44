"""Masks of a folder of images with maps of uncertainty, from a network that a run trained.

    python -m experiments.segment_uncertain --model RUN --images DIR --out DIR

For each image: a mask (8 bits) and the maps of mean probability, epistemic and aleatoric uncertainty (float32, in nats)
as TIFF, and an overlay as PNG (image with outlines, epistemic, aleatoric). `objects.csv` has a row for each object,
`images.csv` one for each image, those to look at first. The same command again goes on where it was interrupted, and
does again what was made of an image that was replaced since, or was damaged.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hyperlab import launch, seeds, trees
from hyperlab.arguments import Parser
from hyperlab.data import microscopy
from hyperlab.data.readers.images import depth_of
from hyperlab.data.resample import as_size
from hyperlab.data.splits import fingerprint
from hyperlab.errors import ConfigError, DataError, HyperlabError
from hyperlab.inference import predict
from hyperlab.inference.outputs import Outputs
from hyperlab.inference.saved import load
from hyperlab.train.progress import Progress


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; bad input ends with one message before anything is computed, and code 2."""
    options = _parser().parse_args(arguments)
    launch.enable_compilation_cache()
    try:
        _run(options)
    except HyperlabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _run(options: argparse.Namespace) -> None:
    predict.check_samples(options.samples)
    if options.scale is not None and not options.scale > 0:
        raise ConfigError(f"--scale {options.scale:g}, expected a number above 0")
    if not 0 <= options.overlap < 1 or options.batch < 1 or options.smallest < 1:
        raise ConfigError(
            f"--overlap {options.overlap}, --batch {options.batch} and --smallest {options.smallest}; expected 0 or "
            "more and below 1, and 1 or more of the others"
        )
    saved = load(options.model)
    window = saved.window if options.window is None else as_size(options.window, 2)
    normalisation = options.normalise or saved.normalisation
    scale = saved.scale if options.scale is None else options.scale
    paths = microscopy.files(options.images)
    depth = depth_of(paths[0])  # of all of them
    if depth.channels != saved.channels:
        raise DataError(
            f"--images {options.images} holds images of {depth}; the network was trained on {saved.channels} "
            f"channel{'s' * (saved.channels > 1)}"
        )
    maps_of = predict.predictor(
        saved,
        samples=options.samples,
        seed=options.seed,
        window=window,
        scale=scale,
        overlap=options.overlap,
        batch=options.batch,
    )
    settings = {
        "network": fingerprint(*(np.asarray(leaf) for leaf in trees.flatten(saved.variables).values())),
        "temperature": saved.temperature,
        "samples": options.samples,
        "seed": options.seed,
        "window": window,
        "scale": scale,
        "overlap": options.overlap,
        "normalisation": normalisation,
        "score": saved.score,
        "smallest": options.smallest,
    }
    outputs = Outputs(options.out, saved.classes, saved.score, settings, smallest=options.smallest)
    begun = [path for path in paths if outputs.begun(path.stem)]
    left = [path for path in paths if not outputs.finished(path.stem, path)]
    done = len(paths) - len(left)
    notes = [f"{done} finished already"] if done else []
    if again := len(begun) - done:
        notes.append(f"{again} again: the image, its settings or its files changed")
    shown = "; ".join(notes)
    print(
        f"{len(paths)} images{f' ({shown})' if shown else ''}, {options.samples} samples, classes "
        f"{', '.join(saved.classes)}, images by {normalisation} at scale {scale:.3g}, into {options.out}"
    )
    warning = predict.window_warning(saved, window)
    with Progress(len(left), "segment", unit="image") as progress:
        for number, path in enumerate(left, 1):
            picture = microscopy.read(path, normalisation)
            tiled = any(scale * n > w for n, w in zip(picture.pixels.shape, window, strict=False))
            if warning and tiled:
                print(f"warning: {warning}", file=sys.stderr)
                warning = ""
            row = outputs.write(
                path.stem, picture.pixels, maps_of(picture.pixels), path, black=picture.low, white=picture.high
            )  # fmt: skip
            progress.update(number, objects=row["objects"], score=row["score"])
    for table in outputs.tables([path.stem for path in paths]):
        print(table)


def _parser() -> argparse.ArgumentParser:
    parser = Parser("segment-uncertain", "experiments.segment_uncertain", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", type=Path, required=True, help="folder of a run that kept its network")
    add("--images", type=Path, required=True, help="folder of TIFF, PNG, BMP or JPEG files of one depth")
    add("--out", type=Path, required=True, help="folder for masks, maps, overlays and tables")
    add("--samples", type=int, default=predict.SAMPLES,
        help=f"draws of the network, 2 or more (default {predict.SAMPLES})")  # fmt: skip
    add("--seed", type=seeds.typed, default=0, help="of the draws")
    add("--window", type=int, help="side of the windows, in the network's pixels; by default that of the training")
    add("--scale", type=float,
        help="the network's pixels for each pixel of these images; by default as for the images it was trained on: "
        "times 2 if a pixel of yours shows twice as much")  # fmt: skip
    add("--overlap", type=float, default=0.5, help="share of a window that its neighbour covers too (default 0.5)")
    add("--batch", type=int, default=4, help="windows at a time (default 4)")
    add("--smallest", type=int, default=predict.SMALLEST,
        help=f"pixels of the smallest object with a row (default {predict.SMALLEST})")  # fmt: skip
    add("--normalise", choices=microscopy.NORMALISATIONS, help="how values become 0..1; by default as in training")
    return parser


if __name__ == "__main__":
    sys.exit(main())
