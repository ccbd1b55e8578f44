"""Prepares a folder of scans for training on patches: measured, normalised, at one spacing, in chunks on disk.

    hyperlab prepare DIR --out STORE [--spacing median|keep|MM ...] [--channels NAME ...] [--workers N]

The layout is found by itself (nnU-Net, Decathlon, folders of pairs, ...). The same command goes on after a kill. Exit
code 0: the store is finished; 2: the input or the store cannot be used.
"""

import argparse
import time
from collections.abc import Sequence

import pandas as pd

from hyperlab.arguments import Parser
from hyperlab.cli.results import show
from hyperlab.data.prepared import Store, prepare
from hyperlab.data.prepared.normalisation import SCHEMES
from hyperlab.data.readers.cases import printable
from hyperlab.errors import DataError
from hyperlab.train.progress import Progress


class _Shown:
    """Progress with the time that is left: one bar, or one kind of line, for each thing that is done."""

    def __init__(self) -> None:
        self._what = ""
        self._progress: Progress | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self.end()
            self._what, self._progress = what, Progress(total, what, unit="case").__enter__()
        if self._progress is not None and done:
            self._progress.update(done)

    def end(self) -> None:
        """Of what is being done."""
        if self._progress is not None:
            self._progress.__exit__()
            self._progress = None


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code, and raises hyperlab's errors."""
    given = _parser().parse_args(arguments)
    shown, start = _Shown(), time.monotonic()
    try:
        store = prepare(
            given.root, given.out, spacing=_spacing(given.spacing), channels=given.channels, classes=given.classes,
            foreground=given.foreground, masks=given.masks, mask_suffix=given.mask_suffix, subjects=given.subjects,
            workers=given.workers, overwrite=given.overwrite, report=shown,
        )  # fmt: skip
    finally:
        shown.end()
    show(pd.DataFrame(table(store, time.monotonic() - start), columns=["what", "found", "prepared"]))
    return 0


def table(store: Store, seconds: float) -> list[tuple[str, str, str]]:
    """What a set was and has become, row by row; sizes and spacings are smallest, median, largest along each axis."""
    seen, made, cases = store.set_fingerprint, store.preprocessing, store.cases
    train = [case for case in cases if case.part == "train"]
    test = len(cases) - len(train)
    sizes = pd.DataFrame([case.size for case in train])
    after = (sizes.min().tolist(), sizes.median().tolist(), sizes.max().tolist())
    rows = [
        ("cases", f"{len(train)} training, {test} test", f"{len({case.group for case in cases})} groups"),
        ("size", _spread(seen.shapes), _spread(after)),
        ("spacing, mm", "not known" if seen.spacings is None else _spread(seen.spacings),
         "each its own" if made.spacing is None else _axes(made.spacing)),
        ("not empty", f"{seen.cropped:.0%} of the median case", "z-scores of it" if made.masked else "cropped to it"),
    ]  # fmt: skip
    for channel, intensities in zip(made.channels, seen.intensities, strict=True):
        of = "no foreground"
        if intensities is not None:
            one = intensities
            of = f"foreground {one.low:.4g} to {one.high:.4g}, mean {one.mean:.4g}, deviation {one.deviation:.4g}"
        rows.append((f"channel {printable(channel.name)}", of, f"{channel.scheme}: {SCHEMES[channel.scheme]}"))
    voxels = pd.DataFrame([case.voxels for case in cases])
    for place, (name, value) in enumerate(zip(made.classes, made.values, strict=True)):
        share = voxels[place].sum() / voxels.to_numpy().sum()
        rows.append(
            (
                f"class {printable(name)}",
                f"value {value}",
                f"{share:.3%} of voxels, in {(voxels[place] > 0).sum()} cases",
            )
        )
    size = sum(file.stat().st_size for file in store.path.rglob("*") if file.is_file())
    rows.append(
        (f"store {printable(str(store.path))}", f"{seconds:.0f} s", f"{size / 1e6:.1f} MB, {store.fingerprint[:12]}")
    )
    return rows


def _spread(rows: Sequence[Sequence[float]]) -> str:
    return ", ".join(map(_axes, rows))


def _axes(numbers: Sequence[float]) -> str:
    return " x ".join(f"{number:.4g}" for number in numbers)


def _spacing(words: list[str]) -> str | tuple[float, ...]:
    if len(words) == 1 and words[0] in ("median", "keep"):
        return words[0]
    try:
        return tuple(map(float, words))
    except ValueError as error:
        raise DataError(f"--spacing {' '.join(words)}: expected median, keep, or mm for each axis") from error


def _parser() -> argparse.ArgumentParser:
    description = (__doc__ or "").strip()
    parser = Parser("prepare", description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("root", metavar="DIR", help="a folder of scans and masks of any layout that is known, or an .npz archive")
    add("--out", required=True, metavar="STORE", help="a new folder, or one that the same command began")
    add("--spacing", nargs="+", default=["median"], metavar="MM",
        help="median (of the training cases along each axis; default), keep (each scan's own), or mm")  # fmt: skip
    add("--channels", nargs="+", metavar="NAME",
        help="CT, noNorm, rescale_to_0_1, rgb_to_0_1, others: z-scores; by default as dataset.json has it")  # fmt: skip
    add("--classes", nargs="+", metavar="NAME", help="of the label values in ascending order, where no file names them")
    add("--foreground", action="store_true", help="one class of all labels above 0, as of maps of instances")
    add("--masks", metavar="NAME", help="the folder of the masks, where several pair with the images")
    add("--mask-suffix", metavar="TAIL", help="of the masks that are meant, for instance _1stHO")
    add("--subjects", metavar="REGEX", help=r"its first group, in a case's name, is the subject: '(volume-\d+)_'")
    add(
        "--workers", type=int, default=0, metavar="N", help="processes, each with one case in memory; 0: this one alone"
    )
    add("--overwrite", action="store_true", help="begin anew where STORE is of other settings, files or version")
    return parser
