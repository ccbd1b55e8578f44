"""Masks for a folder of images or volumes, by a network that a run trained.

    hyperlab predict RUN --images DIR --out DIR [--arm NAME --phi FACTOR] [--labels DIR] [--probabilities]

Every scan goes the way of the training images, through the network, and back: its mask has its grid, its form (NIfTI
with its header, TIFF with its resolution and compression, npy, else PNG) and the label values of the training masks.
Volumes of a run that trained on planes are predicted plane by plane. With --labels, Dice of every case and class is
printed and written to `per_case.csv`. The same command again goes on where it was interrupted.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from hyperlab import files, launch, pareto, seeds
from hyperlab.arguments import Parser
from hyperlab.cli.mask_files import file_shape, in_file_order, mask_suffix, write_mask
from hyperlab.cli.predict_cases import cases_of
from hyperlab.cli.predictions import Predictions
from hyperlab.data.geometry import grid_difference
from hyperlab.data.layouts import read_case, read_label
from hyperlab.data.readers.cases import Case
from hyperlab.data.readers.scan import Scan, read_labels
from hyperlab.errors import DataError, HyperlabError
from hyperlab.inference.network import Network
from hyperlab.metrics import per_case
from hyperlab.metrics.defined import mean_defined
from hyperlab.networks import load_network
from hyperlab.train.progress import Progress

TABLE = "per_case.csv"
_MOST_ROWS = 40
_CHOICES = ("arm", "phi", "budget", "seed", "width", "support")


def main(arguments: list[str] | None = None) -> int:
    """The command; bad input ends with one message, and code 2."""
    options = _parser().parse_args(arguments)
    launch.enable_compilation_cache()
    _run(options)
    return 0


def _run(options: argparse.Namespace) -> None:
    chosen = {name: getattr(options, name) for name in _CHOICES}
    network = load_network(options.run, **chosen)
    how = network.preprocessing
    cases = cases_of(options.images, options.labels, how.channels)
    settings = {
        "network": network.card.digest,
        "arm": network.card.arm,
        "phi": network.card.rescaling_factor,
        "seed": network.card.seed,
        "preprocessing": how.record(),
    }
    settings |= {"support": str(options.support.resolve())} if options.support else {}
    out = Predictions(options.out, settings)
    targets = {case.name: _targets(options, case, network) for case in cases}
    table = [options.out / TABLE] if options.labels else []
    out.refuse_foreign([path for each in targets.values() for path in each] + table)
    scored = sum(case.label is not None for case in cases)
    shown = f", {scored} of them with a mask" if options.labels else ""
    print(f"{network.card}\n{len(cases)} scans{shown}, into {options.out}")
    left = [case for case in cases if not out.finished(case.name, list(case.images), targets[case.name])]
    if len(left) < len(cases):
        print(f"{len(cases) - len(left)} are finished already")
    with Progress(len(left), "predict", unit="scan") as progress:
        for done, case in enumerate(left, 1):
            try:
                found = _predict(network, case, targets[case.name])
                out.note(case.name, list(case.images), targets[case.name])
            except (HyperlabError, MemoryError) as error:
                kind = type(error) if isinstance(error, HyperlabError) else DataError
                what = str(error) or "not enough memory"
                raise kind(
                    f"{case.name}: {what}; {len(cases) - len(left) + done - 1} of {len(cases)} scans are finished and "
                    "kept, and the same command goes on from there"
                ) from error
            progress.update(done, foreground=float((found != how.values[0]).mean()))
    if options.labels:
        _score(options, network, [case for case in cases if case.label is not None], targets)
        out.seal(table)


def _targets(options: argparse.Namespace, case: Case, network: Network) -> list[Path]:
    """The mask of a scan, and its probabilities where they are asked for."""
    mask = options.out / f"{case.name}{mask_suffix(case.images[0], network.preprocessing.values)}"
    more = [options.out / "probabilities" / f"{case.name}.npy"] if options.probabilities else []
    return [mask, *more]


def _predict(network: Network, case: Case, targets: list[Path]) -> np.ndarray:
    """Writes what the network says of a scan; returns its labels."""
    scan, _ = read_case(case)
    if len(targets) > 1:
        with files.writing(targets[1]) as partial:
            labels = _with_probabilities(network, scan, case, partial)
    else:
        labels = network.predict(scan, case.name)
    write_mask(targets[0], case.images[0], labels)
    return labels


def _with_probabilities(network: Network, scan: Scan, case: Case, path: Path) -> np.ndarray:
    """Writes probabilities `[*spatial, class]`, voxels in the order of the scan's file, some rows at a time."""
    how, source, shape = network.preprocessing, case.images[0], scan.values.shape[:-1]
    labels = np.zeros(shape, np.int32)
    whole = (*file_shape(source, shape), len(how.values))
    on_disk = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=whole)
    view = in_file_order(source, on_disk, len(shape))
    for placement, number, start, rows in network.answers(scan, case.name):
        placement.put(labels, number, start, np.array(how.values, np.int32)[rows.argmax(-1)])
        placement.put(view, number, start, rows)
    on_disk.flush()
    return labels


# -- scores -----------------------------------------------------------------------------------------------------------


def _score(options: argparse.Namespace, network: Network, cases: list[Case], targets: dict[str, list[Path]]) -> None:
    """Prints and writes Dice of every case and class."""
    how, names = network.preprocessing, [case.name for case in cases]
    dice = np.stack([_dice(how, case, targets[case.name][0]) for case in cases])
    rows = per_case.table(network.card.arm, names, how.classes, {"dice": dice})
    per_case.write_table(options.out / TABLE, rows)
    print(_table(names, how.classes[1:], dice))
    if len(cases) > _MOST_ROWS:
        print(f"the {_MOST_ROWS} lowest of {len(cases)}; all are in {options.out / TABLE}")


def _dice(how, case: Case, target: Path) -> np.ndarray:
    """Dice of every foreground class of one scan, on its own grid; NaN where a class is in neither mask."""
    truth, found = read_label(case), read_labels(target, stack=case.spacing_files[0] is not None)
    assert truth is not None
    if truth.values.squeeze().shape != found.values.squeeze().shape:
        raise DataError(
            f"{case.label} is {truth.values.shape}, its image {case.images[0]} {found.values.shape}; resample the mask "
            "(nearest) onto the image's grid, or find the mask that belongs to it"
        )
    if truth.values.shape == found.values.shape and (apart := grid_difference(truth, found, truth.values.ndim)):
        raise DataError(f"{case.label} and {case.images[0]} differ in {apart}; mend the header of the mask")
    first = how.indices(truth.values, str(case.label)).ravel()
    second = np.searchsorted(np.sort(how.values), found.values).ravel()
    second = np.argsort(how.values)[second]
    count = len(how.classes)
    table = np.bincount(first * count + second, minlength=count * count).reshape(count, count).astype(float)
    both, either = np.diag(table), table.sum(0) + table.sum(1)
    with np.errstate(invalid="ignore"):
        return (2 * both / np.where(either, either, np.nan))[1:]


def _table(names: list[str], classes: tuple[str, ...], dice: np.ndarray) -> str:
    """Dice as text: cases, the lowest where there are many, and the mean over all of them."""
    means = mean_defined(dice, -1)
    order = np.arange(len(names))
    if len(names) > _MOST_ROWS:
        order = np.sort(np.argsort(np.nan_to_num(means, nan=2.0), kind="stable")[:_MOST_ROWS])
    told = pareto.told_of_cases(means)
    heads, last = ["case", *classes, "mean"], ["mean", *map(_number, mean_defined(dice.T, -1))]
    last.append(_number(float(mean_defined(means))))
    lines = [[names[k], *map(_number, dice[k]), _number(means[k])] for k in order]
    widths = [max(map(len, column)) for column in zip(heads, last, *lines, strict=True)]
    shown = []
    for first, *others in (heads, *lines, last):
        numbers = (text.rjust(n) for text, n in zip(others, widths[1:], strict=True))
        shown.append("  ".join([first.ljust(widths[0]), *numbers]))
    if told and told["low"] is not None:
        shown.append(
            f"Dice {told['estimate']:.4f} [{told['low']:.4f}, {told['high']:.4f}] over {told['subjects']} cases"
        )
    return "\n".join(shown)


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.4f}"


def _parser() -> argparse.ArgumentParser:
    from hyperlab.cli.command import CODES

    description = (__doc__ or "").partition("\n")[0]
    parser = Parser(
        "predict", description=description, epilog=CODES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("run", metavar="RUN", type=Path, help="folder of a finished run of rescaling, uncertainty or in_context")
    add("--images", metavar="DIR", type=Path, required=True, help="scans; <case>_0000, _0001, ... are its channels")
    add("--out", metavar="DIR", type=Path, required=True, help="folder for the masks, one for each scan")
    add("--labels", metavar="DIR", type=Path, help="masks of the scans: Dice of every case and class")
    add("--probabilities", action="store_true", help="beside the masks, probabilities/<case>.npy [*spatial, class]")
    add = parser.add_argument_group("which network; by default the one that the run chose").add_argument
    add("--arm", metavar="NAME", help="of the run: fixed, sshn, ...")
    add("--phi", metavar="FACTOR", type=float, help="rescaling: the factor that it runs at")
    add("--budget", metavar="MACS", type=float,
        help="rescaling, in place of --phi: multiply-accumulates of an image; up to 1, share of the most")  # fmt: skip
    add("--seed", type=seeds.typed, help="of the training; by default the chosen or first one that was kept")
    add("--width", type=float, help="rescaling: of the arms width and slimmable")
    add("--support", metavar="DIR", type=Path, help="in_context: images with masks, which the network is shown")
    return parser


if __name__ == "__main__":
    sys.exit(main())
